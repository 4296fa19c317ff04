"""Retraction: provisional rows go when a window has taken their place; final rows, and its own row, stay."""

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from tests.transforms.storage.sql.conftest import Sink
from transforms.errors import SqlOvertaken, SqlTableGone
from transforms.storage import sql
from transforms.storage.sql import Fence, SqlTable

TIME = pa.timestamp("us", "UTC")
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
BOUNDS = [pa.field(name, TIME, nullable=False) for name in ("window_start", "window_end")]
STRANGE = 'a "key" :with %(hostile)s'
SESSIONS = SqlTable(
    name="a",
    key=("window_start", "window_end", STRANGE, "n"),
    schema=pa.schema([*BOUNDS, (STRANGE, pa.string()), ("n", pa.int64()), ("rows", pa.int64()), ("final", pa.bool_())]),
)
WRITES, TAKES = Fence("job", 1), Fence("job", 1, 1, takes=True, begins=True)


def row(start: int, end: int, k: Any = "k", n: Any = 0, *, final: bool = False) -> dict[str, Any]:
    bounds = {"window_start": EPOCH + timedelta(seconds=start), "window_end": EPOCH + timedelta(seconds=end)}
    return {**bounds, STRANGE: k, "n": n, "rows": 1, "final": final}


def publish(sink: Sink, rows: Sequence[dict[str, Any]]) -> None:
    sql.publish(sink.url, {SESSIONS: []}, replace=True, fence=TAKES)
    batches = pa.Table.from_pylist(list(rows), SESSIONS.schema).to_batches()
    sql.publish(sink.url, {SESSIONS: batches}, replace=False, fence=WRITES)


def retract(sink: Sink, windows: Sequence[dict[str, Any]], fence: Fence = WRITES) -> list[tuple[Any, ...]]:
    """What is left when windows retract."""
    key = pa.schema([SESSIONS.schema.field(name) for name in SESSIONS.key])
    named = [{name: window[name] for name in SESSIONS.key} for window in windows]
    sql.retract(sink.url, {SESSIONS: pa.Table.from_pylist(named, key).to_batches(max_chunksize=2)}, fence)
    return places(sink.read(SESSIONS))


def places(rows: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted(((*(row[name] for name in SESSIONS.key), row["final"]) for row in rows), key=repr)


def test_provisional_rows_within_the_window_go_and_its_own_row_stays(sink: Sink) -> None:
    within = [row(0, 20), row(5, 20), row(5, 15), row(0, 19)]
    stay = [row(0, 21), row(0, 10, final=True), row(0, 20, "other"), row(0, 20, n=1), row(1, 22), row(-1, 20)]
    publish(sink, [*within, *stay])
    assert retract(sink, [row(0, 21)]) == places(stay)
    assert retract(sink, [row(0, 21)]) == places(stay), "a repetition changes nothing"


def test_a_null_in_a_key_is_a_value_like_any_other(sink: Sink) -> None:
    rows = [row(0, 10, k, n) for k in (None, "", "k") for n in (None, 0)]
    for window in rows:
        publish(sink, rows)
        assert retract(sink, [{**window, "window_end": EPOCH + timedelta(seconds=11)}]) == places(
            [other for other in rows if other is not window]
        )


@pytest.mark.parametrize("seed", range(5))
def test_random_windows_retract_what_a_loop_finds(sink: Sink, seed: int) -> None:
    chance = Random(seed)

    def at_random() -> dict[str, Any]:
        start = chance.randint(0, 20)
        key = chance.choice(["a", None]), chance.choice([1, None])
        return row(start, start + chance.randint(1, 12), *key, final=chance.random() < 0.3)

    rows = {tuple(each[name] for name in SESSIONS.key): each for each in (at_random() for _ in range(60))}
    windows = [at_random() for _ in range(chance.randint(0, 8))]

    def stays(each: dict[str, Any]) -> bool:
        of_key = [w for w in windows if w[STRANGE] == each[STRANGE] and w["n"] == each["n"]]
        bounds = [(w["window_start"], w["window_end"]) for w in of_key]
        start, end = each["window_start"], each["window_end"]
        return each["final"] or not any(a <= start and end <= b and (a, b) != (start, end) for a, b in bounds)

    publish(sink, list(rows.values()))
    assert retract(sink, windows) == places([each for each in rows.values() if stays(each)])


def test_who_was_overtaken_retracts_nothing(sink: Sink) -> None:
    publish(sink, [row(0, 10)])
    with pytest.raises(SqlOvertaken):
        retract(sink, [row(0, 11)], Fence("job", 2))
    assert len(sink.read(SESSIONS)) == 1


def test_a_table_that_is_gone_is_not_made_again(sink: Sink) -> None:
    publish(sink, [row(0, 10)])
    sink.execute("drop table a")
    with pytest.raises(SqlTableGone):
        retract(sink, [row(0, 11)])

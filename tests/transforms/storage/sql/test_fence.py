"""Who may write a live job's tables, and what is taken out of them when the job goes back."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from tests.transforms.storage.sql.conftest import Sink
from transforms.errors import SqlOvertaken, SqlSinkError, SqlTableGone
from transforms.specification import Micros
from transforms.storage import sql
from transforms.storage.sql import Fence, Known, SqlTable

TIME = pa.timestamp("us", "UTC")
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
WINDOWS = SqlTable(
    name="a",
    key=("window_start", "window_end", "k"),
    schema=pa.schema(
        [
            *(pa.field(name, TIME, nullable=False) for name in ("window_start", "window_end")),
            ("k", pa.string()),
            ("n", pa.int64()),
            ("final", pa.bool_()),
        ]
    ),
)
LETTERS = SqlTable(
    name="dead_letters",
    key=("source", "position"),
    schema=pa.schema([("source", pa.string()), ("position", pa.int64()), ("why", pa.string())]),
)


def window(end: int, k: str = "k", *, final: bool = True, n: int = 1) -> dict[str, Any]:
    """A window of 10 s that ends so many seconds after the epoch."""
    ended = EPOCH + timedelta(seconds=end)
    return {"window_start": ended - timedelta(seconds=10), "window_end": ended, "k": k, "n": n, "final": final}


def publish(sink: Sink, rows: list[dict[str, Any]], fence: Fence | None, *, replace: bool = False) -> None:
    batches = pa.Table.from_pylist(rows, WINDOWS.schema).to_batches()
    sql.publish(sink.url, {WINDOWS: batches}, replace=replace, fence=fence)


def taken(launch: int, owner: str = "job", *, begins: bool = True) -> Fence:
    return Fence(owner, launch, launch, takes=True, begins=begins)


def test_a_launch_that_was_overtaken_writes_nothing(sink: Sink) -> None:
    publish(sink, [], taken(1))
    publish(sink, [window(10)], Fence("job", 1))
    publish(sink, [], taken(2))
    for stale in (Fence("job", 1), Fence("job", 1, 7), taken(1), taken(1, begins=False)):
        with pytest.raises(SqlOvertaken, match="another launch of this job has taken it over"):
            publish(sink, [window(20)], stale)
    publish(sink, [window(30)], Fence("job", 2))
    assert [row["window_end"] for row in sink.read(WINDOWS)] == [window(10)["window_end"], window(30)["window_end"]]


def test_of_the_attempts_of_a_launch_the_latest_writes(sink: Sink) -> None:
    publish(sink, [], taken(1))
    publish(sink, [window(10)], Fence("job", 1, 3))
    publish(sink, [window(20)], Fence("job", 1))
    with pytest.raises(SqlOvertaken):
        publish(sink, [window(30)], Fence("job", 1, 2))
    publish(sink, [window(40)], Fence("job", 1, 3))
    assert len(sink.read(WINDOWS)) == 3


def test_another_state_is_refused_and_may_begin_the_tables(sink: Sink) -> None:
    publish(sink, [], taken(1))
    publish(sink, [window(10)], Fence("job", 1))
    with pytest.raises(SqlOvertaken, match="with another state, has begun it"):
        publish(sink, [], taken(9, "other", begins=False))
    with pytest.raises(SqlOvertaken, match="with another state, has begun it"):
        publish(sink, [window(20)], Fence("other", 9))
    publish(sink, [], taken(1, "other"), replace=True)
    with pytest.raises(SqlOvertaken, match="with another state, has begun it"):
        publish(sink, [window(20)], Fence("job", 1))
    assert sink.read(WINDOWS) == []


def test_a_bounded_run_that_replaces_tables_ends_who_writes_them(sink: Sink) -> None:
    publish(sink, [], taken(1))
    publish(sink, [window(10)], None, replace=True)
    with pytest.raises(SqlOvertaken):
        publish(sink, [window(20)], Fence("job", 1))


def test_a_table_that_is_gone_is_not_made_again(sink: Sink) -> None:
    publish(sink, [], taken(1))
    publish(sink, [window(10)], Fence("job", 1))
    sink.execute("drop table a")
    for fence in (Fence("job", 1), taken(2, begins=False)):
        with pytest.raises(SqlTableGone, match=r"it is gone, with what this job stored in it; .* `rebuild`"):
            publish(sink, [window(20)], fence)
    sink.execute("drop table streamgauge_writers")
    with pytest.raises(SqlTableGone, match="streamgauge_writers"):
        publish(sink, [window(20)], Fence("job", 1))


def test_tables_with_rows_of_others_are_named(sink: Sink) -> None:
    assert sql.full(sink.url, [WINDOWS], None) == []
    publish(sink, [], taken(1))
    assert sql.full(sink.url, [WINDOWS], None) == [], "an empty table takes nothing away"
    publish(sink, [window(10)], Fence("job", 1))
    assert sql.full(sink.url, [WINDOWS], "job") == []
    assert sql.full(sink.url, [WINDOWS], "other") == sql.full(sink.url, [WINDOWS], None) == ["a"]


def test_what_had_not_closed_is_taken_out(sink: Sink) -> None:
    """Event time had passed 40 s, and windows wait 15 s: those that end by 25 s had closed, those by 40 s had ended."""
    publish(sink, [], taken(1))
    rows = [window(end, k, final=final) for end in (10, 25, 26, 40, 41, 90) for k, final in (("f", True), ("p", False))]
    publish(sink, rows, Fence("job", 1))
    assert sql.last_closed(sink.url, [WINDOWS]) == 90_000_000
    known = Known(40_000_000, Micros(15_000_000), Micros(10_000_000))
    sql.roll_back(sink.url, {WINDOWS: known}, Fence("job", 1))
    kept = [(row["window_end"], row["final"]) for row in sink.read(WINDOWS)]
    ends = [(10, True), (10, False), (25, True), (26, False), (40, False)]
    stale = (EPOCH + timedelta(seconds=10), False)  # it starts before any window that was open there
    assert sorted(kept) == sorted((EPOCH + timedelta(seconds=end), final) for end, final in ends)
    assert stale in kept


def test_records_that_had_not_been_read_are_taken_out(sink: Sink) -> None:
    rows = [{"source": f"t/{p}", "position": n, "why": "x"} for p in range(3) for n in range(10)]
    sql.publish(sink.url, {LETTERS: []}, replace=True, fence=taken(1))
    batches = pa.Table.from_pylist(rows, LETTERS.schema).to_batches()
    sql.publish(sink.url, {LETTERS: batches}, replace=False, fence=Fence("job", 1))
    reached: Mapping[str, int] = {"t/0": 4, "t/1": 0}
    sql.roll_back(sink.url, {LETTERS: Known(position="position", reached=reached)}, Fence("job", 1))
    assert [(row["source"], row["position"]) for row in sink.read(LETTERS)] == [("t/0", n) for n in range(4)]
    sql.roll_back(sink.url, {LETTERS: Known(position="position")}, Fence("job", 1))
    assert sink.read(LETTERS) == []


@pytest.mark.parametrize("watermark", [-(1 << 62), (1 << 62)])
def test_a_place_before_or_after_all_time_takes_all_or_no_final_rows(sink: Sink, watermark: int) -> None:
    publish(sink, [], taken(1))
    publish(sink, [window(end) for end in (10, 20)], Fence("job", 1))
    sql.roll_back(sink.url, {WINDOWS: Known(watermark, Micros(0), Micros(10_000_000))}, Fence("job", 1))
    assert len(sink.read(WINDOWS)) == (2 if watermark > 0 else 0)


def test_rows_that_a_place_knew_expire_and_no_others(sink: Sink) -> None:
    publish(sink, [], taken(1))
    rows = [window(end, k, final=final) for end in (10, 25, 26, 40) for k, final in (("f", True), ("p", False))]
    publish(sink, rows, Fence("job", 1))
    sql.expire(sink.url, {WINDOWS: Known(40_000_000, Micros(15_000_000), Micros(10_000_000))}, Fence("job", 1))
    left = {(row["window_end"], row["final"]) for row in sink.read(WINDOWS)}
    stay = [(10, False), (25, False), (26, True), (26, False), (40, True), (40, False)]
    assert left == {(EPOCH + timedelta(seconds=end), final) for end, final in stay}
    sql.publish(sink.url, {LETTERS: []}, replace=True, fence=taken(1))
    letters = [{"source": f"t/{p}", "position": n, "why": "x"} for p in range(2) for n in range(4)]
    sql.publish(
        sink.url,
        {LETTERS: pa.Table.from_pylist(letters, LETTERS.schema).to_batches()},
        replace=False,
        fence=Fence("job", 1),
    )
    sql.expire(sink.url, {LETTERS: Known(position="position", reached={"t/0": 3})}, Fence("job", 1))
    assert [(row["source"], row["position"]) for row in sink.read(LETTERS)] == [
        ("t/0", 3),
        *(("t/1", n) for n in range(4)),
    ]
    with pytest.raises(SqlOvertaken):
        sql.expire(sink.url, {WINDOWS: Known(1 << 62)}, Fence("other", 1))


def test_who_was_overtaken_takes_nothing_out(sink: Sink) -> None:
    publish(sink, [], taken(1))
    publish(sink, [window(10)], Fence("job", 1))
    publish(sink, [], taken(2))
    with pytest.raises(SqlOvertaken):
        sql.roll_back(sink.url, {WINDOWS: Known(-(1 << 62))}, Fence("job", 1))
    assert len(sink.read(WINDOWS)) == 1


def test_of_random_writers_only_the_newest_leaves_rows(sink: Sink) -> None:
    chance, newest, expected = Random(7), 0, set()
    for number in range(40):
        if not newest or chance.random() < 0.3:
            newest += 1
            publish(sink, [], taken(newest))
        launch = chance.randint(max(newest - 2, 1), newest)
        try:
            publish(sink, [window(10, f"k{number}")], Fence("job", launch))
            assert launch == newest
            expected.add(f"k{number}")
        except SqlSinkError:
            assert launch < newest
    assert {row["k"] for row in sink.read(WINDOWS)} == expected

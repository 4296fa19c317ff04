"""Windows that grow: those of a loop over the records, in any split and order, bounded and as time passes."""

import random
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.aggregations import DAY, HOUR, Aggregation, aggregation, by_key, plain_rows
from tests.laws import merged_at_random, split_at_random
from tests.more_kinds import more_windows
from tests.transforms.aggregation.test_lateness import records
from transforms.aggregation.lateness import judge
from transforms.aggregation.live import Clock, Shard, decode_state, encode_state, settle, split_seeds
from transforms.aggregation.spec import AggregationSpec
from transforms.aggregation.timeline import Timeline, TimelineState
from transforms.specification import Micros
from transforms.time.tick import Tick
from transforms.time.watermark import END
from transforms.time.window import SLICE_END

GAP: Final = HOUR
MODELS: Final[dict[str, dict[str, Any]]] = {
    "windowed": {"target": "x", "features": ["z"]},
    "fading": {"target": "x", "features": ["z"], "memory": "all", "forgetting_factor": 0.9},
}
any_chance = given(seed=st.integers(0, 2**32 - 1), chance=st.randoms(use_true_random=False))
some = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
Key = tuple[Any, ...]


@pytest.fixture(autouse=True)
def sessions() -> Iterator[None]:
    with more_windows():
        yield


def of_sessions(models: bool = False) -> Aggregation:
    return aggregation(
        {"k": "string", "x": "int64", "z": "int64"},
        key=["k"],
        window={"gap": "1h"},
        statistics={"x": ["count", "sum", "min", "max", "first", "last", "distinct"]},
        models=MODELS if models else None,
    )


def frame_of(seed: int, size: int = 60) -> pd.DataFrame:
    """Records of a few keys in bursts; many are exactly a gap, or a little less, apart."""
    chance = np.random.default_rng(seed)
    at = chance.choice(chance.integers(-DAY, DAY, 4), size) + chance.integers(0, 6 * HOUR, size)
    at[::3] = at[::3] // (GAP // 2) * (GAP // 2) - chance.integers(0, 2, len(at[::3]))
    keys = chance.choice(np.array(["a", "", None], object), size)
    return pd.DataFrame({"at": at, "k": keys, "x": chance.integers(0, 9, size), "z": chance.integers(0, 9, size)})


def by_hand(frame: pd.DataFrame) -> dict[Key, dict[str, Any]]:
    """Every session, found by walking through the records of each key in order of time."""
    found: dict[Key, dict[str, Any]] = {}
    for key in frame["k"].unique():
        rows = frame[frame["k"].isna() if key is None else frame["k"] == key].sort_values("at", kind="stable")
        session: list[Any] = []
        for row in [*rows.itertuples(), None]:
            if session and (row is None or row.at - session[-1].at >= GAP):
                values = [each.x for each in session]
                found[session[0].at, session[-1].at + GAP, key] = {
                    "rows": len(values),
                    "x_count": len(values),
                    "x_sum": sum(values),
                    "x_min": min(values),
                    "x_max": max(values),
                    "x_distinct": len(set(values)),
                    "x_first": values[0],
                    "x_last": values[-1],
                }
                session = []
            session.append(row)
    return found


def figures(rows: Sequence[dict[str, Any]]) -> dict[Key, dict[str, Any]]:
    left_out = {"window_start", "window_end", "k", "revision", "final"}
    named = by_key(rows, "k")
    return {key: {name: value for name, value in row.items() if name not in left_out} for key, row in named.items()}


@some
@any_chance
def test_any_split_and_order_gives_the_windows_of_a_loop(seed: int, chance: random.Random) -> None:
    of, frame = of_sessions(), frame_of(seed)
    want = by_hand(frame)
    partials = [of.summary.summarize(piece) for piece in split_at_random(of.batch(frame), chance)]
    joins = chance.random() < 0.5
    partials += [of.summary.summarize(of.batch(frame.iloc[:0]), joins=joins)]
    merged = merged_at_random(of.summary, partials, chance)
    again = of.summary.merge([merged])
    assert again.sort_by([("slice", "ascending")]).num_rows == merged.num_rows == len(want)
    for parts in (partials, [merged], [of.summary.summarize(of.batch(frame), joins=False)]):
        _, tables, retractions = of.timeline.advance(of.timeline.start(), parts, None)
        assert figures(plain_rows(tables["a"])) == want
        assert retractions == {}, "nothing was published before it closed"


@some
@any_chance
def test_shards_do_not_show(seed: int, chance: random.Random) -> None:
    of, frame = of_sessions(), frame_of(seed)
    shards: dict[int, list[pa.RecordBatch]] = {}
    for partial in of.partials(frame, 7):
        for shard, part in of.summary.by_shard(partial, 3).items():
            shards.setdefault(shard, []).append(part)
    rows = [
        row
        for parts in shards.values()
        for row in plain_rows(of.timeline.advance(of.timeline.start(), parts, None).rows["a"])
    ]
    assert figures(rows) == by_hand(frame)


class Table:
    """A table by key, as a database holds it: provisional rows that a window has taken the place of go."""

    def __init__(self) -> None:
        self.rows: dict[Key, dict[str, Any]] = {}

    def take(self, retracted: pa.RecordBatch | None, rows: pa.RecordBatch) -> None:
        for window in plain_rows(retracted) if retracted is not None else []:
            start, end, key = window["window_start"], window["window_end"], window["k"]
            within = {
                place
                for place, row in self.rows.items()
                if not row["final"] and place[2] == key and start <= place[0] and place[1] <= end
            }
            self.rows = {place: row for place, row in self.rows.items() if place not in within - {(start, end, key)}}
        for row in plain_rows(rows):
            place = (row["window_start"], row["window_end"], row["k"])
            before = self.rows.get(place)
            assert before is None or not before["final"], f"{place} was final"
            assert row["revision"] == (before["revision"] + 1 if before else 0)
            self.rows[place] = row

    def of(self, final: bool) -> dict[Key, dict[str, Any]]:
        return figures([row for row in self.rows.values() if row["final"] == final])


@pytest.mark.parametrize("lateness", [1, HOUR // 3, 3 * HOUR])
@some
@any_chance
def test_provisional_rows_are_those_of_the_records_so_far(lateness: int, seed: int, chance: random.Random) -> None:
    """Records come in any order, as long as they are not late; after each step the table is that of a loop."""
    of, left = of_sessions(), frame_of(seed)
    timeline, table = Timeline(of.summary, of.outputs, Micros(lateness)), Table()
    state, through, come = timeline.start(), int(left["at"].min()) - DAY, left.iloc[:0]
    while len(left):
        early = np.array([chance.random() < 0.2 for _ in range(len(left))])
        through += chance.choice([1, GAP // 7, GAP // 2, GAP, 5 * HOUR])
        # What would be late by now comes before time has passed so far.
        comes = early | (left["at"].to_numpy() + 1 + lateness <= through)
        come, left, parts = pd.concat([come, left[comes]]), left[~comes], of.partials(left[comes], 5)
        state, tables, retractions = timeline.advance(decode_state(encode_state(state)), parts, through)
        table.take(retractions["a"], tables["a"])
        known = by_hand(come)
        assert table.of(True) == {place: row for place, row in known.items() if place[1] + lateness <= through}
        assert table.of(False) == {
            place: row for place, row in known.items() if place[1] <= through < place[1] + lateness
        }
    _, tables, retractions = timeline.advance(state, [], None)
    table.take(retractions["a"], tables["a"])
    assert (table.of(True), table.of(False)) == (by_hand(frame_of(seed)), {})


@settings(some, max_examples=8)
@any_chance
def test_models_learn_from_windows_that_grow(seed: int, chance: random.Random) -> None:
    of, left = of_sessions(models=True), frame_of(seed)
    want = of.models(left)
    timeline, state, through = (
        Timeline(of.summary, of.outputs, Micros(HOUR)),
        of.timeline.start(),
        int(left["at"].min()),
    )
    found: list[dict[str, Any]] = []
    while len(left):
        through += chance.choice([GAP // 3, GAP, 5 * HOUR])
        comes = left["at"].to_numpy() + 1 + HOUR <= through
        state, tables, _ = timeline.advance(state, of.partials(left[comes], 5), through)
        found, left = [*found, *plain_rows(tables["a_models"])], left[~comes]
    found += plain_rows(timeline.advance(state, [], None).rows["a_models"])
    ours, theirs = by_key(found, "k", "model"), by_key(want, "k", "model")
    assert {place: row["n"] for place, row in ours.items()} == pytest.approx(
        {place: row["n"] for place, row in theirs.items()}
    )


def test_a_window_that_has_grown_takes_the_place_of_two_that_were_shown() -> None:
    of = of_sessions()
    timeline, told = Timeline(of.summary, of.outputs, Micros(2 * HOUR)), list[Any]()

    def record(at: int, index: int) -> list[pa.RecordBatch]:
        return of.partials(pd.DataFrame({"at": [at], "k": "a", "x": [1], "z": [1]}, index=[index]))

    state = timeline.start()
    two = [*record(0, 0), *record(GAP + HOUR // 2, 1)]
    for through, parts in ((3 * HOUR - 1, two), (3 * HOUR - 1, record(HOUR - 1, 2)), (5 * HOUR, [])):
        state, tables, retractions = timeline.advance(state, parts, through)
        rows, names = plain_rows(tables["a"]), ("window_start", "window_end", "rows", "revision", "final")
        taken = [(window["window_start"], window["window_end"]) for window in plain_rows(retractions["a"])]
        told.append((taken, [tuple(row[name] for name in names) for row in rows]))
    whole = (0, 5 * HOUR // 2)
    assert told == [
        ([], [(0, HOUR, 1, 0, False), (3 * HOUR // 2, 5 * HOUR // 2, 1, 0, False)]),
        ([whole], [(*whole, 3, 0, False)]),
        ([whole], [(*whole, 3, 1, True)]),
    ]


def test_a_tick_retracts_although_event_time_has_not_passed_any_end() -> None:
    """The record joins a window that was shown, and the window that it makes has not ended yet."""
    of = of_sessions()
    timeline = Timeline(of.summary, of.outputs, Micros(2 * HOUR))
    first, second = (
        of.partials(pd.DataFrame({"at": [at], "k": "a", "x": [1], "z": [1]}, index=[at]))[0] for at in (0, HOUR - 1)
    )
    advance, clock = settle(timeline, timeline.start(), [first], Tick(1, 1, HOUR), 0)
    assert advance.rows["a"].num_rows == 1
    clock = clock.with_partial(timeline, second)
    assert clock.is_idle(Tick(2, 2, HOUR)) and not clock.is_idle(Tick(2, 2, HOUR + 1))
    for watermark in (HOUR, HOUR + 1):
        again, _ = settle(timeline, advance.state, [second], Tick(2, 2, watermark), clock.through)
        (retracted,) = plain_rows(again.retractions["a"])
        assert (retracted["window_start"], retracted["window_end"]) == (0, 2 * HOUR - 1)
        assert not again.rows["a"].num_rows
    seed = Shard(advance.state, HOUR)
    assert Clock(END, 1).with_seed(timeline, seed).due == HOUR + 1
    assert Clock(END, 0).with_seed(timeline, seed).due == 3 * HOUR


def test_a_record_is_late_when_its_instant_has_passed_whatever_windows_there_are() -> None:
    spec = AggregationSpec.model_validate({"name": "a", "window": {"gap": "10s"}, "allowed_lateness": "5s"})
    at = 100_000_000
    judged = judge(records([at] * 3, [at, at + 5_000_000, at + 5_000_001]), [spec])
    assert judged.batch["x"].to_pylist() == [0, 1]
    (letters,) = judged.dead
    assert letters["detail"].to_pylist() == ["0s after its slice closed"]


def test_states_are_divided_and_encoded_with_the_ends_of_slices() -> None:
    of, frame = of_sessions(), frame_of(5)
    timeline = Timeline(of.summary, of.outputs, Micros(DAY))
    state, tables, _ = timeline.advance(timeline.start(), of.partials(frame, 9), int(frame["at"].median()))
    assert SLICE_END in state.open.schema.names and state.shown is not None
    shards = split_seeds(timeline, [Shard(decode_state(encode_state(state)), 0)], 3)
    assert sum(s.state.shown.num_rows for s in shards if s.state.shown is not None) == state.shown.num_rows > 0
    rows = [row for row in plain_rows(tables["a"]) if row["final"]]
    rows += [row for shard in shards for row in plain_rows(timeline.advance(shard.state, [], None).rows["a"])]
    assert figures(rows) == by_hand(frame)


def test_a_window_that_does_not_grow_retracts_nothing() -> None:
    of = aggregation({"k": "string", "x": "int64"}, key=["k"], window={"size": "1h"}, statistics={"x": ["sum"]})
    timeline = Timeline(of.summary, of.outputs, Micros(HOUR))
    state: TimelineState = timeline.start()
    for through in range(0, 10 * HOUR, HOUR // 2):
        state, _, retractions = timeline.advance(state, of.partials(frame_of(1), 7) if not through else [], through)
        assert retractions == {}

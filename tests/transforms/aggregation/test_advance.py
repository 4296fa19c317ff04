"""A timeline advanced in many small steps answers like one that closes everything at once."""

import dataclasses
import random
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.aggregations import DAY, HOUR, Aggregation, aggregation, by_key, in_many_steps, plain_rows
from transforms.aggregation.timeline import TimelineState
from transforms.record.coder import RecordBatchCoder
from transforms.specification import ColumnType

WINDOWS = [
    {"size": "1h"},
    {"size": "1d"},
    {"size": "6h", "every": "1h"},
    {"size": "5d", "every": "1d"},
    {"calendar": "day", "time_zone": "Europe/Berlin"},
    {"calendar": "month", "time_zone": "Asia/Kathmandu"},
]
MODELS: dict[str, dict[str, Any]] = {
    "windowed": {"target": "y", "features": ["x", "z"]},
    "lasting": {"target": "y", "features": ["x", "z"], "memory": "all"},
    "fading": {"target": "y", "features": ["z"], "memory": "all", "forgetting_factor": 0.9},
}


def with_models(window: dict[str, str]) -> Aggregation:
    statistics = {"x": ["count", "mean", "p50", "first", "last"], "k": ["top2"]}
    columns: dict[str, ColumnType] = {"k": "string", "x": "float64", "y": "float64", "z": "float64"}
    return aggregation(columns, key=["k"], window=window, statistics=statistics, models=MODELS)


def bursts(seed: int, size: int = 150) -> pd.DataFrame:
    chance = np.random.default_rng(seed)
    at = chance.choice(chance.integers(-3 * DAY, 3 * DAY, 6), size) + chance.integers(0, 4 * HOUR, size)
    frame = pd.DataFrame({"at": at, "k": chance.choice(np.array(["a", None], object), size)})
    frame["x"], frame["z"] = chance.normal(0, 1, size), chance.normal(1e6, 1, size)
    frame["y"] = 2 * frame["x"] - frame["z"] + chance.normal(0, 1, size)
    frame.loc[chance.random(size) < 0.1, "x"] = np.nan
    return frame


def assert_same_rows(got: list[dict[str, Any]], want: list[dict[str, Any]], *key: str) -> None:
    ours, theirs = by_key(got, *key), by_key(want, *key)
    assert ours.keys() == theirs.keys()
    for name, row in theirs.items():
        for column, value in row.items():
            if column.startswith(("coefficient", "intercept", "rmse")) and row["n"] < 8:
                continue  # too few rows to determine them well: their digits are not promised
            if isinstance(value, float):
                assert ours[name][column] == pytest.approx(value, rel=1e-9, abs=1e-9), f"{name} {column}"
            else:
                assert ours[name][column] == value, f"{name} {column}"


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), chance=st.randoms(use_true_random=False))
def test_many_small_steps_give_the_rows_of_one(window: dict[str, str], seed: int, chance: random.Random) -> None:
    of, frame = with_models(window), bursts(seed)
    steps, at_once = in_many_steps(of, frame, chance), of.tables(frame)
    assert_same_rows(steps["a"], plain_rows(at_once["a"]), "k")
    assert_same_rows(steps["a_models"], plain_rows(at_once["a_models"]), "k", "model")


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_a_window_closes_when_its_end_is_reached_and_not_before(window: dict[str, str]) -> None:
    of = with_models(window)
    frame = pd.DataFrame({"at": [5 * HOUR + 1], "k": "a", "x": 1.0, "y": 2.0, "z": 3.0})
    timeline = of.timeline
    for end in [row["window_end"] for row in of.rows(frame)]:
        state, tables, _ = timeline.advance(timeline.start(), of.partials(frame), end - 1)
        assert end not in [row["window_end"] for row in plain_rows(tables["a"])]
        _, tables, _ = timeline.advance(state, [], end)
        assert [row["window_end"] for row in plain_rows(tables["a"])] == [end]


def test_what_no_window_needs_any_more_is_forgotten() -> None:
    of, frame = with_models({"size": "6h", "every": "1h"}), bursts(1)
    timeline = of.timeline
    last = int(frame["at"].max())
    for hours, is_open in ((0, True), (5, True), (6, False), (100, False)):
        state, _, _ = timeline.advance(timeline.start(), of.partials(frame), (last // HOUR + hours) * HOUR + HOUR)
        assert bool(state.open.num_rows) is (is_open and hours < 5), hours


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_a_state_that_was_encoded_goes_on_where_it_stood(window: dict[str, str]) -> None:
    of, frame = with_models(window), bursts(9)
    timeline, middle = of.timeline, int(frame["at"].median())
    state, before, _ = timeline.advance(timeline.start(), of.partials(frame), middle)
    _, after, _ = timeline.advance(stored(state), [], None)
    for name, key in (("a", ("k",)), ("a_models", ("k", "model"))):
        got = plain_rows(before[name]) + plain_rows(after[name])
        assert_same_rows(got, plain_rows(of.tables(frame)[name]), *key)


def stored(state: TimelineState) -> TimelineState:
    """The state, written and read back."""

    def copy(batch: pa.RecordBatch | None) -> pa.RecordBatch | None:
        coder = RecordBatchCoder()
        return None if batch is None else coder.decode(coder.encode(batch))

    return dataclasses.replace(state, open=copy(state.open), memories=tuple(map(copy, state.memories)))


def test_advancing_without_news_publishes_nothing_twice() -> None:
    of, frame = with_models({"size": "6h", "every": "1h"}), bursts(4)
    timeline, through = of.timeline, (int(frame["at"].max()) // HOUR + 2) * HOUR
    state, first, _ = timeline.advance(timeline.start(), of.partials(frame), through)
    assert first["a"].num_rows
    for _ in range(3):
        state, again, _ = timeline.advance(state, [], through)
        assert [table.num_rows for table in again.values()] == [0, 0]

"""Windows that wait for late records: published early, again when they change, and closed once."""

import dataclasses
import random
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.aggregations import DAY, HOUR, Aggregation, aggregation, by_key, plain_rows
from transforms.aggregation.live import decode_state, encode_state
from transforms.aggregation.timeline import Timeline
from transforms.specification import ColumnType, Micros

MODELS = {"lasting": {"target": "x", "features": ["z"], "memory": "all", "forgetting_factor": 0.9}}
WINDOWS = [
    {"size": "1h"},
    {"size": "6h", "every": "1h"},
    {"calendar": "day", "time_zone": "Europe/Berlin"},
]
LATENESS = [HOUR // 2, 3 * HOUR, 2 * DAY]


def over(**window: str) -> Aggregation:
    columns: dict[str, ColumnType] = {"k": "string", "x": "int64", "z": "int64"}
    statistics = {"x": ["count", "sum", "max", "last"]}
    return aggregation(columns, key=["k"], window=window, statistics=statistics, models=MODELS)


def waiting(of: Aggregation, lateness: int) -> Timeline:
    return Timeline(of.summary, of.outputs, Micros(lateness))


def frame_of(seed: int, size: int = 60) -> pd.DataFrame:
    chance = np.random.default_rng(seed)
    at = chance.choice(chance.integers(-2 * DAY, 2 * DAY, 4), size) + chance.integers(0, 4 * HOUR, size)
    keys = chance.choice(np.array(["a", None], object), size)
    return pd.DataFrame({"at": at, "k": keys, "x": chance.integers(0, 9, size), "z": chance.integers(0, 9, size)})


@pytest.mark.parametrize("lateness", LATENESS, ids=str)
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), chance=st.randoms(use_true_random=False))
def test_any_steps_close_the_windows_of_one_step(
    window: dict[str, str], lateness: int, seed: int, chance: random.Random
) -> None:
    of, left = over(**window), frame_of(seed)
    timeline, want = waiting(of, lateness), of.tables(frame_of(seed))
    state, through = timeline.start(), int(left["at"].min()) - DAY
    final: dict[str, list[Any]] = {name: [] for name in want}
    published: dict[Any, list[tuple[int, int]]] = {}

    def take(tables: dict[str, pa.RecordBatch], by: int | None) -> None:
        for name, table in tables.items():
            for row in plain_rows(table):
                if row["final"]:
                    assert by is None or row["window_end"] + lateness <= by
                    final[name].append(row)
                else:
                    assert by is not None and row["window_end"] <= by < row["window_end"] + lateness
                if name == "a":
                    before = published.setdefault((row["window_start"], row["window_end"], row["k"]), [])
                    assert row["revision"] == len(before), "each revision once, in order"
                    assert row["final"] or not before or before[-1][1] != row["rows"], "only what has changed"
                    before.append((row["revision"], row["rows"]))
                else:
                    assert row["final"], "models learn from what is settled"

    while len(left):
        through += chance.choice([1, HOUR // 7, HOUR, 5 * HOUR, DAY])
        batch = of.batch(left)
        closing = of.summary.window.slice_ends(of.summary.window.slices(batch["@event_time"])) + lateness <= through
        early = np.array([chance.random() < 0.2 for _ in range(len(left))])
        state, tables, _ = timeline.advance(state, of.partials(left[closing | early], 5), through)
        state = decode_state(encode_state(state))
        take(tables, through)
        left = left[~(closing | early)]
    take(timeline.advance(state, [], None)[1], None)
    for name, key in (("a", ("k",)), ("a_models", ("k", "model"))):
        got, wanted = by_key(final[name], *key), by_key(plain_rows(want[name]), *key)
        assert got.keys() == wanted.keys()
        for place, row in wanted.items():
            for column in row.keys() - {"revision", "intercept", "coefficient_z", "r2", "rmse"}:
                assert got[place][column] == row[column], f"{place} {column}"


def test_a_window_is_shown_at_its_end_again_when_it_changed_and_closed_after_its_lateness() -> None:
    of = over(size="1h")
    timeline = waiting(of, HOUR)
    first = of.partials(pd.DataFrame({"at": [5], "k": "a", "x": [1], "z": [1]}))
    late = of.partials(pd.DataFrame({"at": [6], "k": "a", "x": [4], "z": [1]}, index=[1]))
    state, told = timeline.start(), []
    steps = [(HOUR - 1, first), (HOUR, []), (HOUR + 1, []), (HOUR + 2, late), (2 * HOUR - 1, []), (2 * HOUR, [])]
    for through, partials in [*steps, (3 * HOUR, [])]:
        state, tables, _ = timeline.advance(state, partials, through)
        told.append([(row["x_sum"], row["revision"], row["final"]) for row in plain_rows(tables["a"])])
    assert told == [[], [(1.0, 0, False)], [], [(5.0, 1, False)], [], [(5.0, 2, True)], []]
    assert state.shown is not None and not state.shown.num_rows and not state.open.num_rows


def test_the_next_end_is_when_a_window_ends_or_closes() -> None:
    of = over(size="2h", every="1h")
    timeline, partial = waiting(of, 5 * HOUR), of.partials(pd.DataFrame({"at": [5], "k": "a", "x": [1], "z": [1]}))[0]
    found, after = [], -DAY
    while (end := timeline.next_end(partial, after)) is not None:
        found.append(end // HOUR)
        after = end
    assert found == [1, 2, 6, 7]


def test_what_was_shown_is_part_of_the_state() -> None:
    of = over(size="1h")
    timeline = waiting(of, HOUR)
    partials = of.partials(pd.DataFrame({"at": [5], "k": "a", "x": [1], "z": [1]}))
    state, _, _ = timeline.advance(timeline.start(), partials, HOUR)
    for kept, news in ((decode_state(encode_state(state)), 0), (dataclasses.replace(state, shown=None), 1)):
        assert timeline.advance(kept, [], HOUR + 1)[1]["a"].num_rows == news

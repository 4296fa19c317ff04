"""Learning in order: the same figures as from the records one after the other, however the input was cut."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import laws
from tests.aggregations import DAY, HOUR, aggregation, by_key, in_many_steps
from tests.laws import Figure, Subject
from tests.more_kinds import more_kinds
from transforms.aggregation.summary import Summary
from transforms.model.learn import ModelMeasure
from transforms.model.ordered import InOrder
from transforms.specification import ColumnType

COLUMNS: dict[str, ColumnType] = {"k": "string", "x": "float64"}
WINDOWS: list[dict[str, str]] = [
    {"size": "1d"},
    {"size": "6h", "every": "2h"},
    {"calendar": "day", "time_zone": "Europe/Berlin"},
]


@pytest.fixture(autouse=True)
def kinds() -> Iterator[None]:
    with more_kinds():
        yield


def told(records: pa.RecordBatch) -> dict[str, Any]:
    """Every record, in the order in which it was learnt from."""
    return {"seen": repr(records.to_pylist())}


def subject() -> Subject:
    inputs = {"x": pa.float64(), "text": pa.string(), "flag": pa.bool_()}
    learner = InOrder(inputs, {"seen": pa.string()}, told)
    measure = ModelMeasure("m", (), learner)

    def figures(summary: Summary, partial: pa.RecordBatch, rows: pa.RecordBatch) -> dict[str, Figure]:
        return {"seen": Figure(learner.finish(summary.state(partial, measure))["seen"].to_pylist())}

    present = st.tuples(st.floats(-1e3, 1e3), st.text(max_size=2), st.booleans())
    absent = st.tuples(st.none() | st.just(1.5), st.none() | st.just("a"), st.none() | st.booleans())
    return Subject("records in order", measure, inputs, [present, absent, present | absent], figures)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), chance=st.randoms(use_true_random=False))
def test_any_split_in_any_order_learns_from_the_same_records_in_the_same_order(
    data: st.DataObject, chance: random.Random
) -> None:
    rows = data.draw(laws.rows_of(subject()))
    laws.assert_any_split_gives_the_one_pass_answer(subject(), rows, chance)
    laws.assert_order_does_not_show(subject(), rows, chance)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_state_is_neutral_commutes_associates_and_survives_encoding(data: st.DataObject) -> None:
    rows = data.draw(laws.rows_of(subject()))
    laws.assert_no_rows_are_neutral(subject(), rows)
    laws.assert_merging_commutes(subject(), rows)
    laws.assert_merging_associates(subject(), rows)
    laws.assert_state_survives_encoding(subject(), rows)


def bursts(seed: int) -> pd.DataFrame:
    numbers = np.random.default_rng(seed)
    size = 400
    times = numbers.integers(0, 5 * DAY, size) // (HOUR // 4) * (HOUR // 4)  # many records at one time
    x = np.where(numbers.random(size) < 0.1, np.nan, numbers.normal(0, 1, size))
    return pd.DataFrame({"at": times, "k": [("a", "b", None)[i] for i in numbers.integers(0, 3, size)], "x": x})


def one_by_one(rows: pd.DataFrame, rate: float) -> tuple[float | None, str | None]:
    level, direction = None, None
    for value in rows.dropna(subset=["x"]).sort_values("at", kind="stable")["x"].tolist():
        before = value if level is None else level
        level = before + rate * (value - before)
        direction = "up" if level > before else "down" if level < before else "level"
    return level, direction


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("batch_rows", [None, 7])
def test_a_model_is_that_of_its_windows_records_one_by_one(window: dict[str, str], batch_rows: int | None) -> None:
    of = aggregation(COLUMNS, key=["k"], window=window, models={"m": {"kind": "smoothed", "column": "x", "rate": 0.3}})
    frame = bursts(3)
    rows = of.models(frame, batch_rows)
    assert len(rows) > 10
    for row in rows:
        own = frame["k"].isna() if row["k"] is None else frame["k"] == row["k"]
        held = frame[own & (frame["at"] >= row["window_start"]) & (frame["at"] < row["window_end"])]
        assert (row["level"], row["direction"]) == one_by_one(held, 0.3)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_models_that_time_closes_step_by_step_are_the_same(window: dict[str, str], seed: int) -> None:
    models: dict[str, dict[str, Any]] = {
        "m": {"kind": "smoothed", "column": "x"},
        "lasting": {"target": "x", "features": ["z"], "memory": "all"},
    }
    of = aggregation({**COLUMNS, "z": "float64"}, key=["k"], window=window, models=models)
    frame = bursts(seed)
    frame["z"] = np.arange(len(frame)) % 7.0
    steps = [row for row in in_many_steps(of, frame, random.Random(seed))["a_models"] if row["model"] == "m"]
    at_once = [row for row in of.models(frame) if row["model"] == "m"]
    assert by_key(steps, "k") == by_key(at_once, "k")

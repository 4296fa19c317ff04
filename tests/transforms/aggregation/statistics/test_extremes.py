"""Extremes against Python's own min and max, which compare text by code point as well."""

import math
from datetime import datetime, timezone
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.columns import figures
from transforms.specification import ColumnType
from transforms.time.event_time import EARLIEST, LATEST

VALUES: Final[dict[ColumnType, st.SearchStrategy[Any]]] = {
    "float64": st.floats(allow_nan=False),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "bool": st.booleans(),
    "string": st.text(max_size=4),
    "timestamp": st.integers(EARLIEST, LATEST - 1).map(lambda time: np.datetime64(time, "us").item()),
}


@pytest.mark.parametrize("kind", VALUES)
@settings(max_examples=25, deadline=None)
@given(data=st.data(), batch_rows=st.integers(1, 12))
def test_extremes_are_those_of_python(kind: ColumnType, data: st.DataObject, batch_rows: int) -> None:
    rows = data.draw(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.none() | VALUES[kind]), max_size=25))
    keys, values = [key for key, _ in rows], [value for _, value in rows]
    want = {}
    for key in keys:
        present = [value for k, value in rows if k == key and value is not None]
        want[key] = (min(present), max(present)) if present else (None, None)
    got = figures("extremes", kind, values, "min", "max", keys=keys, batch_rows=batch_rows)
    if kind == "timestamp":
        got = {key: tuple(at and at.replace(tzinfo=None) for at in ends) for key, ends in got.items()}
    assert got == want


def test_groups_answer_like_pandas() -> None:
    chance = np.random.default_rng(3)
    keys = np.array(["a", "b", "c"])[chance.integers(0, 3, 4_000)]
    values = chance.normal(-5, 100, 4_000)
    want = pd.DataFrame({"k": keys, "x": values}).groupby("k")["x"].agg(["min", "max"])
    got = figures("extremes", "float64", values, "min", "max", keys=keys, batch_rows=333)
    assert got == {key: tuple(row) for key, row in want.iterrows()}


def test_text_is_compared_by_code_point() -> None:
    values = ["é", "z", "Z", "", "\U0001d11e", "\uffff", "e\u0301"]
    assert figures("extremes", "string", values, "min", "max")[None] == ("", "\U0001d11e")


def test_instants_before_the_epoch_come_first() -> None:
    early, late = datetime(1969, 7, 20, tzinfo=timezone.utc), datetime(1999, 12, 31, tzinfo=timezone.utc)
    assert figures("extremes", "timestamp", [late, None, early], "min", "max")[None] == (early, late)


@pytest.mark.parametrize("values", [[-0.0, 0.0], [0.0, -0.0], [-0.0]])
@pytest.mark.parametrize("batch_rows", [None, 1])
def test_the_sign_of_zero_does_not_show(values: list[float], batch_rows: int | None) -> None:
    low, high = figures("extremes", "float64", values, "min", "max", batch_rows=batch_rows)[None]
    assert math.copysign(1, low) == math.copysign(1, high) == 1.0


@pytest.mark.parametrize("batch_rows", [None, 1])
def test_nan_counts_as_null_and_infinity_as_a_value(batch_rows: int | None) -> None:
    got = figures("extremes", "float64", [math.nan, 2.0, math.inf], "min", "max", batch_rows=batch_rows)
    assert got[None] == (2.0, math.inf)
    assert figures("extremes", "float64", [math.nan] * 2, "min", "max", batch_rows=batch_rows)[None] == (None, None)

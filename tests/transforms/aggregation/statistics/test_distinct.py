"""Distinct against sets: exact to a thousand, and within one percent, root mean square, beyond."""

import random

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.columns import figure, figures
from transforms.aggregation.accumulator import Arrival
from transforms.aggregation.groups import group
from transforms.aggregation.measure import accumulator as accumulator_of
from transforms.aggregation.statistics.distinct import EXACT
from transforms.specification import ColumnType


@pytest.mark.parametrize("size", [0, 1, 2, 999, 1_000])
@pytest.mark.parametrize("batch_rows", [None, 613])
def test_up_to_a_thousand_the_count_is_exact(size: int, batch_rows: int | None) -> None:
    texts = [f"tail {n % size}" if size else None for n in range(3 * size + 1)] + [None]
    assert figure("distinct", "string", texts, "distinct", batch_rows) == size


def test_groups_answer_like_pandas() -> None:
    chance = np.random.default_rng(17)
    frame = pd.DataFrame({"k": chance.choice(["a", "b", "ö"], 4_000), "x": chance.integers(-400, 400, 4_000)})
    want = frame.groupby("k")["x"].nunique()
    columns: dict[ColumnType, pd.Series] = {
        "int64": frame.x,
        "float64": frame.x * 0.1,
        "string": frame.x.astype(str),
    }
    for kind, values in columns.items():
        got = figures("distinct", kind, list(values), "distinct", keys=list(frame.k), batch_rows=700)
        assert {key: count for key, (count,) in got.items()} == want.to_dict()


def test_what_is_equal_counts_once() -> None:
    assert figure("distinct", "float64", [0.0, -0.0, None, 1.0], "distinct") == 2
    assert figure("distinct", "bool", [True, False, None, True], "distinct") == 2
    assert figure("distinct", "timestamp", [0, 1, 0, None], "distinct") == 2
    assert figure("distinct", "string", ["", None, "é", "e\u0301", "E"], "distinct") == 4
    assert figure("distinct", "int64", [2**63 - 1, -(2**63), 0, 2**63 - 1], "distinct") == 3


@pytest.mark.parametrize("size", [1_000, 1_001, 5_000])
def test_the_answer_depends_on_the_values_and_not_on_how_they_came(size: int) -> None:
    values = list(range(size)) * 2
    once = figure("distinct", "int64", values, "distinct")
    random.Random(size).shuffle(values)
    assert {figure("distinct", "int64", values, "distinct", rows) for rows in (None, 100, 999, 1_001)} == {once}


@pytest.mark.parametrize(
    ("size", "seeds"), [(1_001, 200), (2_000, 200), (5_000, 100), (15_000, 60), (50_000, 30), (200_000, 12)]
)
def test_beyond_a_thousand_the_error_is_below_one_percent(size: int, seeds: int) -> None:
    errors = estimates(np.random.default_rng(size), size, seeds) / size - 1
    assert np.sqrt(np.mean(errors**2)) < 0.01
    assert np.abs(errors).max() < 0.05


def test_serial_numbers_and_texts_are_as_random_as_any_value() -> None:
    serial = [
        figure("distinct", "int64", np.arange(start, start + 20_000), "distinct") for start in range(0, 10**6, 10**5)
    ]
    texts = [figure("distinct", "string", [f"N{n}{i}" for n in range(20_000)], "distinct") for i in range(5)]
    errors = np.array(serial + texts) / 20_000 - 1
    assert np.sqrt(np.mean(errors**2)) < 0.0135  # 15 draws of 0.8 % exceed that once in a million times
    assert EXACT == 1_000


def estimates(chance: np.random.Generator, size: int, seeds: int) -> np.ndarray:
    """The estimates for that many groups, each of `size` values of its own."""
    values = chance.integers(-(2**63), 2**63 - 1, size * seeds)
    distinct = accumulator_of("distinct", "int64")
    groups = group({"g": pa.array(np.repeat(np.arange(seeds), size))})
    state = distinct.measure(pa.array(values), groups, Arrival(values, 0, values))
    return distinct.finish(state, "distinct").to_numpy()

"""Moments against exact arithmetic: fractions for a few values, extended precision for many."""

import math
import statistics
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.columns import figure, figures

STATISTICS = ("count", "missing", "mean", "std", "var", "sum")
EPSILON = 2.0**-52
SMALLEST = 5e-324
batchings = pytest.mark.parametrize("batch_rows", [None, 1, 7])


def exactly(values: list[float]) -> tuple[Fraction, Fraction]:
    """The mean and the sum of squared deviations, without rounding."""
    exact = [Fraction(value) for value in values]
    mean = sum(exact, Fraction(0)) / len(exact)
    return mean, sum(((value - mean) ** 2 for value in exact), Fraction(0))


@settings(max_examples=60, deadline=None)
@given(
    values=st.sampled_from([0.0, 1e8, -1e8, 1e15]).flatmap(
        lambda offset: st.lists(st.floats(-10, 10).map(lambda x: offset + x), min_size=2, max_size=40)
    ),
    batch_rows=st.integers(1, 40),
)
def test_any_batching_equals_exact_arithmetic(values: list[float], batch_rows: int) -> None:
    mean, squares = exactly(values)
    answers = figures("moments", "float64", values, *STATISTICS, batch_rows=batch_rows)[None]
    got = dict(zip(STATISTICS, answers, strict=True))
    size = sum(map(abs, values))
    assert (got["count"], got["missing"]) == (len(values), 0)
    assert abs(Fraction(got["sum"]) - mean * len(values)) <= 8 * EPSILON * size
    # Beside 0 the nearest float64 may lie further away than any fraction of the values says.
    assert abs(Fraction(got["mean"]) - mean) <= 8 * EPSILON * size / len(values) + SMALLEST
    variance = float(squares / (len(values) - 1))
    assert got["var"] == pytest.approx(variance, rel=1e-12, abs=1e-300)
    assert got["std"] == pytest.approx(math.sqrt(variance), rel=1e-12, abs=1e-150)


@pytest.mark.parametrize("offset", [0.0, 1e8, -1e8])
@pytest.mark.parametrize("batch_rows", [None, 100, 10_000])
def test_the_spread_survives_an_offset_of_a_hundred_million(offset: float, batch_rows: int | None) -> None:
    values = np.random.default_rng(7).normal(offset, 1.0, 100_000)
    extended = values.astype(np.longdouble)
    mean, std, var, total = figures("moments", "float64", values, "mean", "std", "var", "sum", batch_rows=batch_rows)[
        None
    ]
    assert total == pytest.approx(math.fsum(values), abs=1e-12 * math.fsum(np.abs(values)))
    assert mean == pytest.approx(float(extended.mean()), rel=1e-15, abs=1e-15)
    assert var == pytest.approx(float(extended.var(ddof=1)), rel=1e-13)
    assert std == pytest.approx(float(extended.std(ddof=1)), rel=1e-13)


def test_groups_answer_like_pandas() -> None:
    chance = np.random.default_rng(11)
    keys = np.array(["a", "b", "ä", ""])[chance.integers(0, 4, 5_000)]
    values = np.where(chance.random(5_000) < 0.2, np.nan, chance.gamma(2.0, 30.0, 5_000))
    got = figures("moments", "float64", pa.array(values, from_pandas=True), *STATISTICS, keys=keys, batch_rows=999)
    grouped = pd.DataFrame({"k": keys, "x": values}).groupby("k")["x"]
    want = grouped.agg(["count", lambda x: x.isna().sum(), "mean", "std", "var", "sum"])
    assert got.keys() == set(want.index)
    for key, row in want.iterrows():
        assert got[str(key)] == pytest.approx(tuple(row), rel=1e-12)


@batchings
@pytest.mark.parametrize("value", [0.1, 1e8 + 0.1, 1e300, -7.0, 5e-324])
def test_equal_values_have_no_spread_at_all(value: float, batch_rows: int | None) -> None:
    assert figures("moments", "float64", [value] * 23, "mean", "var", "std", batch_rows=batch_rows)[None] == (
        value,
        0.0,
        0.0,
    )


@batchings
def test_huge_values_have_a_mean_and_a_sum_and_no_variance(batch_rows: int | None) -> None:
    values = [1e300, -1e300, 3e300, 1e300] * 5
    got = figures("moments", "float64", values, "mean", "sum", "var", "std", batch_rows=batch_rows)[None]
    assert got[:2] == pytest.approx((1e300, 2e301), rel=1e-12)
    assert got[2:] == (None, None)


@batchings
def test_subnormal_values_have_a_mean(batch_rows: int | None) -> None:
    values = [5e-324 * n for n in range(1, 100)]
    assert figure("moments", "float64", values, "mean", batch_rows) == pytest.approx(5e-324 * 50, abs=1e-323)


@batchings
@pytest.mark.parametrize(
    ("values", "want"),
    [
        ([None], (0, 1, None, None, None, None)),
        ([None] * 20, (0, 20, None, None, None, None)),
        ([3.5], (1, 0, 3.5, None, None, 3.5)),
        ([None, 3.5] + [None] * 9, (1, 10, 3.5, None, None, 3.5)),
        ([-0.0], (1, 0, 0.0, None, None, 0.0)),
        ([-0.0, 0.0], (2, 0, 0.0, 0.0, 0.0, 0.0)),
        ([-1.0, None, -3.0], (2, 1, -2.0, math.sqrt(2.0), 2.0, -4.0)),
    ],
)
def test_few_values_answer_what_they_can(values: list[Any], want: tuple[Any, ...], batch_rows: int | None) -> None:
    assert figures("moments", "float64", values, *STATISTICS, batch_rows=batch_rows)[None] == pytest.approx(want)


@batchings
def test_booleans_and_integers_count_as_numbers(batch_rows: int | None) -> None:
    flags = [True, None, False, True, True, False, True, None]
    numbers = [float(flag) for flag in flags if flag is not None]
    got = figures("moments", "bool", flags, "mean", "var", "sum", batch_rows=batch_rows)[None]
    assert got == pytest.approx((statistics.fmean(numbers), statistics.variance(numbers), sum(numbers)))
    extremes = [2**63 - 1, -(2**63), 5]
    assert figure("moments", "int64", extremes, "sum", batch_rows) == pytest.approx(4.0, abs=1e-12 * 2.0**64)


@pytest.mark.parametrize("infinite", [math.inf, -math.inf])
@batchings
def test_an_infinite_value_makes_a_figure_null_and_not_nan(infinite: float, batch_rows: int | None) -> None:
    got = figures("moments", "float64", [1.0, infinite, 2.0], *STATISTICS, batch_rows=batch_rows)[None]
    assert got == (3, 0, None, None, None, None)


@batchings
def test_nan_counts_as_missing(batch_rows: int | None) -> None:
    got = figures("moments", "float64", [1.0, math.nan, 2.0], "count", "missing", "mean", batch_rows=batch_rows)[None]
    assert got == (2, 1, 1.5)

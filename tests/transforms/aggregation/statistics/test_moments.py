"""Moments against exact arithmetic: fractions for a few values, extended precision for many."""

import math
import random
import statistics
import sys
from collections.abc import Sequence
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


def exactly(values: Sequence[float]) -> tuple[Fraction, Fraction]:
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


whole_numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-5, 5),
    *[st.integers(-9, 9).map(of.__add__) for of in (2**53, -(2**53), 2**62, 1_700_000_000 * 10**9)],
    st.sampled_from([2**63 - 1, -(2**63), 0, 1]),
)


@settings(max_examples=150, deadline=None)
@given(
    values=st.one_of(
        st.lists(whole_numbers, min_size=2, max_size=40),
        st.sampled_from([0, 2**53, -(2**62), 2**63 - 10]).flatmap(
            lambda offset: st.lists(st.integers(-9, 9).map(lambda x: offset + x), min_size=2, max_size=40)
        ),
    ),
    nulls=st.integers(0, 2),
    batch_rows=st.integers(1, 40),
    chance=st.randoms(use_true_random=False),
)
def test_whole_numbers_of_any_size_are_summed_without_an_error(
    values: list[int], nulls: int, batch_rows: int, chance: random.Random
) -> None:
    mean, squares = exactly(values)
    given = [*values, *[None] * nulls]
    chance.shuffle(given)
    answers = figures("moments", "int64", given, *STATISTICS, batch_rows=batch_rows)[None]
    got = dict(zip(STATISTICS, answers, strict=True))
    assert (got["count"], got["missing"]) == (len(values), nulls)
    assert got["sum"] == float(sum(values))
    assert abs(Fraction(got["mean"]) - mean) <= 2 * EPSILON * abs(mean)
    variance = squares / (len(values) - 1)
    assert got["var"] == pytest.approx(float(variance), rel=1e-12)
    assert got["std"] == pytest.approx(math.sqrt(variance), rel=1e-12)


@batchings
def test_sums_of_integers_beyond_the_digits_of_a_double_are_exact(batch_rows: int | None) -> None:
    values = [9007199254740993, 2, -9007199254740993, 0]
    assert figures("moments", "int64", values, "sum", "mean", batch_rows=batch_rows)[None] == (2.0, 0.5)
    std = figure("moments", "int64", [2**53 + n for n in range(4)], "std", batch_rows)
    assert std == pytest.approx(statistics.stdev(range(4)), rel=1e-15)
    instants = [1_700_000_000_000_000_000 + 7 * n for n in range(20)]
    assert figure("moments", "int64", instants, "var", batch_rows) == pytest.approx(statistics.variance(instants))
    # Beyond int64, the double next to the sum; also where it leaves int64 on the way only.
    assert figure("moments", "int64", [2**63 - 1] * 4, "sum", batch_rows) == 2.0**65
    assert figure("moments", "int64", [2**63 - 1, 2**63 - 1, -(2**63) + 1, -(2**63) + 2], "sum", batch_rows) == 1.0


@batchings
def test_keys_of_nulls_beside_large_numbers_add_nothing(batch_rows: int | None) -> None:
    got = figures(
        "moments",
        "int64",
        [None, 2**53 + 1, None, 0, 2**62 + 1, -(2**62)],
        *("count", "sum", "mean", "var"),
        keys=["a", "b", "a", "a", "c", "c"],
        batch_rows=batch_rows,
    )
    assert got == {
        "a": (1, 0.0, 0.0, None),
        "b": (1, 2.0**53, 2.0**53, None),
        "c": (2, 1.0, 0.5, pytest.approx(2.0**125)),
    }


@pytest.mark.parametrize("batch_rows", [None, 10, 10_000])
@pytest.mark.parametrize(
    ("first", "then"), [(1e6, 0.1), (1e9, 0.3), (1e15, 1.1), (-1e12, 1e-3), (0.1, 0.1), (1e300, 1.0)]
)
def test_one_value_far_from_the_others_costs_the_sum_no_digits(
    first: float, then: float, batch_rows: int | None
) -> None:
    values = np.r_[first, np.full(19_999, then)]
    total, mean = figures("moments", "float64", values, "sum", "mean", batch_rows=batch_rows)[None]
    size = math.fsum(np.abs(values))
    assert total == pytest.approx(math.fsum(values), abs=1e-15 * size)
    assert mean == pytest.approx(math.fsum(values) / len(values), abs=1e-15 * size / len(values))


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(
        st.one_of(
            st.floats(allow_nan=False, allow_infinity=False),
            st.sampled_from([1.7e308, -1.7e308, 1e308, -1e300, 1e-300, 5e-324, 1e15 + 0.5, -1e15, 0.1]),
        ),
        min_size=1,
        max_size=30,
    ),
    batch_rows=st.integers(1, 30),
)
def test_values_of_any_magnitude_have_the_sum_and_mean_of_exact_arithmetic(
    values: list[float], batch_rows: int
) -> None:
    total, mean = figures("moments", "float64", values, "sum", "mean", batch_rows=batch_rows)[None]
    exact = sum(map(Fraction, values), Fraction())
    size = sum((abs(Fraction(value)) for value in values), Fraction())
    slack = Fraction(8 * EPSILON) * size + Fraction(SMALLEST) * len(values)
    assert abs(Fraction(mean) * len(values) - exact) <= slack
    # Only a sum beyond the largest double is null, whatever it passed on the way.
    largest = Fraction(sys.float_info.max)
    if total is None:
        assert abs(exact) > largest
    else:
        assert abs(Fraction(total) - exact) <= slack and abs(exact) < largest + slack


@batchings
def test_a_sum_that_fits_is_given_whatever_it_passes_on_the_way(batch_rows: int | None) -> None:
    for values in ([1.7e308, -1.7e308], [1.7e308, 1.7e308, -1.7e308, -1.7e308], [-1.7e308, 1.7e308, -1.7e308, 1.7e308]):
        assert figures("moments", "float64", values, "sum", "mean", "var", batch_rows=batch_rows)[None] == (0, 0, None)
    largest = sys.float_info.max
    values = [largest, largest, -largest, 1e292, -1e292]
    assert figure("moments", "float64", values, "sum", batch_rows=batch_rows) == largest
    assert figures("moments", "float64", [1.5e308] * 3, "sum", "mean", batch_rows=batch_rows)[None] == (None, 1.5e308)


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

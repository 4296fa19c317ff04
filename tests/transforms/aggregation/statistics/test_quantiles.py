"""Quantiles against the order statistic at rank floor(q (n - 1)) of the sorted values."""

import math
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.columns import figure, figures
from transforms.aggregation.statistics.quantiles import ACCURACY, bins, quantile, representatives

PERCENTILES = ("p0", "p0.1", "p1", "p5", "p25", "p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99", "p100")
WITHIN = ACCURACY * (1 + 1e-9)  # the bound itself is reached; its rounding is not counted


def order_statistic(values: Any, statistic: str) -> float:
    rank = math.floor(Fraction(statistic[1:]) / 100 * (len(values) - 1))
    return float(np.sort(np.asarray(values, float))[rank])


def assert_close(got: float, want: float) -> None:
    assert abs(got - want) <= WITHIN * abs(want) + 5e-324, f"{got!r} is further than 1 % from {want!r}"


@settings(max_examples=80, deadline=None)
@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60),
    batch_rows=st.integers(1, 60),
)
def test_any_finite_values_are_answered_within_one_percent(values: list[float], batch_rows: int) -> None:
    got = figures("quantiles", "float64", values, *PERCENTILES, batch_rows=batch_rows)[None]
    for statistic, answer in zip(PERCENTILES, got, strict=True):
        assert_close(answer, order_statistic(values, statistic))


@pytest.mark.parametrize("batch_rows", [None, 3_000])
@pytest.mark.parametrize("shape", ["normal", "lognormal", "pareto", "at 1e8", "two-sided", "integers"])
def test_distributions_are_answered_within_one_percent(shape: str, batch_rows: int | None) -> None:
    chance = np.random.default_rng(29)
    size = 20_001
    shapes: dict[str, Callable[[], npt.NDArray[np.float64]]] = {
        "normal": lambda: chance.normal(0, 1, size),
        "lognormal": lambda: chance.lognormal(0, 4, size),
        "pareto": lambda: chance.pareto(0.5, size),
        "at 1e8": lambda: chance.normal(1e8, 1, size),
        "two-sided": lambda: chance.lognormal(0, 9, size) * chance.choice([-1, 1], size),
        "integers": lambda: chance.poisson(3, size).astype(float),
    }
    values = shapes[shape]()
    got = figures("quantiles", "float64", values, *PERCENTILES, batch_rows=batch_rows)[None]
    for statistic, answer in zip(PERCENTILES, got, strict=True):
        assert_close(answer, order_statistic(values, statistic))


@pytest.mark.parametrize("size", [1, 2, 3, 10, 11, 100, 101, 1_000, 1_001])
def test_the_rank_is_rounded_down_whatever_the_size(size: int) -> None:
    # Values a tenth apart in ratio: an answer one rank off is 10 % off.
    values = 1.1 ** np.arange(size) * 1e-40
    got = figures("quantiles", "float64", values, *PERCENTILES)[None]
    for statistic, answer in zip(PERCENTILES, got, strict=True):
        assert_close(answer, order_statistic(values, statistic))


def test_each_key_has_its_own_sketch() -> None:
    chance = np.random.default_rng(5)
    keys, values = chance.choice(["a", "b", "c"], 3_000), chance.gamma(2, 9, 3_000)
    got = figures("quantiles", "float64", values, "p50", "p99", keys=keys, batch_rows=500)
    for key, answers in got.items():
        assert_close(answers[0], order_statistic(values[keys == key], "p50"))
        assert_close(answers[1], order_statistic(values[keys == key], "p99"))


@pytest.mark.parametrize("batch_rows", [None, 1])
def test_no_value_is_null_and_one_value_is_itself(batch_rows: int | None) -> None:
    assert figures("quantiles", "float64", [None, None], "p0", "p50", batch_rows=batch_rows)[None] == (None, None)
    for value in (5e-324, 0.1, -1e300, sys.float_info.max):
        got = figures("quantiles", "float64", [None, value], "p0", "p50", "p100", batch_rows=batch_rows)[None]
        assert got == (value,) * 3


def test_answers_stay_within_the_values() -> None:
    low, middle, high = figures("quantiles", "int64", [100, 100, 101], "p0", "p50", "p100")[None]
    assert 100 <= low <= middle <= high <= 101


def test_zero_is_answered_exactly_and_without_a_sign() -> None:
    got = figure("quantiles", "float64", [-1.0, -0.0, 5.0], "p50")
    assert got == 0.0
    assert math.copysign(1, got) == 1.0


def test_infinities_are_the_outermost_values() -> None:
    values = [math.inf, 1.0, -math.inf]
    assert figures("quantiles", "float64", values, "p0", "p100", batch_rows=1)[None] == (-math.inf, math.inf)
    assert_close(figure("quantiles", "float64", values, "p50"), 1.0)


def test_booleans_have_percentiles() -> None:
    assert figures("quantiles", "bool", [False, True, False, None], "p0", "p50")[None] == (0.0, 0.0)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=30).map(sorted))
@settings(deadline=None)
def test_bins_are_in_the_order_of_their_values(values: list[float]) -> None:
    codes = bins(np.array(values))
    assert np.all(np.diff(codes.astype(np.int64)) >= 0)
    assert np.array_equal(bins(-np.array(values)), -codes)
    usual = (np.abs(values) > 1e-300) & (np.abs(values) < 1.7e308)  # the outermost bins reach beyond float64
    assert np.allclose(representatives(codes)[usual], np.array(values)[usual], rtol=WITHIN, atol=0)


def test_a_percentile_is_written_out_in_its_name() -> None:
    assert quantile("p50") == 0.5
    assert quantile("p99.9") == pytest.approx(0.999)

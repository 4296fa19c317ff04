"""The measure behind a regression keeps the laws of mergeable state; so does the model fitted from it."""

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import laws
from tests.laws import Figure, Subject, magnitudes
from transforms.aggregation.summary import Summary
from transforms.model.kinds.linear_regression import LeastSquares, LinearRegression, LinearRegressionSpec
from transforms.model.kinds.linear_regression.fit import columns, fit
from transforms.model.learn import ModelMeasure

TINY = 5e-324


def specification(features: int) -> LinearRegressionSpec:
    names = tuple(f"x{i}" for i in range(features))
    return LinearRegressionSpec(kind="linear_regression", target="y", features=names)


def subject(features: int) -> Subject:
    spec = specification(features)
    learner = LeastSquares(spec)
    measure = ModelMeasure("m", tuple(LinearRegression(spec).figures), learner)

    def figures(summary: Summary, partial: pa.RecordBatch, rows: pa.RecordBatch) -> dict[str, Figure]:
        """n, the means and the centred products: the state, free of how each mean is kept in two parts."""
        n, weight, pivot, delta, factor = learner.moments.arrays(summary.state(partial, measure))
        found = {"n": Figure(n.tolist()), "weight": Figure(weight.tolist())}
        centred = learner.moments.products(factor)
        for i, column in enumerate(measure.columns):
            # Rows with a null elsewhere do not count, so this is more than the sum of those that do.
            sizes = np.array(magnitudes(summary, partial, rows, column))
            means = finite(pivot[:, i] + delta[:, i])
            slack = laws.RELATIVE * sizes / np.maximum(n, 1) + 100 * TINY
            found[f"mean of {column}"] = Figure(means, slack.tolist())
            for j in range(i + 1):
                squares = np.where(np.isfinite(centred), centred, 0.0)[:, [i, j], [i, j]]
                # A product of columns is known where both their squares are.
                is_known = np.isfinite(centred[:, i, i]) & np.isfinite(centred[:, j, j])
                known = np.where(is_known, centred[:, i, j], np.nan)
                slack = laws.RELATIVE * np.sqrt(np.maximum(squares, laws.UNDERFLOW)).prod(axis=1) + laws.UNDERFLOW
                found[f"product of {column} and {measure.columns[j]}"] = Figure(finite(known), slack.tolist())
        return found

    value = st.none() | st.floats(-1e3, 1e3)
    offset = st.none() | st.floats(-1, 1).map(lambda x: 1e8 + x)
    huge = st.none() | st.sampled_from([1e300, -1e300, 1.0, 0.0])
    small = st.none() | st.sampled_from([TINY, -0.0, 1e-200, 0.1])
    width = features + 1
    regimes = [st.tuples(*[one] * width) for one in (value, offset, huge, small)]
    regimes += [st.tuples(value, *[offset] * features), st.just((None,) * width)]
    return Subject(f"regression on {features}", measure, dict.fromkeys(measure.columns, pa.float64()), regimes, figures)


def finite(values: Any) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values.tolist()]


every_width = pytest.mark.parametrize("subject", [subject(1), subject(3)], ids=str)


@every_width
@settings(max_examples=40, deadline=None)
@given(data=st.data(), chance=st.randoms(use_true_random=False))
def test_any_split_in_any_order_gives_the_one_pass_answer(
    subject: Subject, data: st.DataObject, chance: random.Random
) -> None:
    rows = data.draw(laws.rows_of(subject))
    laws.assert_any_split_gives_the_one_pass_answer(subject, rows, chance)
    laws.assert_order_does_not_show(subject, rows, chance)


@every_width
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_the_state_is_neutral_commutes_associates_and_survives_encoding(subject: Subject, data: st.DataObject) -> None:
    rows = data.draw(laws.rows_of(subject))
    laws.assert_no_rows_are_neutral(subject, rows)
    laws.assert_merging_commutes(subject, rows)
    laws.assert_merging_associates(subject, rows)
    laws.assert_state_survives_encoding(subject, rows)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), offset=st.sampled_from([0.0, 1e6, -1e8]))
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 3.0])
def test_a_model_is_the_same_in_every_split(intercept: bool, alpha: float, seed: int, offset: float) -> None:
    measured = subject(3)
    numbers, chance = np.random.default_rng(seed), random.Random(seed)
    size = 2_000
    x = numbers.normal(offset, 1, (3, size))
    y = x[0] - 2 * x[1] + numbers.normal(0, 1, size)
    keys = [("a", None)[i] for i in numbers.integers(0, 2, size)]
    times = numbers.integers(0, 3_600_000_000, size)
    rows = laws.batch(measured, keys, times, [*x, y])
    laws.assert_any_split_gives_the_one_pass_answer(measured, rows, chance)
    summary = measured.summary
    partials = [summary.summarize(piece) for piece in laws.split_at_random(rows, chance)]
    spec = specification(3).model_copy(update={"alpha": alpha, "fit_intercept": intercept})
    fitted = []
    for partial in (laws.merged_at_random(summary, partials, chance), summary.summarize(rows)):
        state = summary.state(laws.in_order(partial), measured.measure)
        fitted.append({name: values.to_pylist() for name, values in columns(fit(state, spec), spec).items()})
    # The intercept is the target's mean less features times coefficients: at an offset it has their digits.
    within = 1e-9 if intercept else 1e-7
    for name, values in fitted[1].items():
        assert fitted[0][name] == pytest.approx(values, rel=1e-9, abs=within), name

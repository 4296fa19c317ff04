"""How right the figures of a fit are: against certified values, exact fractions, and decompositions of the rows."""

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from tests.transforms.model.kinds.linear_regression.reference_data import DATASETS
from transforms.aggregation.groups import group
from transforms.model.kinds.linear_regression import LeastSquares
from transforms.model.kinds.linear_regression.comoments import CoMoments
from transforms.model.kinds.linear_regression.fit import Fit, columns, estimator, fit
from transforms.model.kinds.linear_regression.spec import LinearRegressionSpec

Numbers = npt.NDArray[np.float64]
batchings = pytest.mark.parametrize("parts", [1, 13])


def specification(features: int, **options: Any) -> LinearRegressionSpec:
    names = tuple(f"x{i}" for i in range(features))
    return LinearRegressionSpec(kind="linear_regression", target="y", features=names, **options)


def fitted(x: npt.NDArray[Any], y: npt.NDArray[Any], parts: int = 1, **options: Any) -> Fit:
    """One model of all rows, measured in that many parts."""
    moments = CoMoments(x.shape[1] + 1)
    groups = group({"part": pa.array(np.arange(len(y)) % parts)})
    state = moments.measure([pa.array(values) for values in (*x.T, y)], groups)
    state = moments.merge(state, group({"all": pa.array(np.zeros(len(groups), np.int64))}))
    return fit(state, specification(x.shape[1], **options))


def exactly(x: Numbers, y: Numbers, intercept: bool = True) -> tuple[list[Fraction], Fraction]:
    """The least squares coefficients, the intercept first, and the sum of squared residuals, without rounding."""
    rows = [[Fraction(1)] * intercept + [Fraction(value) for value in row] for row in x.tolist()]
    target, width = [Fraction(value) for value in y.tolist()], len(rows[0])
    table = [[sum((r[i] * r[j] for r in rows), Fraction()) for j in range(width)] for i in range(width)]
    for i, row in enumerate(table):
        row.append(sum((r[i] * t for r, t in zip(rows, target, strict=True)), Fraction()))
    for i in range(width):
        table[i] = [value / table[i][i] for value in table[i]]
        for j in (j for j in range(width) if j != i):
            table[j] = [a - table[j][i] * b for a, b in zip(table[j], table[i], strict=True)]
    solution = [row[-1] for row in table]
    predicted = [sum((w * v for w, v in zip(solution, row, strict=True)), Fraction()) for row in rows]
    squares = sum(((t - p) ** 2 for t, p in zip(target, predicted, strict=True)), Fraction())
    return [Fraction()] * (not intercept) + solution, squares


def shares(seed: int, size: int = 500) -> tuple[Numbers, Numbers]:
    """A target of bytes, which spread over 1e9, and of a share, which spreads over 1."""
    chance = np.random.default_rng(seed)
    x = np.stack((chance.uniform(0, 1e9, size), chance.uniform(0, 1, size)), axis=1)
    return x, x @ [1e-6, 100] + chance.normal(0, 1, size)


@batchings
@pytest.mark.parametrize(
    ("name", "within"),
    [
        *[("Pontius", 1e-11), ("Longley", 1e-10), ("Filip", 1e-6), ("Wampler1", 1e-8), ("Wampler2", 1e-10)],
        *[("Wampler3", 1e-8), ("Wampler4", 1e-7), ("Wampler5", 1e-5)],
    ],
)
def test_certified_coefficients_are_met(name: str, within: float, parts: int) -> None:
    data = DATASETS[name]
    got = fitted(data.x, data.y, parts)
    assert [*got.intercept, *got.coefficients[0]] == pytest.approx(data.certified, rel=within)
    assert got.r2[0] == pytest.approx(data.r2, rel=1e-9 if data.r2 > 0.1 else 1e-12)


@batchings
def test_features_in_any_units_have_their_coefficients(parts: int) -> None:
    x, y = shares(1)
    got = fitted(x, y, parts)
    want, squares = exactly(x, y)
    assert [*got.intercept, *got.coefficients[0]] == pytest.approx([float(value) for value in want], rel=1e-10)
    assert got.rmse[0] == pytest.approx(float(squares / len(y)) ** 0.5, rel=1e-10)


@batchings
def test_a_feature_and_its_square_have_their_coefficients(parts: int) -> None:
    chance = np.random.default_rng(2)
    x = chance.uniform(0, 3e6, 300)
    x = np.stack((x, x**2), axis=1)
    y = x @ [2.0, 1e-7] + chance.normal(0, 0.01, 300)
    got = fitted(x, y, parts)
    want, squares = exactly(x, y)
    assert got.coefficients[0] == pytest.approx([float(value) for value in want[1:]], rel=1e-12)
    assert got.rmse[0] == pytest.approx(float(squares / len(y)) ** 0.5, rel=1e-6)


@batchings
def test_whole_numbers_that_fit_exactly_are_seen_to(parts: int) -> None:
    chance = np.random.default_rng(3)
    x = np.stack((chance.integers(0, 5, 200), chance.integers(0, 10**8, 200)), axis=1)
    for kind in (np.int64, np.float64):
        got = fitted(x.astype(kind), (1 + x @ [3, 2]).astype(kind), parts)
        assert got.coefficients[0] == pytest.approx([3, 2], rel=1e-9)
        assert got.intercept[0] == pytest.approx(1, abs=1e-7)
        assert (got.rmse.tolist(), got.r2.tolist()) == ([0.0], [1.0])


@batchings
@pytest.mark.parametrize("noise", [1e-1, 3e-3, 1e-3, 1e-4, 1e-6, 1e-8])
def test_a_small_residual_is_not_taken_for_rounding(noise: float, parts: int) -> None:
    """A day of seconds against a clock that errs by so many."""
    x = np.arange(0, 86_400, 60.0)
    y = 3.25 + 1.00001 * x + np.random.default_rng(4).normal(0, noise, len(x))
    got = fitted(x[:, None], y, parts)
    want, squares = exactly(x[:, None], y)
    assert got.coefficients[0, 0] == pytest.approx(float(want[1]), rel=1e-14)
    assert got.rmse[0] == pytest.approx(float(squares / len(y)) ** 0.5, rel=1e-6, abs=1e-11)
    assert got.r2[0] == pytest.approx(1 - float(squares) / np.sum((y - y.mean()) ** 2), abs=1e-15)


@batchings
@pytest.mark.parametrize(("apart", "within"), [(1e-4, 1e-9), (1e-6, 1e-7), (1e-9, 1e-4)])
def test_features_that_are_nearly_the_same_are_told_apart(apart: float, within: float, parts: int) -> None:
    chance = np.random.default_rng(5)
    x = chance.normal(0, 1, (60, 3))
    x[:, 1] = x[:, 0] + apart * x[:, 1]
    y = x @ [1.0, -2.0, 3.0] + chance.normal(0, 1, 60)
    want, squares = exactly(x, y)
    got = fitted(x, y, parts)
    assert [*got.intercept, *got.coefficients[0]] == pytest.approx([float(value) for value in want], rel=within)
    assert got.rmse[0] == pytest.approx(float(squares / 60) ** 0.5, rel=1e-6)


@batchings
@pytest.mark.parametrize("options", [{}, {"fit_intercept": False}], ids=str)
def test_what_doubles_do_not_tell_apart_has_no_figures(options: dict[str, Any], parts: int) -> None:
    chance = np.random.default_rng(6)
    x = chance.normal(0, 1, (60, 2))
    x[:, 1] = x[:, 0] + 2e-12 * x[:, 1]
    spec = specification(2, **options)
    got = columns(fitted(x, x[:, 0] + chance.normal(0, 1, 60), parts, **options), spec)
    row = {name: values.to_pylist()[0] for name, values in got.items()}
    assert row == {**dict.fromkeys(row), "n": 60}
    with pytest.raises(ValueError, match="coefficient_x0 is null: there is nothing to export"):
        estimator(row, spec)
    # With a penalty there is one answer, and both share it.
    ridge = fitted(x, x[:, 0], parts, alpha=1.0, **options)
    assert ridge.coefficients[0] == pytest.approx(Ridge(alpha=1.0, **options).fit(x, x[:, 0]).coef_, rel=1e-9)


@batchings
@pytest.mark.parametrize("scale", [1.0, 1e5, 1e9])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_dependent_features_have_the_least_norm_in_their_own_units(offset: float, scale: float, parts: int) -> None:
    chance = np.random.default_rng(7)
    one, other = offset + chance.normal(0, 1, (2, 300))
    x = np.stack((one, scale * one, other), axis=1)
    y = 5 * one - other + chance.normal(0, 0.1, 300)
    got = fitted(x, y, parts).coefficients[0]
    alone = fitted(x[:, [0, 2]], y).coefficients[0]
    want = np.array([alone[0] / (1 + scale**2), alone[0] * scale / (1 + scale**2), alone[1]])
    assert got == pytest.approx(want, rel=1e-8, abs=(1e-3 if offset else 1e-9) * want[1])
    assert got[0] + scale * got[1] == pytest.approx(alone[0], rel=1e-8)


@batchings
def test_what_varies_by_the_rounding_of_its_values_is_constant(parts: int) -> None:
    chance = np.random.default_rng(8)
    x = np.stack((chance.normal(0, 1, 100), np.array([0.3, 0.1 + 0.2])[chance.integers(0, 2, 100)]), axis=1)
    got = fitted(x, x[:, 0] + chance.normal(0, 1, 100), parts)
    assert got.coefficients[0, 1] == 0
    assert got.coefficients[0, 0] == pytest.approx(1, abs=0.5)


@batchings
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e6])
def test_a_penalty_weighs_on_features_in_their_own_units(alpha: float, intercept: bool, parts: int) -> None:
    x, y = shares(9)
    got = fitted(x, y, parts, alpha=alpha, fit_intercept=intercept)
    want = Ridge(alpha=alpha, fit_intercept=intercept, solver="svd").fit(x, y)
    assert got.coefficients[0] == pytest.approx(want.coef_, rel=1e-8)


@batchings
@pytest.mark.parametrize("alpha", [1e-20, 1e-12, 1.0, 1e6])
def test_a_penalty_of_any_size_decides_between_dependent_features(alpha: float, parts: int) -> None:
    _, y = shares(9)
    x = np.eye(3)[np.random.default_rng(1).integers(0, 3, 500)] * [1, 1e3, 1]
    got = fitted(x, y, parts, alpha=alpha).coefficients[0]
    if alpha < 1:
        assert got == pytest.approx(fitted(x, y).coefficients[0], rel=1e-9)
    else:
        assert got == pytest.approx(Ridge(alpha=alpha, solver="svd").fit(x, y).coef_, rel=1e-9)


def test_faded_rows_of_any_units_weigh_what_they_should() -> None:
    learner = LeastSquares(specification(2, memory="all", forgetting_factor=0.5))
    moments, parts = learner.moments, 20
    x, y = shares(10, 400)
    part = np.arange(400) % parts
    together = group({"all": pa.array([0, 0])})
    memory = None
    for number in range(parts):
        mine = part == number
        groups = group({"all": pa.array(np.zeros(mine.sum(), np.int64))})
        new = moments.measure([pa.array(values) for values in (*x[mine].T, y[mine])], groups)
        if memory is not None:
            faded = learner.fade(memory, np.array([0.5]))
            both = {name: pa.concat_arrays([faded[name], new[name]]) for name in new}
            new = moments.merge(both, together)
        memory = new
    assert memory is not None
    weights = 0.5 ** (parts - 1 - part)
    root, middle = np.sqrt(weights), np.average(np.column_stack((x, y)), axis=0, weights=weights)
    centred = root[:, None] * (np.column_stack((x, y)) - middle)
    scale = np.linalg.norm(centred, axis=0)
    want = np.linalg.lstsq(centred[:, :2] / scale[:2], centred[:, 2], rcond=None)[0] / scale[:2]
    got = fit(memory, learner.spec)
    assert got.coefficients[0] == pytest.approx(want, rel=1e-10)
    misfit = centred[:, 2] - centred[:, :2] @ want
    assert got.rmse[0] == pytest.approx(np.sqrt(misfit @ misfit / weights.sum()), rel=1e-10)


@batchings
def test_nanoseconds_since_1970_are_a_feature_like_others(parts: int) -> None:
    steps = np.random.default_rng(11).integers(0, 10**9, 200)
    got = fitted((1_700_000_000_000_000_000 + steps)[:, None], 3 * steps, parts)
    assert got.coefficients[0, 0] == pytest.approx(3, rel=1e-12)
    assert got.rmse[0] < 1e-6


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    features=st.integers(1, 3),
    scales=st.lists(st.sampled_from([1e-100, 1e-9, 1.0, 1e5, 1e12, 1e100]), min_size=4, max_size=4),
    offsets=st.lists(st.sampled_from([0.0, 1.0, -1e8, 1e11]), min_size=4, max_size=4),
    intercept=st.booleans(),
    parts=st.integers(1, 15),
)
def test_any_units_offsets_and_batches_have_the_coefficients_of_exact_arithmetic(
    seed: int, features: int, scales: list[float], offsets: list[float], intercept: bool, parts: int
) -> None:
    chance = np.random.default_rng(seed)
    units = np.array(scales[: features + 1])
    rows = (chance.normal(0, 1, (15, features + 1)) + offsets[: features + 1] * np.array(intercept)) * units
    x, y = rows[:, :-1], rows[:, -1]
    got = fitted(x, y, parts, fit_intercept=intercept)
    want, squares = exactly(x, y, intercept)
    # In the features' own units: what the target would change by as they go one spread on.
    in_spreads = got.coefficients[0] * units[:-1] / units[-1]
    assert in_spreads == pytest.approx(
        [float(w) * u / units[-1] for w, u in zip(want[1:], units, strict=False)], abs=1e-9
    )
    assert got.rmse[0] / units[-1] == pytest.approx(float(squares / Fraction(units[-1]) ** 2 / 15) ** 0.5, abs=1e-9)

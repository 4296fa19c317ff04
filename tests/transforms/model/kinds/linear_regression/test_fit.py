"""Fits from merged co-moments against scikit-learn on the raw rows."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, Ridge

from transforms.aggregation.groups import group
from transforms.model.kinds.linear_regression.comoments import CoMoments
from transforms.model.kinds.linear_regression.fit import Fit, columns, estimator, fit
from transforms.model.kinds.linear_regression.spec import LinearRegressionSpec

Numbers = npt.NDArray[np.float64]
batchings = pytest.mark.parametrize("parts", [1, 13])


def specification(features: int, **options: Any) -> LinearRegressionSpec:
    names = tuple(f"x{i}" for i in range(features))
    return LinearRegressionSpec(kind="linear_regression", target="y", features=names, **options)


def fitted(x: Numbers, y: Numbers, parts: int = 1, **options: Any) -> Fit:
    """One model of all rows, measured in that many parts."""
    moments = CoMoments(x.shape[1] + 1)
    groups = group({"part": pa.array(np.arange(len(y)) % parts)})
    state = moments.measure([pa.array(values) for values in (*x.T, y)], groups)
    state = moments.merge(state, group({"all": pa.array(np.zeros(len(groups), np.int64))}))
    return fit(state, specification(x.shape[1], **options))


def reference(x: Numbers, y: Numbers, alpha: float = 0.0, fit_intercept: bool = True, tol: float = 1e-12) -> Any:
    if alpha:
        return Ridge(alpha=alpha, fit_intercept=fit_intercept, solver="svd").fit(x, y)
    return LinearRegression(fit_intercept=fit_intercept, tol=tol).fit(x, y)


def assert_like_scikit_learn(
    x: Numbers, y: Numbers, parts: int, within: float = 1e-9, tol: float = 1e-12, **options: Any
) -> Fit:
    """Coefficients, intercept, rmse and r2 are those of scikit-learn, with `tol` for what it leaves out."""
    got, model = fitted(x, y, parts, **options), reference(x, y, **options, tol=tol)
    scale = np.abs(model.coef_).max()
    assert got.n.tolist() == [len(y)]
    assert got.coefficients[0] == pytest.approx(model.coef_, rel=within, abs=within * scale)
    size = np.abs(model.coef_) @ np.abs(x).mean(axis=0) + np.abs(y).mean()
    assert got.intercept[0] == pytest.approx(model.intercept_, abs=within * size)
    # Predictions at an offset lose digits that centred ones keep: mean residual and residuals about it.
    middle = x.mean(axis=0)
    apart = (y - y.mean()) - (x - middle) @ model.coef_
    level = 0.0 if options.get("fit_intercept", True) else y.mean() - middle @ model.coef_
    squares = np.sum((apart + level) ** 2)
    total = np.sum((y - y.mean()) ** 2)
    assert got.rmse[0] == pytest.approx(np.sqrt(squares / len(y)), rel=1e-7, abs=1e-6 * np.sqrt(total / len(y)))
    assert got.r2[0] == pytest.approx(1 - squares / total, rel=1e-9, abs=1e-9)
    return got


def some(seed: int, size: int = 300, features: int = 3) -> tuple[Numbers, Numbers]:
    chance = np.random.default_rng(seed)
    x = chance.normal(0, 1, (size, features))
    return x, x @ np.arange(1.0, features + 1) - 4 + chance.normal(0, 0.5, size)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"fit_intercept": False},
    {"alpha": 2.5},
    {"alpha": 2.5, "fit_intercept": False},
    {"alpha": 1e4},
]
every_option = pytest.mark.parametrize("options", OPTIONS, ids=str)


@every_option
@batchings
@pytest.mark.parametrize("offset", [0.0, 1e6, -1e6])
def test_fits_are_those_of_scikit_learn_at_any_offset(options: dict[str, Any], parts: int, offset: float) -> None:
    x, y = some(1)
    assert_like_scikit_learn(x + offset, y, parts, **options)
    assert_like_scikit_learn(x + offset, y + offset, parts, **options)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(8, 200),
    features=st.integers(1, 5),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    options=st.sampled_from(OPTIONS),
    parts=st.integers(1, 20),
)
def test_any_well_posed_rows_are_fitted_like_scikit_learn(
    seed: int, size: int, features: int, scale: float, options: dict[str, Any], parts: int
) -> None:
    x, y = some(seed, size + features, features)
    x[:, 0] *= scale
    assert_like_scikit_learn(x, y, parts, **options)


@every_option
@batchings
@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, -1e6])
def test_a_constant_feature_has_the_answer_of_least_norm(options: dict[str, Any], parts: int, value: float) -> None:
    x, y = some(2)
    x[:, 1] = value
    got = assert_like_scikit_learn(x, y, parts, **options)
    if options.get("fit_intercept", True):
        assert got.coefficients[0, 1] == 0


@batchings
@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("intercept", [True, False])
def test_collinear_features_share_the_answer_of_least_norm(
    offset: float, scale: float, intercept: bool, parts: int
) -> None:
    x, y = some(3)
    x[:, 1] *= scale
    x += offset
    x[:, 2] = x[:, 0] + 2 * x[:, 1]
    tol = 1e-8 if intercept else 1e-14
    got = assert_like_scikit_learn(
        x, y, parts, within=1e-7 if offset and not intercept else 1e-9, tol=tol, fit_intercept=intercept
    )
    x[:, 2] = x[:, 0]
    got = assert_like_scikit_learn(
        x, y, parts, within=1e-7 if offset and not intercept else 1e-9, tol=tol, fit_intercept=intercept
    )
    assert got.coefficients[0, 0] == pytest.approx(got.coefficients[0, 2], rel=1e-7)


@every_option
@batchings
@pytest.mark.parametrize("size", [2, 3])
def test_fewer_rows_than_features_have_the_answer_of_least_norm(options: dict[str, Any], parts: int, size: int) -> None:
    x, y = some(4, size, 5)
    assert_like_scikit_learn(x, y, parts, **options)


@pytest.mark.parametrize("options", OPTIONS[:4], ids=str)
def test_one_row_is_its_own_prediction(options: dict[str, Any]) -> None:
    x, y = np.array([[2.0, 1.0]]), np.array([5.0])
    got, model = fitted(x, y, **options), reference(x, y, **options)
    assert got.coefficients[0] == pytest.approx(model.coef_, rel=1e-12)
    assert got.intercept[0] == pytest.approx(model.intercept_, rel=1e-12)
    assert got.rmse[0] == pytest.approx(abs(y - model.predict(x))[0], abs=1e-14)
    assert columns(got, specification(2, **options))["r2"].to_pylist() == [None]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_no_rows_have_no_model(options: dict[str, Any]) -> None:
    moments, spec = CoMoments(3), specification(2, **options)
    groups = group({"all": pa.array([0, 0])})
    nulls = pa.array([None, None], pa.float64())
    state = moments.measure([nulls, pa.array([1.0, 2.0]), nulls], groups)
    got = {name: values.to_pylist() for name, values in columns(fit(state, spec), spec).items()}
    assert got == {
        "n": [0],
        "intercept": [None],
        "coefficient_x0": [None],
        "coefficient_x1": [None],
        "r2": [None],
        "rmse": [None],
    }


@batchings
@pytest.mark.parametrize("options", OPTIONS[:4], ids=str)
def test_a_target_that_does_not_vary_has_no_r2(options: dict[str, Any], parts: int) -> None:
    x, _ = some(5, 40)
    got = columns(fitted(x, np.full(40, 0.1), parts, **options), specification(3, **options))
    assert got["r2"].to_pylist() == [None]
    if options.get("fit_intercept", True):
        assert got["intercept"].to_pylist() == [0.1]
        assert got["rmse"].to_pylist() == [0.0]


@batchings
@pytest.mark.parametrize("options", OPTIONS[:2], ids=str)
def test_an_exact_fit_is_reported_as_one(options: dict[str, Any], parts: int) -> None:
    x, _ = some(6)
    got = fitted(x, x @ [1.0, -2.0, 0.5], parts, **options)
    assert (got.rmse.tolist(), got.r2.tolist()) == ([0.0], [1.0])


def test_many_models_are_fitted_at_once_each_as_if_alone() -> None:
    chance = np.random.default_rng(8)
    size = 4_000
    x, keys = chance.normal(0, 1, (size, 2)), chance.integers(0, 200, size)
    x[keys == 3, 0] = 5.0
    y = x[:, 0] * keys + chance.normal(0, 1, size)
    groups = group({"k": pa.array(keys)})
    for options in OPTIONS[:4]:
        got = fit(CoMoments(3).measure([pa.array(v) for v in (*x.T, y)], groups), specification(2, **options))
        for place, key in enumerate(groups.keys["k"].to_pylist()):
            model = reference(x[keys == key], y[keys == key], **options)
            assert got.coefficients[place] == pytest.approx(model.coef_, rel=1e-9, abs=1e-9)
            assert got.intercept[place] == pytest.approx(model.intercept_, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("scale", [1e200, 1e300, np.inf, np.nan, 5e-324, 1e-200])
@pytest.mark.parametrize("features", [1, 2])
def test_what_overflows_is_null_without_a_warning(options: dict[str, Any], scale: float, features: int) -> None:
    x = np.array([[1, -2.0], [-3, 4], [5, 7], [0, 1], [2, 2]])[:, :features]
    y = np.array([1.0, 2, -3, 5, 4])
    with np.errstate(invalid="ignore"):
        scaled = x * scale
    for parts in (1, 2, 5):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            got = columns(fitted(scaled, y, parts, **options), specification(features, **options))
        coefficients = [got[f"coefficient_x{i}"].to_pylist()[0] for i in range(features)]
        assert got["n"].to_pylist() == [5]
        assert all(value is None or np.isfinite(value) for value in coefficients)
        if not scale < 1:
            assert coefficients == [None] * features


@pytest.mark.parametrize("options", OPTIONS[:4], ids=str)
def test_a_row_of_the_table_becomes_a_scikit_learn_estimator(options: dict[str, Any]) -> None:
    x, y = some(9)
    spec = specification(3, **options)
    row = {name: values.to_pylist()[0] for name, values in columns(fitted(x, y, **options), spec).items()}
    model, want = estimator(row, spec), reference(x, y, **options)
    assert type(model) is type(want)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows without names, to a model that knows its features' names
        assert model.predict(x) == pytest.approx(want.predict(x), rel=1e-9)
        assert model.score(x, y) == pytest.approx(want.score(x, y), rel=1e-9)


def test_a_model_that_saw_nothing_is_not_exported() -> None:
    with pytest.raises(ValueError, match="the model saw no rows"):
        estimator({"n": 0}, specification(1))

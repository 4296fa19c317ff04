"""Linear regression from co-moments, for all keys of all windows at once.

The coefficients are those of scikit-learn's `LinearRegression` on the raw rows (`Ridge` with `alpha` > 0):
they minimise |y - Xw|^2 + alpha |w|^2 over the centred rows (over the rows themselves without an intercept),
and where features are constant or dependent they are the solution of least norm. Units do not matter: every feature
is judged by its own spread. If features are so nearly dependent that doubles cannot distinguish them, the answer is
null, not a figure of wrong digits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.aggregation.accumulator import State, nullable
from transforms.aggregation.doubles import HUGE, two_product, two_sum
from transforms.model.kinds.linear_regression.comoments import CoMoments, Matrix
from transforms.model.kinds.linear_regression.spec import LinearRegressionSpec

_EPSILON: Final = 2.0**-52
_DEPENDENT: Final = 1e-13
"""If the other features leave less than this share of its spread, a feature depends on them: rounding leaves 1e-15."""
_UNKNOWN: Final = 1e-11
"""A share above `_DEPENDENT` and below this has fewer than four digits, and so would the coefficients."""
_DELICATE: Final = 1e-9
"""If more than this share of every feature is left, the coefficients do not need singular values."""
_ROUNDED: Final = 64 * _EPSILON
"""A spread below this share of the values' root mean square is only their rounding: the feature is constant.
Dependent data were seen to leave up to 4 epsilon, independent data 1e5 epsilon and more."""
_EXACT: Final = 16 * _EPSILON
"""A residual below this share of the values it remains from, by root mean squares, is only rounding, and is 0."""

_FADED: Final = 1e-290
"""If the total weight of the rows is below this, they are forgotten: underflow takes the digits of the weight."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Fitted models, one an entry: coefficients (models, features), the rest (models,); null is NaN."""

    n: npt.NDArray[np.int64]
    intercept: Matrix
    coefficients: Matrix
    r2: Matrix
    rmse: Matrix


@np.errstate(over="ignore", divide="ignore", invalid="ignore")  # `columns` writes null for what overflows
def fit(state: State, spec: LinearRegressionSpec) -> Fit:
    """Solves the least squares problem of every group of a state of `CoMoments(len(features) + 1)`, target last."""
    moments = CoMoments(len(spec.features) + 1)
    n, weight, pivot, delta, factor = moments.arrays(state)
    level = np.sqrt(weight)[:, None] * (pivot + delta)
    rows = moments.full(factor)
    spread = _sizes(rows)
    size = np.hypot(spread, level)
    if not spec.fit_intercept:
        rows = np.concatenate((rows, level[:, None, :]), axis=1)
    coefficients = solve(rows, size[:, :-1], spec.alpha)
    left = np.einsum("gij,gj->gi", rows[:, :, :-1], coefficients) - rows[:, :, -1]
    misfit = np.sqrt(np.einsum("gi,gi->g", left, left))
    rounding = _EXACT * (size[:, -1] + np.einsum("gi,gi->g", np.abs(coefficients), size[:, :-1]))
    misfit[misfit <= rounding] = 0.0
    total = spread[:, -1]
    fitted = Fit(
        n,
        _intercept(pivot, delta, coefficients) if spec.fit_intercept else 0 * misfit,
        coefficients,
        np.where(total > 0, 1 - (misfit / total) ** 2, np.nan),
        misfit / np.sqrt(weight),
    )
    for figure in (fitted.intercept, fitted.coefficients, fitted.r2, fitted.rmse):
        figure[weight < _FADED] = np.nan
    return fitted


@np.errstate(over="ignore", divide="ignore", invalid="ignore")
def solve(rows: Matrix, size: Matrix, alpha: float = 0.0) -> Matrix:
    """The w that minimises |rows_target - rows_features w|^2 + alpha |w|^2, of least norm, for a stack of problems.

    Args:
        rows: (problems, rows, features + 1), the target last.
        size: (problems, features), the root of the sum of squares of the values whose rounding is in the rows.

    Returns:
        (problems, features); NaN where the rows are not finite, or do not determine it.
    """
    width = size.shape[1]
    finite: npt.NDArray[Any] = np.asarray(np.isfinite(rows).all(axis=(1, 2)))
    if not finite.all():
        rows, size = np.where(finite[:, None, None], rows, 0.0), np.where(finite[:, None], size, 0.0)
    constant = _sizes(rows)[:, :-1] <= _ROUNDED * size
    if constant.any():
        rows = rows.copy()
        rows[:, :, :-1][np.broadcast_to(constant[:, None, :], rows[:, :, :-1].shape)] = 0.0
        size = np.where(constant, 0.0, size)
    system = bare = _triangle(rows)
    if alpha:
        ridge = np.broadcast_to(np.sqrt(alpha) * np.eye(width, width + 1), (len(rows), width, width + 1))
        system = _triangle(np.concatenate((bare, ridge), axis=1))
    solution = np.empty((len(rows), width))
    for place in reversed(range(width)):
        known = np.einsum("gi,gi->g", system[:, place, place + 1 : width], solution[:, place + 1 :])
        solution[:, place] = (system[:, place, width] - known) / system[:, place, place]
    scale = _scale(bare)
    rounding = _ROUNDED * size / scale
    doubt = np.maximum(_DELICATE, np.sqrt(np.einsum("gi,gi->g", rounding, rounding)))[:, None]
    delicate = ~(np.abs(np.einsum("gii->gi", bare[:, :width, :width])) > doubt * scale).all(axis=1)
    if delicate.any():
        solution[delicate] = _least_norm(bare[delicate], system[delicate], rounding[delicate], alpha)
    solution[~finite] = np.nan
    return solution


def _least_norm(bare: Matrix, system: Matrix, rounding: Matrix, alpha: float) -> Matrix:
    """The same where features may be dependent; `system` is the triangle with the penalty, `bare` the one without.

    It is solved in units of each feature's own spread, so that scales cost no digits. The part that dependent
    features leave undetermined is then removed in the features' own units, in which the norm is to be least. Any
    penalty, however small, removes that part too.
    """
    scale = _scale(bare)
    _, values, vectors = np.linalg.svd(bare[:, :-1, :-1] / scale[:, None, :])
    is_dependent = values <= np.maximum(_DEPENDENT, np.linalg.norm(vectors * rounding[:, None, :], axis=2))
    held = np.hypot(values, np.sqrt(alpha) * np.linalg.norm(vectors / scale[:, None, :], axis=2))
    is_unknown = (~is_dependent & (held < _UNKNOWN)).any(axis=1)
    free = np.where(is_dependent[:, :, None], vectors, 0.0).transpose(0, 2, 1) / scale[:, :, None]

    own = _scale(system)
    left, values, vectors = np.linalg.svd(system[:, :-1, :-1] / own[:, None, :])
    kept = values > 0 if alpha else ~is_dependent
    along = np.where(kept, np.einsum("gji,gj->gi", left, system[:, :-1, -1]) / values, 0.0)
    solution: Matrix = np.einsum("gji,gj->gi", vectors, along) / own
    solution -= np.einsum("gij,gjk,gk->gi", free, np.linalg.pinv(free), solution)
    solution[is_unknown] = np.nan
    return solution


def _triangle(rows: Matrix) -> Matrix:
    """The upper triangular factor of stacked rows, which may already be triangular."""
    if rows.shape[1] == rows.shape[2]:
        return rows
    return np.asarray(np.linalg.qr(rows, mode="r"))


def _sizes(rows: Matrix) -> Matrix:
    """The norm of each column."""
    return np.sqrt(np.einsum("gij,gij->gj", rows, rows))


def _scale(triangle: Matrix) -> Matrix:
    """The size of each feature's column, 1 where it is 0."""
    size = _sizes(triangle[:, :, :-1])
    size[size == 0] = 1.0
    return size


def _intercept(pivot: Matrix, delta: Matrix, coefficients: Matrix) -> Matrix:
    """The target's mean less features times coefficients, which may be far larger than it."""
    high, low = pivot[:, -1], delta[:, -1] - np.einsum("gi,gi->g", coefficients, delta[:, :-1])
    for place in range(coefficients.shape[1]):
        product, error = two_product(coefficients[:, place], pivot[:, place])
        high, rounded = two_sum(high, -product)
        low = low + (rounded - np.where(np.abs(product) < HUGE, error, 0.0))
    return high + low


def columns(fitted: Fit, spec: LinearRegressionSpec) -> dict[str, pa.Array]:
    """A fit as columns of the models table: n, intercept, coefficient_FEATURE, r2, rmse."""

    def floats(values: Matrix) -> pa.Array:
        return nullable(values, ~np.isfinite(values), pa.float64())

    named = {f"coefficient_{name}": floats(fitted.coefficients[:, i]) for i, name in enumerate(spec.features)}
    return {
        "n": pa.array(fitted.n),
        "intercept": floats(fitted.intercept),
        **named,
        "r2": floats(fitted.r2),
        "rmse": floats(fitted.rmse),
    }


def estimator(row: Mapping[str, Any], spec: LinearRegressionSpec) -> Any:
    """A row of the models table as a fitted scikit-learn estimator.

    Returns:
        `LinearRegression`, or `Ridge` where `alpha` > 0, whose features are `spec.features` in their order.

    Raises:
        ValueError: if the model of that row saw no rows, or its coefficients are null.
    """
    from sklearn.linear_model import LinearRegression, Ridge

    if not row["n"]:
        raise ValueError("the model saw no rows: there is nothing to export")
    for name in (f"coefficient_{feature}" for feature in spec.features):
        if row[name] is None or row[name] != row[name]:
            raise ValueError(f"{name} is null: there is nothing to export")
    model = (
        Ridge(alpha=spec.alpha, fit_intercept=spec.fit_intercept)
        if spec.alpha
        else LinearRegression(fit_intercept=spec.fit_intercept)
    )
    model.coef_ = np.array([row[f"coefficient_{name}"] for name in spec.features])
    model.intercept_ = row["intercept"]
    model.n_features_in_ = len(spec.features)
    model.feature_names_in_ = np.array(spec.features, dtype=object)
    return model

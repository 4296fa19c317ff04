"""Linear regression from co-moments, for all keys of all windows at once.

The coefficients are those of scikit-learn's `LinearRegression` on the raw rows (`Ridge` with `alpha` > 0):
they minimise |y - Xw|^2 + alpha |w|^2 over the centred rows (over the rows themselves without an intercept),
and where features are constant or collinear they are the solution of least norm. Features whose spreads differ
by more than a factor of a million are as good as constant to scikit-learn, and so here: scale them first.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.aggregation.accumulator import State, nullable
from transforms.model.comoments import CoMoments, Matrix
from transforms.model.spec import LinearRegressionSpec

TOLERANCE: Final = 1e-6
"""scikit-learn's `LinearRegression(tol=1e-6)`: singular values below this share of the largest count as 0."""

_DEPENDENT: Final = 1e-12
"""Eigenvalues of the correlation matrix below this share of the largest are 0: co-moments carry 16 digits,
and a feature that is a sum of others leaves a few of the last ones behind."""

_EXACT: Final = 1e-13
"""A sum of squared residuals below this share of the target's is rounding, which differs from split to split: 0.
(Its square for those through the origin: they are squared after they are subtracted, and keep twice the digits.)"""

_FADED: Final = 1e-290
"""Rows that weigh less than this together are forgotten: their products have lost their digits to underflow."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Fitted models, one an entry: coefficients (models, features), the rest (models,); null is NaN."""

    n: npt.NDArray[np.int64]
    intercept: Matrix
    coefficients: Matrix
    r2: Matrix
    rmse: Matrix


@np.errstate(over="ignore", divide="ignore", invalid="ignore")  # what overflows is null, as `columns` writes it
def fit(state: State, spec: LinearRegressionSpec) -> Fit:
    """Solves the normal equations of every group of a state of `CoMoments(len(features) + 1)`, target last."""
    moments = CoMoments(len(spec.features) + 1)
    n, weight, pivot, delta, products = moments.arrays(state)
    mean = pivot + delta
    centred = moments.covariance(products)
    cross, total = centred[:, :-1, -1], centred[:, -1, -1]
    if spec.fit_intercept:
        coefficients = solve(centred[:, :-1, :-1], cross, spec.alpha)
        intercept = mean[:, -1] - np.einsum("gi,gi->g", coefficients, mean[:, :-1])
        explained = 2 * cross - np.einsum("gij,gj->gi", centred[:, :-1, :-1], coefficients)
        residual, noise = total - np.einsum("gi,gi->g", coefficients, explained), _EXACT * total
    else:
        coefficients, residual = solve_through_origin(centred, weight, mean, spec.alpha)
        intercept, noise = np.zeros(len(n)), _EXACT**2 * (total + weight * mean[:, -1] ** 2)
    residual = np.where(residual <= noise, 0.0, residual)
    r2 = np.where(total > 0, 1 - residual / total, np.nan)
    rmse = np.sqrt(residual / weight)
    unknown = weight < _FADED
    coefficients[unknown] = np.nan
    intercept[unknown] = np.nan
    r2[unknown] = np.nan
    rmse[unknown] = np.nan
    return Fit(n, intercept, coefficients, r2, rmse)


def solve(features: Matrix, cross: Matrix, alpha: float = 0.0) -> Matrix:
    """The solution w of (features + alpha I) w = cross for a stack of symmetric matrices.

    It is solved in units of each feature's own spread, so that scales cost no digits; what dependent features
    leave open is then taken away in the features' own units, where the norm is to be least. Directions whose
    singular value in those units is below TOLERANCE of the largest are left out, as scikit-learn does.
    """
    if alpha:
        features = features + alpha * np.eye(features.shape[-1])
    if features.shape[-1] == 1:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            square = features[:, 0]
            only = np.where(square > 0, cross / square, 0.0)
            return np.where(np.isfinite(square), only, np.nan)
    scale, values, vectors, finite = _eigen(features)
    finite &= np.isfinite(cross).all(axis=1)
    scaled = np.where(finite[:, None], cross, 0.0) / scale
    kept = values > (0.0 if alpha else _DEPENDENT)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        projected = np.where(kept, np.einsum("gij,gi->gj", vectors, scaled) / values, 0.0)
        solution: Matrix = np.einsum("gij,gj->gi", vectors, projected) / scale
    if not alpha:
        loose = finite & ~kept.all(axis=1)
        free = np.where(kept[loose, None, :], 0.0, vectors[loose]) / scale[loose, :, None]
        along = np.einsum("gij,gj->gi", np.linalg.pinv(free), solution[loose])
        solution[loose] -= np.einsum("gij,gj->gi", free, along)
        plain = np.linalg.eigvalsh(np.where(finite[:, None, None], features, 0.0))
        faint = finite & ((plain > TOLERANCE**2 * plain[:, -1:]).sum(axis=1) < kept.sum(axis=1))
        inverse = np.linalg.pinv(features[faint], rcond=TOLERANCE**2, hermitian=True)
        solution[faint] = np.einsum("gij,gj->gi", inverse, cross[faint])
    solution[~finite] = np.nan
    return solution


def solve_through_origin(centred: Matrix, weight: Matrix, mean: Matrix, alpha: float) -> tuple[Matrix, Matrix]:
    """The least-norm coefficients without an intercept, and the sum of squared residuals.

    The sums of products about the origin would lose the spread of a feature beside its mean. A factor F with
    F^T F = `centred`, one row sqrt(weight) * mean below it, has the same normal equations and keeps both.
    """
    scale, values, vectors, finite = _eigen(centred)
    kept = np.where(values > _DEPENDENT * np.maximum(values[:, -1:], 0.0), values, 0.0)
    factor = np.sqrt(kept)[:, :, None] * vectors.transpose(0, 2, 1) * scale[:, None, :]
    width = centred.shape[-1]
    rows = [factor, (np.sqrt(weight)[:, None] * mean)[:, None, :]]
    if alpha:
        ridge = np.sqrt(alpha) * np.eye(width)[:-1]
        rows.append(np.broadcast_to(ridge, (len(centred), *ridge.shape)))
    # A penalty leaves no direction undetermined, however faint it is beside the mean: nothing is cut then.
    cut = 0.0 if alpha else TOLERANCE
    stacked = np.concatenate(rows, axis=1)
    finite &= np.isfinite(stacked).all(axis=(1, 2))
    design = np.where(finite[:, None, None], stacked, 0.0)
    goal = design[:, :, -1]
    design = design[:, :, :-1]
    coefficients: Matrix = np.einsum("gij,gj->gi", np.linalg.pinv(design, rcond=cut), goal)
    misfit = (np.einsum("gij,gj->gi", design, coefficients) - goal)[:, : width + 1]
    residual = np.einsum("gi,gi->g", misfit, misfit)
    coefficients[~finite] = np.nan
    residual[~finite] = np.nan
    return coefficients, residual


def _eigen(matrix: Matrix) -> tuple[Matrix, Matrix, Matrix, npt.NDArray[np.bool_]]:
    """The scale of each variable, the eigenvalues and eigenvectors of the correlations, and which are finite."""
    with np.errstate(invalid="ignore"):
        spread = np.sqrt(np.einsum("gii->gi", matrix))
        scale = np.where(spread > 0, spread, 1.0)
        correlation = matrix / (scale[:, :, None] * scale[:, None, :])
    finite = np.isfinite(correlation).all(axis=(1, 2))
    correlation[~finite] = 0.0
    values, vectors = np.linalg.eigh(correlation)
    return scale, values, vectors, finite


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


def estimator(row: dict[str, Any], spec: LinearRegressionSpec) -> Any:
    """A row of the models table as a fitted scikit-learn estimator.

    Returns:
        `LinearRegression`, or `Ridge` where `alpha` > 0, whose features are `spec.features` in their order.

    Raises:
        ValueError: if the model of that row saw no rows.
    """
    from sklearn.linear_model import LinearRegression, Ridge

    if not row["n"]:
        raise ValueError("the model saw no rows: there is nothing to export")
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

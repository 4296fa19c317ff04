"""Observed against predicted, one step ahead: what a model learnt before a window began, tried on that window."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dataflow.report.keys import IntArray

FloatArray = npt.NDArray[np.float64]


def predict_one_step_ahead(
    *,
    keys: IntArray,
    starts: IntArray,
    ends: IntArray,
    intercept: FloatArray,
    coefficients: Sequence[FloatArray],
    feature_means: Sequence[FloatArray],
) -> FloatArray:
    """Predicts each window's mean target from its feature means and its key's previous model.

    The previous model is that of the latest window of the same key that had ended when this one began. For tumbling
    windows that is the window before; for sliding windows the one before shares records with this one, and a
    prediction from it would only look good.

    Args:
        keys, starts, ends: the key number and the bounds of each row, in any order; one row a (key, window).
        intercept: of the model fitted on each row's window; NaN counts as 0, for models without an intercept.
        coefficients: likewise, an array a feature; NaN where no model was fitted.
        feature_means: the mean of each feature in each row's window, in the order of `coefficients`.

    Returns:
        A prediction a row, NaN where no model came before or a feature has no mean.

    >>> starts, fitted = np.array([0, 10, 20]), [np.array([2.0, 3.0, 4.0])]
    >>> means = [np.array([1.0, 1.0, 1.0])]
    >>> for length in (10, 20):
    ...     predict_one_step_ahead(keys=np.zeros(3, np.int64), starts=starts, ends=starts + length,
    ...         intercept=np.array([0.5, 0.5, 0.5]), coefficients=fitted, feature_means=means)
    array([nan, 2.5, 3.5])
    array([nan, nan, 2.5])
    """
    predicted = np.full(len(keys), np.nan)
    fitted = np.flatnonzero(np.isfinite(np.sum(coefficients, axis=0)))
    if not len(fitted):
        return predicted
    moments, ranks = np.unique(np.concatenate([starts, ends]), return_inverse=True)
    began = keys * len(moments) + ranks[: len(starts)]
    ended = keys * len(moments) + ranks[len(starts) :]
    fitted = fitted[np.argsort(ended[fitted], kind="stable")]
    previous = np.searchsorted(ended[fitted], began, side="right") - 1
    model = fitted[np.maximum(previous, 0)]
    is_known = (previous >= 0) & (keys[model] == keys)
    value = np.nan_to_num(intercept[model])
    for coefficient, mean in zip(coefficients, feature_means, strict=True):
        value += coefficient[model] * mean
    predicted[is_known] = value[is_known]
    return predicted

"""Observed against predicted, one step ahead: the model from before a window began, applied to that window."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from dataflow.report.keys import IntArray

FloatArray = npt.NDArray[np.float64]


def predict_one_step_ahead(
    *,
    keys: IntArray,
    starts: IntArray,
    ends: IntArray,
    figures: Sequence[FloatArray],
    means: Sequence[FloatArray],
    predict: Callable[[Sequence[FloatArray], Sequence[FloatArray]], FloatArray],
) -> FloatArray:
    """Predicts each window's mean from other means of the window and from its key's previous model.

    The previous model is that of the latest window of the same key that had ended when this one began. For tumbling
    windows that is the window before; for sliding windows the one before shares records with this one, and a
    prediction from it would only look good.

    Args:
        keys, starts, ends: the key number and the bounds of each row, in any order; one row a (key, window).
        figures: the figures of the model of each row's window, one array a figure; NaN where there is no such model.
        means: the means of each row's window to predict from, one array a column.
        predict: predicts a mean from a model's figures and a window's means.

    Returns:
        One prediction a row; NaN if there is no earlier model or a mean is missing.

    >>> starts, slope, mean = np.array([0, 10, 20]), np.array([2.0, 3.0, 4.0]), np.array([1.0, 1.0, 1.0])
    >>> for length in (10, 20):
    ...     predict_one_step_ahead(keys=np.zeros(3, np.int64), starts=starts, ends=starts + length,
    ...         figures=[slope], means=[mean], predict=lambda figures, means: 0.5 + figures[0] * means[0])
    array([nan, 2.5, 3.5])
    array([nan, nan, 2.5])
    """
    predicted = np.full(len(keys), np.nan)
    learnt = np.flatnonzero(np.isfinite(np.stack(figures)).all(axis=0))
    if not len(learnt):
        return predicted
    moments, ranks = np.unique(np.concatenate([starts, ends]), return_inverse=True)
    began = keys * len(moments) + ranks[: len(starts)]
    ended = keys * len(moments) + ranks[len(starts) :]
    learnt = learnt[np.argsort(ended[learnt], kind="stable")]
    previous = np.searchsorted(ended[learnt], began, side="right") - 1
    model = learnt[np.maximum(previous, 0)]
    is_known = (previous >= 0) & (keys[model] == keys)
    value = predict([figure[model] for figure in figures], means)
    predicted[is_known] = value[is_known]
    return predicted

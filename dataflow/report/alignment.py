"""Figures of several tables on one set of rows, one row for each (key, window)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dataflow.report.charts import FigureId
from dataflow.report.data import AggregationView, statistic_column
from dataflow.report.keys import IntArray
from dataflow.report.prediction import FloatArray, predict_one_step_ahead


@dataclass(frozen=True, slots=True)
class AlignedFigures:
    """Rows in order of key rank, then time; every figure is a column of them, NaN where nothing is known.

    `latest[rank]` is the row of the aggregation's table that holds the key's latest window, or -1 where only models
    are stored. `is_cut` says whether older windows were left out.
    """

    ranks: IntArray
    starts: IntArray
    ends: IntArray
    figures: Mapping[FigureId, FloatArray]
    latest: IntArray
    is_cut: bool


@dataclass(frozen=True, slots=True)
class _Source:
    """The rows of one stored table (or of one model in it) that are wanted, and the new place of each."""

    table: pa.Table
    positions: IntArray
    ranks: IntArray
    targets: IntArray

    def figure(self, column: str, row_count: int) -> FloatArray:
        spread = np.full(row_count, np.nan)
        is_kept = self.targets >= 0
        spread[self.targets[is_kept]] = _floats(self.table[column].take(pa.array(self.positions[is_kept])))
        return spread


def _tables(
    view: AggregationView, table_ranks: IntArray, model_ranks: IntArray
) -> dict[str | None, tuple[pa.Table, IntArray, npt.NDArray[np.bool_]]]:
    """The aggregation's own table (None) and that of each model: the ranks of its rows, and which of them are read."""
    tables: dict[str | None, tuple[pa.Table, IntArray, npt.NDArray[np.bool_]]] = {
        None: (view.table, table_ranks, table_ranks >= 0)
    }
    if view.models_table is not None:
        names = view.models_table["model"]
        for model in view.models:
            is_model = pc.fill_null(pc.equal(names, model), False).to_numpy()
            tables[model] = (view.models_table, model_ranks, is_model & (model_ranks >= 0))
    return tables


def align(
    view: AggregationView,
    figures: Sequence[FigureId],
    *,
    table_ranks: IntArray,
    model_ranks: IntArray,
    window_limit: int,
) -> AlignedFigures:
    """Reads `figures` of the ranked keys, and of each key its latest `window_limit` windows.

    Args:
        view: the aggregation.
        figures: columns that exist, and `predicted` of models whose means exist.
        table_ranks: for each row of the aggregation's table the rank of its key, -1 for keys that are not wanted.
        model_ranks: likewise for each row of the models' table.
        window_limit: how many windows of a key to keep, at least 1.
    """
    tables = _tables(view, table_ranks, model_ranks)
    positions = {source: np.flatnonzero(is_wanted) for source, (_, _, is_wanted) in tables.items()}
    ranks = np.concatenate([tables[source][1][rows] for source, rows in positions.items()])
    starts, ends = (
        np.concatenate([milliseconds(tables[source][0][column])[rows] for source, rows in positions.items()])
        for column in ("window_start", "window_end")
    )
    numbers, first = number_together(ranks, starts, ends)
    ranks, starts, ends = ranks[first], starts[first], ends[first]
    newer_windows = np.searchsorted(ranks, ranks, side="right") - 1 - np.arange(len(ranks))
    is_kept = newer_windows < window_limit
    targets = np.where(is_kept, np.cumsum(is_kept) - 1, -1)[numbers]
    cuts = np.cumsum([len(rows) for rows in positions.values()])[:-1]
    sources = {
        source: _Source(tables[source][0], rows, tables[source][1][rows], part)
        for (source, rows), part in zip(positions.items(), np.split(targets, cuts), strict=True)
    }
    ranks, starts, ends = ranks[is_kept], starts[is_kept], ends[is_kept]

    def read(figure: FigureId) -> FloatArray:
        if figure.model is None or not figure.is_prediction:
            return sources[figure.model].figure(figure.column, len(ranks))
        prediction = view.models[figure.model].prediction
        if prediction is None:
            raise AssertionError(f"{figure.model} predicts nothing")
        return predict_one_step_ahead(
            keys=ranks,
            starts=starts,
            ends=ends,
            figures=[read(FigureId(name, figure.model)) for name in prediction.figures],
            means=[read(FigureId(statistic_column(column, "mean"))) for column in prediction.inputs],
            predict=prediction.predict,
        )

    columns = {figure: read(figure) for figure in figures}
    return AlignedFigures(ranks, starts, ends, columns, _latest(sources[None]), not bool(is_kept.all()))


def number_together(*columns: IntArray) -> tuple[IntArray, IntArray]:
    """Numbers the distinct rows of these columns from 0 in sorted order.

    Returns:
        The number of each row, and for each number one row that has it.

    >>> numbers, first = number_together(np.array([7, 5, 7]), np.array([1, 9, 1]))
    >>> numbers.tolist(), first.tolist()
    ([1, 0, 1], [1, 0])
    """
    order = np.lexsort(columns[::-1])
    is_new = np.zeros(len(order), bool)
    is_new[:1] = True
    for column in columns:
        is_new[1:] |= column[order][1:] != column[order][:-1]
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(is_new) - 1
    return numbers, order[is_new]


def milliseconds(instants: pa.ChunkedArray) -> IntArray:
    """Converts timestamps to milliseconds since the epoch, the finest that a browser's clock shows."""
    return _int64(instants.cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64()))


def _latest(source: _Source) -> IntArray:
    latest = np.full(int(source.ranks.max(initial=-1)) + 1, -1)
    in_time = np.argsort(source.targets, kind="stable")
    # Numpy assigns repeated indices in order, so the last window of each key remains.
    latest[source.ranks[in_time]] = source.positions[in_time]
    return latest


def _floats(values: pa.ChunkedArray) -> FloatArray:
    floats: npt.NDArray[np.float64] = values.cast(pa.float64(), safe=False).to_numpy()
    return floats


def _int64(values: pa.ChunkedArray) -> IntArray:
    numbers: IntArray = values.to_numpy()
    return numbers

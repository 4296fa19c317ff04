"""The figures in a page: bounded in bytes, and written as compact JSON columns."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataflow.report.alignment import AlignedFigures, align, number_together
from dataflow.report.charts import FigureId
from dataflow.report.data import AggregationView
from dataflow.report.keys import IntArray, code_keys
from dataflow.report.prediction import FloatArray

# More keys than a reader looks through, and more windows than a chart has pixels across.
KEYS_LIMIT = 500
WINDOWS_LIMIT = 2_000
# A page first shows this many keys, so this many must fit in any case.
FIRST_KEYS = 3
# What a figure takes in JSON: six digits, a sign, a point and a comma; and what a window takes besides.
FIGURE_BYTES = 9
WINDOW_BYTES = 24


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a table a page holds; `window_limit` is None if no window was left out."""

    keys: int
    all_keys: int
    window_limit: int | None

    def sentence(self) -> str:
        """The sentence on what was left out; empty if nothing was.

        >>> Coverage(120, 224, None).sentence()
        'To keep this page small, it holds the 120 of 224 keys with most rows. The stored table has all.'
        """
        parts = []
        if self.keys < self.all_keys:
            parts.append(f"the {self.keys:,} of {self.all_keys:,} keys with most rows")
        if self.window_limit is not None:
            parts.append(f"the latest {self.window_limit:,} windows of each key")
        if not parts:
            return ""
        return f"To keep this page small, it holds {' and '.join(parts)}. The stored table has all."


@dataclass(frozen=True, slots=True)
class Series:
    """The embedded figures of one aggregation.

    `labels` names the keys held, most rows first; `latest` is the row of the stored table that holds each one's latest
    window, -1 where only models are stored; `json` is the text for the page.
    """

    labels: tuple[str, ...]
    latest: tuple[int, ...]
    coverage: Coverage
    json: str


def build_series(view: AggregationView, figures: Sequence[FigureId], budget_bytes: int) -> Series:
    """Chooses the keys and windows that fit into `budget_bytes` and writes their figures, in the order given.

    Keys with most rows come first, and of each key its latest windows. At least one key stays, if there is any.
    """
    model_tables = [] if view.models_table is None else [view.models_table]
    codes = code_keys([view.table, *model_tables], view.key)
    weights = pc.fill_null(view.table["rows"].cast(pa.int64()), 0).to_numpy()
    key_count = max((int(part.max(initial=-1)) + 1 for part in codes.codes), default=0)
    totals = np.bincount(codes.codes[0], weights, minlength=key_count)
    order = np.argsort(-totals, kind="stable")[:KEYS_LIMIT]
    ranks = np.full(key_count, -1)
    ranks[order] = np.arange(len(order))
    row_bytes = FIGURE_BYTES * len(figures) + WINDOW_BYTES
    fitting = budget_bytes // (row_bytes * max(1, min(key_count, FIRST_KEYS)))
    window_limit = max(1, min(WINDOWS_LIMIT, fitting))
    aligned = align(
        view,
        figures,
        table_ranks=ranks[codes.codes[0]],
        model_ranks=ranks[codes.codes[-1]],
        window_limit=window_limit,
    )
    labels = codes.labels(order.tolist())
    whole = {figure for figure in figures if figure.model is None and _is_whole(view.table.schema, figure.column)}
    columns, held = _key_columns(aligned, figures, whole, labels, budget_bytes)
    coverage = Coverage(held, key_count, window_limit if aligned.is_cut else None)
    latest = [*aligned.latest.tolist(), *[-1] * held][:held]
    text = _document(aligned, columns, labels[:held], totals[order].astype(np.int64), figures)
    return Series(tuple(labels[:held]), tuple(latest), coverage, text)


def _key_columns(
    aligned: AlignedFigures,
    figures: Sequence[FigureId],
    whole: set[FigureId],
    labels: Sequence[str],
    budget_bytes: int,
) -> tuple[list[str], int]:
    """Writes the columns of one key after another until the budget is spent."""
    bounds = np.searchsorted(aligned.ranks, np.arange(len(labels) + 1))
    windows, _ = number_together(aligned.starts, aligned.ends)
    seen: set[int] = set()
    written: list[str] = []
    spent = 0
    for rank, label in enumerate(labels):
        rows = slice(int(bounds[rank]), int(bounds[rank + 1]))
        text = ",".join(f"[{_numbers(aligned.figures[figure][rows], figure in whole)}]" for figure in figures)
        fresh = set(windows[rows].tolist()) - seen
        spent += len(text) + len(json.dumps(label)) + WINDOW_BYTES * len(fresh) + 2 * (rows.stop - rows.start)
        if spent > budget_bytes and written:
            break
        seen |= fresh
        written.append(text)
    return written, len(written)


def _document(
    aligned: AlignedFigures,
    columns: Sequence[str],
    labels: Sequence[str],
    totals: IntArray,
    figures: Sequence[FigureId],
) -> str:
    """Writes windows as multiples of the largest unit that divides them all, and a key's windows as steps."""
    is_held = aligned.ranks < len(labels)
    ranks, starts, ends = aligned.ranks[is_held], aligned.starts[is_held], aligned.ends[is_held]
    windows, first = number_together(starts, ends)
    unit = math.gcd(*starts[first].tolist(), *ends[first].tolist()) or 1
    bounds = np.searchsorted(ranks, np.arange(len(labels) + 1))
    keys = []
    for rank, (label, text) in enumerate(zip(labels, columns, strict=True)):
        steps = np.diff(windows[bounds[rank] : bounds[rank + 1]], prepend=0)
        head = json.dumps({"key": label, "rows": int(totals[rank])})[:-1]
        keys.append(f'{head},"windows":[{_numbers(steps, True)}],"columns":[{text}]}}')
    names = [figure.column if figure.model is None else f"{figure.model}: {figure.column}" for figure in figures]
    return (
        f'{{"unit":{unit},"starts":[{_numbers(starts[first] // unit, True)}],'
        f'"ends":[{_numbers(ends[first] // unit, True)}],"columns":{json.dumps(names)},"keys":[{",".join(keys)}]}}'
    )


def _numbers(values: FloatArray | IntArray, is_whole: bool) -> str:
    form = "%d" if is_whole else "%.6g"
    return ",".join(form % value if math.isfinite(value) else "null" for value in values.tolist())


def _is_whole(schema: pa.Schema, column: str) -> bool:
    return bool(pa.types.is_integer(schema.field(column).type))

"""One column through one accumulator: what tests of single statistics say in a line."""

from typing import Any

import numpy as np
import pyarrow as pa

from tests.laws import KEY
from transforms.aggregation.measure import ColumnMeasure, accumulator
from transforms.aggregation.summary import Summary, key_column
from transforms.record.batch import ARROW, EVENT_TIME, POSITION
from transforms.specification import ColumnType
from transforms.time.event_time import TIMESTAMP
from transforms.time.windows.sized import Sized

A_DAY = 86_400_000_000


def figures(
    family: str,
    kind: ColumnType,
    values: Any,
    *statistics: str,
    keys: Any = None,
    times: Any = None,
    batch_rows: int | None = None,
) -> dict[Any, tuple[Any, ...]]:
    """The statistics of each key of a column, measured in batches of that many rows and merged.

    Without `keys` there is one key, null; without `times` all rows happen at the epoch. Times lie within one day.
    """
    column = values if isinstance(values, pa.Array) else pa.array(values, ARROW[kind])
    size = len(column)
    rows = pa.record_batch(
        {
            KEY: pa.nulls(size, pa.string()) if keys is None else pa.array(keys, pa.string()),
            "x": column,
            EVENT_TIME: pa.array(np.zeros(size, np.int64) if times is None else times, pa.int64()).cast(TIMESTAMP),
            POSITION: pa.array(np.arange(size)),
        }
    )
    measure = ColumnMeasure("x", family, accumulator(family, kind))
    summary = Summary({KEY: pa.string()}, Sized(size="1d"), [measure])
    step = batch_rows or max(size, 1)
    partial = summary.merge([summary.summarize(rows.slice(start, step)) for start in range(0, size, step)])
    state = summary.state(partial, measure)
    answers = [measure.accumulator.finish(state, statistic).to_pylist() for statistic in statistics]
    return dict(zip(partial[key_column(KEY)].to_pylist(), zip(*answers, strict=True), strict=True))


def figure(family: str, kind: ColumnType, values: Any, statistic: str, batch_rows: int | None = None) -> Any:
    """One statistic of one column under one key."""
    return figures(family, kind, values, statistic, batch_rows=batch_rows)[None][0]

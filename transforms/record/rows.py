"""Rows as dictionaries, made into batches: what tests write, and what pipelines have that other people begin."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from transforms.record.batch import ARROW, EVENT_TIME, POSITION, Origin, set_column, with_origin

Row = Mapping[str, Any]


def batch_of(
    rows: Iterable[Row], *, event_time: str, schema: pa.Schema | Mapping[str, str], source: str = "literal"
) -> pa.RecordBatch:
    """A batch from rows: positions are 0, 1, 2 …, event times those of a timestamp column.

    Args:
        rows: dictionaries from column to value; a column that a row does not have is null in it.
        event_time: the `timestamp` column that holds each row's event time; its values are aware datetimes.
        schema: the columns and their types, as in a job file (`{"at": "timestamp", "x": "float64"}`) or Arrow's.
        source: the name of where the rows come from.

    Returns:
        A batch with those columns, `@position` and `@event_time`.

    Raises:
        ValueError: if a type is none of string, int64, float64, bool and timestamp, if `event_time` is not one of
            the columns, or if a value does not fit its column (pyarrow's `ArrowInvalid` is one).

    >>> from datetime import datetime, timezone
    >>> noon = datetime(2013, 1, 1, 12, tzinfo=timezone.utc)
    >>> batch_of([{"at": noon, "x": 1.5}], event_time="at", schema={"at": "timestamp", "x": "float64"}).schema.names
    ['at', 'x', '@position', '@event_time']
    """
    arrow = schema if isinstance(schema, pa.Schema) else _arrow(schema)
    if event_time not in arrow.names or not pa.types.is_timestamp(arrow.field(event_time).type):
        raise ValueError(f"event_time must name a timestamp column of schema, is {event_time}")
    batch = pa.RecordBatch.from_pylist([dict(row) for row in rows], schema=arrow)
    batch = set_column(batch, POSITION, pa.array(range(batch.num_rows), pa.int64()))
    batch = set_column(batch, EVENT_TIME, batch[event_time].cast(pa.timestamp("us", "UTC")))
    return with_origin(batch, Origin(source))


def _arrow(columns: Mapping[str, str]) -> pa.Schema:
    types: dict[str, pa.DataType] = {str(name): kind for name, kind in ARROW.items()}
    for name, kind in columns.items():
        if kind.removesuffix("?") not in types:
            raise ValueError(f"schema.{name} must be one of {', '.join(types)}, is {kind}")
    return pa.schema([(name, types[kind.removesuffix("?")]) for name, kind in columns.items()])

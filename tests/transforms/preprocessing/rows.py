"""Batches to preprocess, and short words for what became of them."""

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
from pydantic import TypeAdapter

from transforms.preprocessing.spec import StepSpec
from transforms.preprocessing.steps import Step, plan_step
from transforms.record.batch import PAYLOAD, RESERVED, set_column
from transforms.specification import ColumnType
from transforms.testing import batch_of

COLUMNS: Final[Mapping[str, ColumnType]] = {
    "i": "int64",
    "f": "float64",
    "s": "string",
    "b": "bool",
    "t": "timestamp",
}
_ARROW: Final = pa.schema(
    [
        ("i", pa.int64()),
        ("f", pa.float64()),
        ("s", pa.string()),
        ("b", pa.bool_()),
        ("t", pa.timestamp("us", "UTC")),
    ]
)
_ADAPTER: TypeAdapter[Any] = TypeAdapter(StepSpec)


def batch(**columns: list[Any]) -> pa.RecordBatch:
    """A batch with these columns; columns of COLUMNS that are not given are null, payloads are `0`, `1`, `2` …"""
    size = len(next(iter(columns.values())))
    given = {name: pa.array(columns.get(name, [None] * size), _ARROW.field(name).type) for name in COLUMNS}
    times = pa.array(range(size), pa.int64()).cast(pa.timestamp("us", "UTC"))
    table = pa.table({**given, "at": times})
    made = batch_of(table.to_pylist(), event_time="at", schema=table.schema, source="here").drop_columns(["at"])
    return set_column(made, PAYLOAD, pa.array([str(row).encode() for row in range(size)], pa.binary()))


def plan(step: Mapping[str, Any], columns: Mapping[str, ColumnType] = COLUMNS) -> Step:
    """A step as the job file writes it, planned."""
    return plan_step(_ADAPTER.validate_python(step), columns)


def rows(of: pa.RecordBatch, *names: str) -> list[Any]:
    """The values of one column, or tuples of several."""
    columns = [of[name].to_pylist() for name in names]
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def names(of: pa.RecordBatch) -> list[str]:
    """The user's columns."""
    return [name for name in of.schema.names if name not in RESERVED]

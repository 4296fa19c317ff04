"""Parquet: row groups as columns, converted by the value rules; what they refuse becomes JSON in a dead letter."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.batch import ARROW
from transforms.collection.json_lines import as_event_time
from transforms.collection.parsed import Schema
from transforms.collection.spec import Column
from transforms.collection.values import Converted, Refusals, from_text, refusal, whole
from transforms.event_time import EARLIEST, LATEST, TIMESTAMP
from transforms.specification import ColumnType


def column_of(field: pa.Field) -> Column | None:
    """The column that a Parquet field becomes when the job file names no columns; None: it cannot become one."""
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    name: ColumnType
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        name = "string"
    elif pa.types.is_integer(kind):
        name = "int64"
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        name = "float64"
    elif pa.types.is_boolean(kind):
        name = "bool"
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        name = "timestamp"
    else:
        return None
    return Column(type=name, nullable=True)


def convert(table: pa.RecordBatch, schema: Schema, refused: Refusals) -> dict[str, pa.Array]:
    """The columns of every row; rows with a value that cannot be converted are added to `refused`.

    NaN is null. A column that the file does not have is null in every row.
    """
    columns = {}
    for name, column in schema.columns.items():
        if name not in table.schema.names:
            columns[name] = pa.nulls(table.num_rows, ARROW[column.type])
            continue
        converted = from_arrow(table[name], column.type, name, schema.event_time.time_zone)
        columns[name] = converted.values
        for row, why in converted.refused.items():
            refused.setdefault(row, as_event_time(why, name, schema))
    return columns


def from_arrow(values: pa.Array, kind: ColumnType, column: str, time_zone: str) -> Converted:
    """Converts a column of any Arrow type to `kind`."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_large_string(values.type) or pa.types.is_string_view(values.type):
        values = values.cast(pa.string())
    found = values.type
    if pa.types.is_string(found):
        return from_text(values, kind, column, time_zone)
    if pa.types.is_floating(found):
        values = values.cast(pa.float64())
        return _from_floats(pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values), kind, column)
    if pa.types.is_timestamp(found) or pa.types.is_date(found):
        return _from_times(values, kind, column, time_zone)
    if pa.types.is_integer(found) or pa.types.is_boolean(found):
        return _from_whole(values, kind, column)
    if pa.types.is_decimal(found):
        return from_text(values.cast(pa.string()), kind, column, time_zone)
    why = lambda value: ("wrong_type", f"{column}: {found} is not {kind}")  # noqa: E731
    return _refuse(values, pa.nulls(len(values), ARROW[kind]), why)


def _from_floats(values: pa.Array, kind: ColumnType, column: str) -> Converted:
    plain = values.fill_null(0.0).to_numpy(zero_copy_only=False)
    valid = values.is_valid().to_numpy(zero_copy_only=False)
    finite = np.isfinite(plain)
    why = lambda value: refusal(column, kind, value, out_of_range=not np.isfinite(value))  # noqa: E731
    if kind == "float64":
        return _refuse(values, pa.array(np.where(finite, plain, 0.0), mask=~(finite & valid)), why)
    if kind == "string":
        written = pc.if_else(pa.array(finite), values, pa.scalar(None, pa.float64()))
        texts = pa.array([None if value is None else repr(value) for value in written.to_pylist()], pa.string())
        return _refuse(values, texts, lambda value: refusal(column, "float64", value, out_of_range=True))
    good = finite & valid & whole(plain, valid)
    integers = pa.array(np.where(good, plain, 0.0).astype(np.int64), mask=~good)
    if kind == "int64":
        return _refuse(values, integers, why)
    if kind == "bool":
        return _refuse(values, _zero_or_one(integers), why)
    return _refuse(
        values, pa.nulls(len(values), ARROW[kind]), lambda value: refusal(column, kind, value, out_of_range=False)
    )


def _from_whole(values: pa.Array, kind: ColumnType, column: str) -> Converted:
    wrong = lambda value: refusal(column, kind, value, out_of_range=False)  # noqa: E731
    beyond = lambda value: refusal(column, kind, value, out_of_range=True)  # noqa: E731
    if kind == "string":
        return Converted(values.cast(pa.string()))
    if kind == "bool":
        return Converted(values) if pa.types.is_boolean(values.type) else _refuse(values, _zero_or_one(values), wrong)
    if kind == "float64":
        if pa.types.is_boolean(values.type):
            values = values.cast(pa.int8())
        return Converted(values.cast(pa.float64(), safe=False))
    if kind == "int64":
        if values.type == pa.uint64():
            fits = pc.less_equal(values, pa.scalar(2**63 - 1, pa.uint64()))
            return _refuse(values, pc.if_else(fits, values, pa.scalar(None, pa.uint64())).cast(pa.int64()), beyond)
        return Converted(values.cast(pa.int64()))
    return _refuse(values, pa.nulls(len(values), ARROW[kind]), wrong)


def _from_times(values: pa.Array, kind: ColumnType, column: str, time_zone: str) -> Converted:
    if kind != "timestamp" and kind != "string":
        why = lambda value: refusal(column, kind, value, out_of_range=False)  # noqa: E731
        return _refuse(values, pa.nulls(len(values), ARROW[kind]), why)
    if pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("ms"))
    zone = values.type.tz
    if values.type.unit == "ns":
        # Parts of a microsecond are cut off, towards the past.
        values = pc.floor_temporal(values, 1, unit="microsecond")
    micro = values.cast(pa.timestamp("us", zone), safe=False)
    if zone is None:
        micro = pc.assume_timezone(micro, time_zone, ambiguous="earliest", nonexistent="latest")
    micro = micro.cast(TIMESTAMP)
    if kind == "string":
        return Converted(pc.strftime(micro, format="%Y-%m-%dT%H:%M:%SZ"))
    instants = micro.cast(pa.int64())
    inside = pc.and_(pc.greater_equal(instants, EARLIEST), pc.less(instants, LATEST))
    kept = pc.if_else(inside, micro, pa.scalar(None, TIMESTAMP))
    return _refuse(instants, kept, lambda value: refusal(column, kind, value, out_of_range=True))


def _zero_or_one(values: pa.Array) -> pa.Array:
    either = pc.or_(pc.equal(values, 0), pc.equal(values, 1))
    return pc.if_else(either, pc.equal(values, 1), pa.scalar(None, pa.bool_()))


def _refuse(given: pa.Array, values: pa.Array, why: Callable[[Any], tuple[str, str]]) -> Converted:
    """Values that are null though they were given are refused."""
    refused: Refusals = {}
    if values.null_count > given.null_count:
        rows = np.flatnonzero(pc.and_(values.is_null(), given.is_valid()).to_numpy(zero_copy_only=False))
        for row in rows.tolist():
            refused[row] = why(given[row].as_py())
    return Converted(values, refused)


def as_json(table: pa.RecordBatch, row: int) -> bytes:
    """A row as a JSON object: the payload of its dead letter, and what a repaired one is read from."""
    record = table.slice(row, 1).to_pylist()[0]
    return json.dumps(record, default=_json_value, ensure_ascii=False).encode("utf-8", "replace")


def _json_value(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)

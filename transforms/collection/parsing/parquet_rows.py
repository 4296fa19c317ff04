"""Parquet: row groups as columns, converted by the value rules; a refused row becomes a dead letter as JSON."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.collection.parsing.parsed import Schema, as_event_time
from transforms.collection.parsing.values import Converted, Refusals, from_text, refusal
from transforms.collection.spec import Column
from transforms.record.batch import ARROW
from transforms.record.dead_letter import shown
from transforms.record.payload import plain
from transforms.specification import ColumnType
from transforms.time.event_time import EARLIEST, LATEST, TIMESTAMP
from transforms.time.zone import zone

_BEYOND_INT64: Final = float(1 << 63)
_ONE_DAY: Final = 86_400_000_000
_MICROSECONDS: Final = {"day": _ONE_DAY, "s": 1_000_000, "ms": 1_000, "us": 1}


def column_of(field: pa.Field) -> Column | None:
    """The column type of a Parquet field when the job file names no columns; None if it has none."""
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    name: ColumnType
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
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

    NaN becomes null. A column that the file lacks is null in every row.
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
        return _from_strings(values, kind, column, time_zone)
    if pa.types.is_floating(found):
        return _from_floats(values.cast(pa.float64()), kind, column)
    if pa.types.is_timestamp(found) or pa.types.is_date(found):
        return _from_times(values, kind, column, time_zone)
    if pa.types.is_integer(found) or pa.types.is_boolean(found):
        return _from_whole(values, kind, column)
    if pa.types.is_decimal(found) and kind != "timestamp":  # a text of eight digits would be a date
        return from_text(values.cast(pa.string()), kind, column, time_zone)
    why = lambda value: ("wrong_type", f"{column}: {found} is not {kind}")  # noqa: E731
    return _refuse(values, pa.nulls(len(values), ARROW[kind]), why)


def _from_strings(values: pa.Array, kind: ColumnType, column: str, time_zone: str) -> Converted:
    # Arrow trusts the writer that its strings are UTF-8; the engine crashes on one that is not.
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        broken = _find_invalid_utf8(values, column)
        good = np.ones(len(values), bool)
        good[list(broken)] = False
        converted = from_text(values.filter(pa.array(good)), kind, column, time_zone)
        rows = np.flatnonzero(good).tolist()
        refused = broken | {rows[row]: why for row, why in converted.refused.items()}
        return Converted(converted.values.take(pa.array(np.cumsum(good) - 1, mask=~good)), refused)
    return from_text(values, kind, column, time_zone)


def _find_invalid_utf8(values: pa.Array, column: str) -> Refusals:
    refused: Refusals = {}
    for row, value in enumerate(values):
        if value.is_valid:
            try:
                value.as_buffer().to_pybytes().decode("utf-8")
            except UnicodeDecodeError as error:
                byte = shown(error.object[error.start : error.start + 1])
                refused[row] = ("invalid_utf8", f"{column}: byte {byte} at {error.start} of the value is not UTF-8")
    return refused


def _from_floats(values: pa.Array, kind: ColumnType, column: str) -> Converted:
    plain = values.fill_null(0.0).to_numpy(zero_copy_only=False) if values.null_count else values.to_numpy()
    finite = np.isfinite(plain)
    if kind == "float64" and finite.all():
        return Converted(values)
    values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    plain = values.fill_null(0.0).to_numpy(zero_copy_only=False)
    finite = np.isfinite(plain)
    valid = values.is_valid().to_numpy(zero_copy_only=False)
    why = lambda value: refusal(column, kind, value, out_of_range=not np.isfinite(value))  # noqa: E731
    if kind == "float64":
        return _refuse(values, pa.array(np.where(finite, plain, 0.0), mask=~(finite & valid)), why)
    if kind == "string":
        written = pc.if_else(pa.array(finite), values, pa.scalar(None, pa.float64()))
        texts = pa.array([None if value is None else repr(value) for value in written.to_pylist()], pa.string())
        return _refuse(values, texts, lambda value: refusal(column, "float64", value, out_of_range=True))
    good = valid & (np.floor(plain) == plain) & (plain >= -_BEYOND_INT64) & (plain < _BEYOND_INT64)
    integers = pa.array(np.where(good, plain, 0.0).astype(np.int64), mask=~good)
    if kind == "int64":
        why = lambda value: refusal(column, kind, value, out_of_range=not np.isfinite(value) or value == int(value))  # noqa: E731
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
    times = _instants(values, time_zone).cast(TIMESTAMP)
    if kind == "string":
        times = pc.strftime(times, format="%Y-%m-%dT%H:%M:%SZ")
    return _refuse(values, times, lambda value: refusal(column, "timestamp", value, out_of_range=True))


def _instants(values: pa.Array, time_zone: str) -> pa.Array:
    """Times or dates as µs since the epoch, null outside the years that event times may have.

    Fractions of a microsecond are cut off, towards the past. Times without a zone are read as local times.
    """
    is_date = pa.types.is_date32(values.type)
    plain = values.cast(pa.int32() if is_date else pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    unit = "day" if is_date else "ms" if pa.types.is_date(values.type) else values.type.unit
    if unit == "ns":
        inside, instants = np.ones(len(plain), bool), plain // 1_000
    else:
        size = _MICROSECONDS[unit]
        inside = (plain >= (EARLIEST - _ONE_DAY) // size) & (plain < (LATEST + _ONE_DAY) // size)
        instants = np.where(inside, plain, 0).astype(np.int64) * size
    if time_zone != "UTC" and (pa.types.is_date(values.type) or values.type.tz is None):
        instants = zone(time_zone).read(instants)
    inside &= (instants >= EARLIEST) & (instants < LATEST)
    return pa.array(instants, mask=~inside | values.is_null().to_numpy(zero_copy_only=False))


def _zero_or_one(values: pa.Array) -> pa.Array:
    one = pc.equal(values, pa.scalar(1, values.type))
    return pc.if_else(pc.or_(one, pc.equal(values, pa.scalar(0, values.type))), one, pa.scalar(None, pa.bool_()))


def _refuse(given: pa.Array, values: pa.Array, why: Callable[[Any], tuple[str, str]]) -> Converted:
    """Refuses the rows that have no value although they were given one."""
    refused: Refusals = {}
    if values.null_count > given.null_count:
        rows = np.flatnonzero(pc.and_(values.is_null(), given.is_valid()).to_numpy(zero_copy_only=False))
        for row in rows.tolist():
            refused[row] = why(plain(given, row))
    return Converted(values, refused)

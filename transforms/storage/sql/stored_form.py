"""The form of values in a database: from Arrow to what drivers take, and back.

| Arrow             | PostgreSQL       | SQLite                                                |
|-------------------|------------------|-------------------------------------------------------|
| int64             | bigint           | INTEGER                                               |
| float64           | double precision | REAL (-0.0 comes back as 0.0)                         |
| bool              | boolean          | INTEGER 0 or 1                                        |
| string            | text             | TEXT                                                  |
| timestamp[us,UTC] | timestamptz      | TEXT `YYYY-MM-DD HH:MM:SS.ffffff+00:00`, 32 characters|
| binary            | bytea            | BLOB                                                  |
| list<struct<…>>   | text             | TEXT, JSON: `[{"value": "AA", "count": 3}]`           |

SQLite's timestamps have a fixed width, so they sort and compare as text, and `datetime()`, `julianday()` and
`strftime()` read them. In JSON a timestamp is the same text, bytes are base64.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from transforms.storage.sql.error import Refusal
from transforms.storage.sql.table import TIMESTAMP, SqlTable, is_list

# The size of a chunk: large enough to hide the cost of a driver's call, small compared with a worker's memory.
CHUNK_ROWS: Final = 65_536
CHUNK_BYTES: Final = 16 << 20

# The years 1 to 9999 fit the fixed width, and Python's datetime can hold them on the way back.
EARLIEST: Final = -62_135_596_800_000_000
LATEST: Final = 253_402_300_799_999_999


def chunked(table: SqlTable, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in the same order, in batches of a good size for a database.

    Raises:
        Refusal: if a batch has other columns than the table.
    """
    schema = table.schema.remove_metadata()
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if batch.schema.names != table.schema.names or batch.schema.types != table.schema.types:
            raise Refusal(
                f"a batch does not fit: its columns are {columns_of(batch.schema)}, "
                f"the table's are {columns_of(table.schema)}"
            )
        for start in range(0, batch.num_rows, CHUNK_ROWS):
            part = batch.slice(start, CHUNK_ROWS)
            if waiting and (rows + part.num_rows > CHUNK_ROWS or size + part.nbytes > CHUNK_BYTES):
                yield pa.concat_batches(waiting)
                waiting, rows, size = [], 0, 0
            waiting.append(pa.record_batch(part.columns, schema=schema))
            rows, size = rows + part.num_rows, size + part.nbytes
    if waiting:
        yield pa.concat_batches(waiting)


def columns_of(schema: pa.Schema) -> str:
    """The columns in the words of a message."""
    return ", ".join(f"{field.name} {field.type}" for field in schema)


def to_stored(batch: pa.RecordBatch, *, timestamps_as_text: bool) -> list[pa.Array]:
    """The columns of `batch` without lists, and without timestamps if asked.

    Raises:
        Refusal: for a timestamp outside the years 1 to 9999.
    """
    return [
        stored_column(column, field, timestamps_as_text)
        for column, field in zip(batch.columns, batch.schema, strict=True)
    ]


def stored_column(column: pa.Array, field: pa.Field, timestamps_as_text: bool) -> pa.Array:
    """One column in the form of `to_stored`."""
    if is_list(field.type):
        if field.type.value_type.field(0).type == TIMESTAMP:
            check_years(column.flatten().field("value"), field)
        return pa.array([json_of(value) for value in column.to_pylist()], pa.string())
    if field.type == TIMESTAMP:
        check_years(column, field)
        return timestamp_texts(column) if timestamps_as_text else column
    return column


def check_years(column: pa.Array, field: pa.Field) -> None:
    """Raises Refusal unless all timestamps lie in the years 1 to 9999."""
    bounds = pc.min_max(column.cast(pa.int64())).as_py()
    if bounds["min"] is not None and (bounds["min"] < EARLIEST or bounds["max"] > LATEST):
        raise Refusal(f"column {field.name!r} holds a time outside the years 1 to 9999, which SQL cannot hold")


def timestamp_texts(column: pa.Array) -> pa.Array:
    """UTC timestamps as text of one width, `2026-01-31 00:00:00.000000+00:00`."""
    # The bounds of a window repeat for every key: it is three times as fast to format each distinct time once.
    encoded = column.dictionary_encode()
    texts = encoded.dictionary.cast(pa.timestamp("us")).cast(pa.string())
    return pc.binary_join_element_wise(texts, "+00:00", "").take(encoded.indices)


def json_of(items: list[dict[str, Any]] | None) -> str | None:
    """A list of value and count as JSON text."""
    if items is None:
        return None
    return json.dumps(items, default=json_scalar, ensure_ascii=False)


def json_scalar(value: object) -> str:
    """Values that JSON lacks: times as SQLite's text, bytes as base64."""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="microseconds")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"no JSON for {type(value)}")


def from_stored(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    """A driver's values of one column as Arrow; the inverse of `to_stored`."""
    if is_list(type_):
        item = type_.value_type.field(0).type
        return pa.array([None if value is None else items_of(value, item) for value in values], type_)
    if type_ == TIMESTAMP and any(isinstance(value, str) for value in values):
        return pa.array(values, pa.string()).cast(type_)
    return pa.array(values, type_)


def items_of(text: str, type_: pa.DataType) -> list[dict[str, Any]]:
    """The items of a JSON text, with values that Arrow can convert to `type_`."""
    items: list[dict[str, Any]] = json.loads(text)
    for item in items:
        if item is None or item["value"] is None:
            continue
        if type_ == TIMESTAMP:
            item["value"] = datetime.fromisoformat(item["value"])
        elif type_ == pa.binary():
            item["value"] = base64.b64decode(item["value"])
    return items

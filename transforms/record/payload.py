"""Payloads: the original bytes of records, carried along to the steps that may still refuse them.

A line of text is its own payload. A row of Parquet has no bytes: its values are carried along unchanged, and written
as JSON only if they become a dead letter.
"""

import json
from typing import Any

import pyarrow as pa


def as_struct(rows: pa.RecordBatch) -> pa.StructArray:
    """Rows as one column, without copying a value; `written` turns it into JSON.

    >>> written(as_struct(pa.record_batch([[1, 2]], ["i"])))
    [b'{"i": 1}', b'{"i": 2}']
    """
    if not rows.num_columns:
        return pa.array([{}] * rows.num_rows, pa.struct([]))  # without columns, Arrow cannot derive the number of rows
    return pa.StructArray.from_arrays(rows.columns, rows.schema.names)


def written(payloads: pa.Array) -> list[bytes]:
    """The payloads as bytes: unchanged, or rows as JSON."""
    if not pa.types.is_struct(payloads.type):
        texts: list[bytes] = payloads.to_pylist()
        return texts
    rows = pa.RecordBatch.from_struct_array(payloads)
    return [as_json(rows, row) for row in range(rows.num_rows)]


def as_json(rows: pa.RecordBatch, row: int) -> bytes:
    """A row as a JSON object: the payload of its dead letter, from which a repaired one is read."""
    record = {name: plain(values, row) for name, values in zip(rows.schema.names, rows.columns, strict=True)}
    # JSON has no NaN; the value rules turn it into null.
    present = {name: None if value != value else value for name, value in record.items()}
    return json.dumps(present, default=_json_value, ensure_ascii=False).encode("utf-8", "replace")


def plain(values: pa.Array, row: int) -> Any:
    """A value as a Python object; if Python cannot hold it, such as the year 10000, as the text that Arrow writes."""
    try:
        return values[row].as_py()
    except (ValueError, OverflowError):
        return values.slice(row, 1).to_string(skip_new_lines=True)[1:-1].strip('"')


def _json_value(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)

"""Rows as messages: the key is JSON of the table's key columns, the value JSON of the whole row."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from transforms.storage.staging import Table


def keyed_messages(table: Table, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each row, the same bytes for the same row; rows that are not `final` yet are left out.

    Times are ISO 8601 in UTC with microseconds. Bytes are text; where they are no UTF-8, the column is null and one
    named `COLUMN_base64` stands beside it.
    """
    names = table.schema.names
    for batch in batches:
        if "final" in names:
            batch = batch.filter(batch["final"])
        for row in zip(*(_written(batch[name]) for name in names), strict=True):
            record = dict(zip(names, row, strict=True))
            key = _json({name: record[name] for name in table.key})
            for name, value in list(record.items()):
                if isinstance(value, bytes):
                    record |= _text(name, value)
            yield key, _json(record)


def _written(values: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(values.type):  # by Arrow: Python's calendar would cost more than all the rest
        values = pc.strftime(values.cast(pa.timestamp("us", "UTC")), format="%Y-%m-%dT%H:%M:%SZ")
    written: list[Any] = values.to_pylist()
    if pa.types.is_list(values.type) and pa.types.is_timestamp(values.type.value_type.field("value").type):
        for entries in written:
            for entry in entries or ():
                entry["value"] = None if entry["value"] is None else _instant(entry["value"])
    return written


def _instant(value: Any) -> str:
    text: str = value.isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")


def _text(name: str, value: bytes) -> dict[str, str | None]:
    try:
        return {name: value.decode("utf-8")}
    except UnicodeDecodeError:
        return {name: None, f"{name}_base64": base64.b64encode(value).decode()}


def _json(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")

"""Rows as messages: the key is JSON of the key columns, the value is the whole row, as JSON or in another encoding."""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from transforms.storage.tables import Table

_ENCODE: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

Encode = Callable[[pa.RecordBatch], Iterator[bytes]]


def keyed_messages(
    table: Table, batches: Iterable[pa.RecordBatch], encode: Encode | None = None
) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each row, the same bytes for the same row; rows that are not `final` yet are left out.

    Times are ISO 8601 in UTC with microseconds. Bytes are text; if they are not UTF-8, the column is null, and an
    additional column `COLUMN_base64` holds them.

    Args:
        encode: encodes the rows as values instead of JSON.
    """
    for batch in batches:
        if "final" in table.schema.names:
            batch = batch.filter(batch["final"])
        written = {name: _written(batch[name]) for name in table.schema.names}
        keys = (
            _json(dict(zip(table.key, row, strict=True)))
            for row in zip(*(written[name] for name in table.key), strict=True)
        )
        yield from zip(keys, _values(table.schema, written) if encode is None else encode(batch), strict=True)


def _values(schema: pa.Schema, columns: Mapping[str, list[Any]]) -> Iterator[bytes]:
    raw = [field.name for field in schema if pa.types.is_binary(field.type)]
    for row in zip(*columns.values(), strict=True):
        record = dict(zip(columns, row, strict=True))
        for name in raw:
            if record[name] is not None:
                record |= _text(name, record[name])
        yield _json(record)


def _written(values: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(values.type):  # by Arrow: Python's datetime would cost more than everything else
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
    return _ENCODE(record).encode("utf-8")

"""Rows as Avro messages: a schema for each table, registered under its topic."""

import io
import json
import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

import fastavro
import pyarrow as pa

from transforms.errors import SinkError
from transforms.storage.kafka.rows import Encode
from transforms.storage.tables import Table
from transforms.systems.schema_registry import (
    RegistrySpec,
    registry_client,
    registry_errors,
    registry_schema,
    unreachable,
)

_HEAD: Final = struct.Struct(">BI")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TYPES: Final = {
    pa.int64(): "long",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.string(): "string",
    pa.binary(): "bytes",
    pa.timestamp("us", "UTC"): {"type": "long", "logicalType": "timestamp-micros"},
}


def avro_schema(table: Table) -> dict[str, Any]:
    """The schema of a table's rows; times are timestamp-micros, top-k lists arrays of records.

    Raises:
        ValueError: if a column's name cannot be that of an Avro field.
    """
    for name in table.schema.names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"column {name!r} of table {table.name!r} cannot be an Avro field: use format json")
    return {
        "type": "record",
        "name": re.sub(r"^(?=[0-9])|[^A-Za-z0-9_]", "_", table.name),
        "namespace": "streamgauge",
        "fields": [_field(field) for field in table.schema],
    }


def avro_encoder(table: Table, number: int) -> Encode:
    """Encodes rows as messages, each with the number under which its schema is registered."""
    schema = fastavro.parse_schema(avro_schema(table))
    head = _HEAD.pack(0, number)

    def encode(batch: pa.RecordBatch) -> Iterator[bytes]:
        columns = {name: _plain(batch[name]) for name in table.schema.names}
        for row in zip(*columns.values(), strict=True):
            stream = io.BytesIO()
            stream.write(head)
            fastavro.schemaless_writer(stream, schema, dict(zip(columns, row, strict=True)))
            yield stream.getvalue()

    return encode


def register(registry: RegistrySpec, topics: Mapping[str, Table]) -> dict[str, Encode]:
    """Registers the schema of each topic's values; returns the encoder of each table.

    Raises:
        SinkError: if the registry cannot be reached, or refuses a schema.
        KafkaUnusable: if no client can be made.
    """
    client, encoders = registry_client(registry), {}
    for topic, table in topics.items():
        try:
            schema = registry_schema(json.dumps(avro_schema(table)))
            encoders[table.name] = avro_encoder(table, client.register_schema(f"{topic}-value", schema))
        except registry_errors() as error:
            raise SinkError(f"the schema registry {registry.url}: {topic}-value: {error.error_message}") from None
        except unreachable() as error:
            raise SinkError(f"the schema registry {registry.url} cannot be reached: {error}") from None
        except ValueError as error:
            raise SinkError(str(error)) from None
    return encoders


def _field(field: pa.Field) -> dict[str, Any]:
    kind = _type(field.type, field.name)
    return {"name": field.name, "type": ["null", kind], "default": None} if field.nullable else _required(field, kind)


def _required(field: pa.Field, kind: Any) -> dict[str, Any]:
    return {"name": field.name, "type": kind}


def _type(kind: pa.DataType, name: str) -> Any:
    if not pa.types.is_list(kind):
        return _TYPES[kind]
    entry = kind.value_type
    fields = [_field(entry.field(place)) for place in range(entry.num_fields)]
    return {"type": "array", "items": {"type": "record", "name": f"{name}_entry", "fields": fields}}


def _plain(values: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(values.type):  # Avro stores the number, so years before Python's calendar pass
        values = values.cast(pa.int64())
    plain: list[Any] = values.to_pylist()
    return plain

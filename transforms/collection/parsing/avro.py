"""Decodes Avro messages to JSON, each by the schema that it names, so that the value rules of JSON apply.

A message is what Confluent's serializers write: a zero byte, the schema's number in the registry in four bytes, and
one Avro datum. Decimals and times become text that converts without loss; a time in a numeric column stays the number
that Avro stores. A value without a JSON form, such as bytes, becomes an object, which no column accepts.
"""

import io
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import fastavro

from transforms.collection.parsing.parsed import Schema
from transforms.collection.parsing.registry import Unreadable, open_registry
from transforms.collection.parsing.values import Refusals
from transforms.process.progress import Bulletin
from transforms.specification import NUMERIC
from transforms.systems.schema_registry import RegistrySpec

_MAGIC: Final = 0
_HEAD: Final = struct.Struct(">BI")
_TIMES: Final = ("date", "time-", "timestamp-", "local-timestamp-")

# Decoding arbitrary bytes raises one of these.
_BROKEN: Final = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, TypeError, ValueError),
    *(RecursionError, struct.error, StopIteration),
)

Decode = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class AvroDecoder:
    """Decodes Avro messages to JSON.

    Args:
        numbers: fields in which a time stays the number that Avro stores.
        wanted: the fields that are read; None: all, because unknown fields are refused.
        bulletin: where it reports that the registry cannot be reached.
    """

    registry: RegistrySpec
    numbers: frozenset[str] = frozenset()
    wanted: frozenset[str] | None = None
    bulletin: Bulletin | None = None

    @staticmethod
    def of(registry: RegistrySpec, schema: Schema, bulletin: Bulletin | None = None) -> "AvroDecoder":
        """The decoder for a job's columns."""
        numbers = frozenset(name for name, column in schema.columns.items() if column.type in NUMERIC)
        return AvroDecoder(registry, numbers, None if schema.strict else frozenset(schema.columns), bulletin)

    def as_json(
        self, values: Sequence[bytes | None], refused: Refusals, *, takes_json: bool = False
    ) -> list[bytes | None]:
        """Messages as JSON objects; those that cannot be decoded are added to `refused`. Tombstones stay tombstones.

        Args:
            takes_json: whether a message that is not Avro counts as JSON, as a repaired one may.

        Raises:
            SourceError: if the registry cannot be used.
        """
        decoders: dict[int, Decode | Unreadable] = {}
        texts: list[bytes | None] = []
        for row, value in enumerate(values):
            if not value or (takes_json and value[0] != _MAGIC):
                texts.append(value)
                continue
            try:
                texts.append(self._text(value, decoders))
            except Unreadable as why:
                texts.append(b"")
                refused[row] = ("malformed", str(why))
        return texts

    def _text(self, value: bytes, decoders: dict[int, Decode | Unreadable]) -> bytes:
        if len(value) < _HEAD.size or value[0] != _MAGIC:
            raise Unreadable("not Avro of a schema registry: it does not begin with a zero byte and a schema's number")
        number = _HEAD.unpack_from(value)[1]
        if number not in decoders:
            try:
                decoders[number] = _decoder(self.registry, number, self.numbers, self.bulletin)
            except Unreadable as why:
                decoders[number] = why  # the next reading asks again: it may be registered by then
        decode = decoders[number]
        if isinstance(decode, Unreadable):
            raise decode
        record = decode(value)
        if self.wanted is not None and isinstance(record, dict):
            record = {name: record[name] for name in self.wanted if name in record}
        return json.dumps(record, default=_json_value, ensure_ascii=False).encode("utf-8", "surrogatepass")


@lru_cache(maxsize=4096)
def _decoder(registry: RegistrySpec, number: int, numbers: frozenset[str], bulletin: Bulletin | None) -> Decode:
    """The decoder for messages of a schema; a registered schema never changes."""
    found = open_registry(registry, bulletin).schema(number)
    try:
        schema = fastavro.parse_schema(_with_numbers(json.loads(found.text), numbers), _named(found.references))
    except (*_BROKEN, fastavro.schema.SchemaParseException, fastavro.schema.UnknownType) as error:
        raise Unreadable(f"schema {number} of the registry cannot be used: {error}") from None

    def decode(value: bytes) -> Any:
        stream = io.BytesIO(value)
        stream.seek(_HEAD.size)
        try:
            record = fastavro.schemaless_reader(stream, schema, None)
        except _BROKEN as error:
            why = str(error) or type(error).__name__
            raise Unreadable(f"not Avro of schema {number}: {why}") from None
        if stream.tell() != len(value):
            raise Unreadable(f"not Avro of schema {number}: {len(value) - stream.tell()} bytes too many")
        return record

    return decode


def _named(references: Sequence[str]) -> dict[str, Any]:
    """The types that schemas define, for schemas that refer to them."""
    named: dict[str, Any] = {}
    for text in references:
        fastavro.parse_schema(json.loads(text), named)
    return named


def _with_numbers(schema: Any, numbers: frozenset[str]) -> Any:
    """The schema of a record with some fields as plain numbers instead of times."""
    if not isinstance(schema, dict) or "fields" not in schema:
        return schema
    fields = [
        {**field, "type": _plain(field["type"])} if field.get("name") in numbers else field
        for field in schema["fields"]
    ]
    return {**schema, "fields": fields}


def _plain(kind: Any) -> Any:
    if isinstance(kind, list):
        return [_plain(branch) for branch in kind]
    if isinstance(kind, dict) and str(kind.get("logicalType", "")).startswith(_TIMES):
        return {name: value for name, value in kind.items() if name != "logicalType"}
    return kind


def _json_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    return {type(value).__name__: str(value)}

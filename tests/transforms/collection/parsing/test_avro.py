"""Avro messages, decoded by the schemas of a real HTTP registry."""

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from tests.transforms.collection.kafka.test_records import begun, parser, values_of
from tests.transforms.collection.parsing.registry_server import RegistryServer, encoded, registry
from transforms.collection.kafka.records import KafkaFlush, KafkaParser, Reading
from transforms.collection.parsing.avro import AvroDecoder
from transforms.collection.parsing.parsed import Schema
from transforms.collection.parsing.registry import Registry
from transforms.collection.repair import Repair, digest
from transforms.collection.spec import Column, EventTimeSpec
from transforms.errors import SourceError
from transforms.record.batch import PAYLOAD, POSITION
from transforms.systems.schema_registry import RegistrySpec

NOON = datetime(2024, 2, 29, 12, 0, 0, 123_456, timezone.utc)
EVENT = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "k", "type": ["null", "string"]},
        {"name": "x", "type": ["null", "long"]},
        {"name": "y", "type": "double"},
    ],
}


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with registry() as kept:
        kept.register(1, EVENT)
        yield kept


def schema_of(time: EventTimeSpec | None = None, *, strict: bool = False, **columns: str) -> Schema:
    types = {"at": "timestamp", "k": "string?", "x": "int64?", "y": "float64", **columns}
    kept = {name: Column.model_validate(type_) for name, type_ in types.items() if type_}
    return Schema(kept, time or EventTimeSpec(column="at"), strict)


def of(server: RegistryServer, schema: Schema | None = None, **changes: Any) -> KafkaParser:
    schema = schema or schema_of()
    avro = AvroDecoder.of(RegistrySpec(url=server.url), schema)
    return parser(schema=schema, avro=avro, max_future=None, **changes)


def parse(by: KafkaParser, *values: bytes | None) -> KafkaFlush:
    return by.parse(Reading([values_of(0, *values)]), begun(1))


def event(number: int = 1, schema: Any = EVENT, **fields: Any) -> bytes:
    return encoded(number, schema, {"at": NOON, "k": "a", "x": 1, "y": 0.5, **fields})


def test_messages_become_the_columns_of_the_job(server: RegistryServer) -> None:
    values = [event(k="ä\n\"'"), event(k=None, x=None, y=1e300), event(x=(1 << 62) + 1)]
    (batch,) = parse(of(server), *values).batches
    rows = batch.to_pylist()
    assert [(row["k"], row["x"], row["y"]) for row in rows] == [
        ("ä\n\"'", 1, 0.5),
        (None, None, 1e300),
        ("a", (1 << 62) + 1, 0.5),
    ]
    assert [row["at"] for row in rows] == [NOON] * 3
    assert batch[PAYLOAD].to_pylist() == values


def test_a_schema_is_asked_for_once(server: RegistryServer) -> None:
    by = of(server)
    for _ in range(3):
        parse(by, *[event()] * 5)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (b"{}", "it does not begin with a zero byte"),
        (b"\0\0\0", "it does not begin with a zero byte"),
        (b"\0\0\0\0\7rest", "schema 7 is not in the registry"),
        (b"\0\0\0\0\2rest", "schema 2 of the registry is PROTOBUF, not AVRO"),
        (b"\0\0\0\0\3rest", "schema 3 of the registry cannot be used: "),
        (event()[:-3], "not Avro of schema 1: "),
        (event() + b"xy", "not Avro of schema 1: 2 bytes too many"),
        (event()[:5], "not Avro of schema 1: "),
    ],
)
def test_what_is_not_avro_of_a_known_schema_is_malformed(server: RegistryServer, value: bytes, detail: str) -> None:
    server.schemas[2] = {"schema": "syntax", "schemaType": "PROTOBUF"}
    server.register(3, {"type": "record", "name": "X", "fields": [{"name": "a", "type": "made up"}]})
    flush = parse(of(server), value, event(), None)
    letters = flush.dead.to_pylist()
    assert [letter["reason"] for letter in letters] == ["malformed", "malformed"]
    assert detail in letters[0]["detail"]
    assert letters[0]["payload"] == value
    assert "tombstone" in letters[1]["detail"]
    assert flush.batches[0][POSITION].to_pylist() == [1]


@pytest.mark.parametrize("seed", range(3))
def test_no_bytes_stop_the_reader(server: RegistryServer, seed: int) -> None:
    chance, values = Random(seed), []
    server.register(
        4, {**EVENT, "fields": [*EVENT["fields"], {"name": "l", "type": {"type": "array", "items": "int"}}]}
    )
    for _ in range(400):
        body = bytearray(event(chance.choice([1, 4]))) + chance.randbytes(chance.randint(0, 6))
        for _ in range(chance.randint(1, 4)):
            body[chance.randint(5, len(body) - 1)] = chance.randint(0, 255)
        values.append(bytes(body[: chance.randint(5, len(body))]))
    flush = parse(of(server), *values)
    assert sum(batch.num_rows for batch in flush.batches) + flush.dead.num_rows == len(values)


def test_values_keep_to_the_rules_of_every_format(server: RegistryServer) -> None:
    kinds = {
        "d": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2},
        "u": {"type": "string", "logicalType": "uuid"},
        "day": {"type": "int", "logicalType": "date"},
        "ms": {"type": "long", "logicalType": "timestamp-millis"},
        "e": {"type": "enum", "name": "E", "symbols": ["A", "B"]},
        "f": "float",
        "b": "boolean",
    }
    schema = {**EVENT, "fields": [*EVENT["fields"], *({"name": name, "type": kind} for name, kind in kinds.items())]}
    server.register(5, schema)
    wanted = schema_of(d="float64", u="string", day="timestamp", ms="int64", e="string", f="float64", b="bool")
    name = uuid.UUID(int=5)
    fields = {"d": Decimal("-12.30"), "u": name, "day": NOON.date(), "ms": NOON, "e": "B", "f": 0.5, "b": True}
    (batch,) = parse(of(server, wanted), event(5, schema, **fields)).batches
    (row,) = batch.to_pylist()
    assert (row["d"], row["u"], row["e"], row["f"], row["b"]) == (-12.3, str(name), "B", 0.5, True)
    assert row["day"] == datetime(2024, 2, 29, tzinfo=timezone.utc)
    assert row["ms"] == int(NOON.timestamp() * 1000)
    (batch,) = parse(of(server, schema_of(d="string", ms="timestamp")), event(5, schema, **fields)).batches
    assert batch["d"].to_pylist() == ["-12.30"]
    assert batch["ms"].to_pylist() == [NOON - timedelta(microseconds=456)]


def test_what_no_column_takes_is_refused_as_in_json(server: RegistryServer) -> None:
    extra = [
        {"name": "raw", "type": ["null", "bytes"], "default": None},
        {"name": "inner", "type": ["null", {"type": "record", "name": "I", "fields": []}], "default": None},
    ]
    schema = {**EVENT, "fields": [*EVENT["fields"], *extra]}
    server.register(6, schema)
    by = of(server, schema_of(raw="string?", inner="string?"))
    values = [
        event(6, schema, raw=b"bytes"),
        event(6, schema, inner={}),
        event(6, schema, y=float("nan")),
        event(6, schema, k="a\0"),
        event(6, schema),
    ]
    flush = parse(by, *values)
    assert flush.dead["reason"].to_pylist() == ["wrong_type", "wrong_type", "out_of_range", "out_of_range"]
    assert flush.batches[0][POSITION].to_pylist() == [4]
    strict = parse(of(server, schema_of(strict=True)), values[-1], event())
    assert strict.dead["reason"].to_pylist() == ["unknown_field"]


def test_event_time_may_be_the_number_that_avro_stores(server: RegistryServer) -> None:
    schema = schema_of(EventTimeSpec(column="at", unit="us"), at="int64")
    (batch,) = parse(of(server, schema), event()).batches
    assert batch["at"].to_pylist() == [1_709_208_000_123_456]


def test_types_of_other_schemas_are_found(server: RegistryServer) -> None:
    server.register(10, {"type": "enum", "name": "Colour", "symbols": ["RED"]})
    schema = {**EVENT, "fields": [*EVENT["fields"], {"name": "c", "type": "Colour"}]}
    server.register(11, schema, [("Colour", "s10", 1)])
    whole = {
        **EVENT,
        "fields": [*EVENT["fields"], {"name": "c", "type": {"type": "enum", "name": "Colour", "symbols": ["RED"]}}],
    }
    (batch,) = parse(of(server, schema_of(c="string")), event(11, whole, c="RED")).batches
    assert batch["c"].to_pylist() == ["RED"]


def test_a_repaired_message_may_be_json_and_a_retried_one_is_avro(server: RegistryServer) -> None:
    json = b'{"at": "2024-02-29T12:00:00Z", "x": 7, "y": 1}'
    overlay = {"events/0": {0: Repair(json, digest(b"broken")), 1: Repair(event(x=9), digest(event(x=8)))}}
    flush = parse(of(server, overlay=overlay), b"broken", event(x=8))
    assert flush.batches[0]["x"].to_pylist() == [7, 9]
    assert flush.dead.num_rows == 0


def test_a_registry_that_is_starting_is_waited_for(server: RegistryServer) -> None:
    server.fails = 2
    assert parse(of(server), event()).dead.num_rows == 0
    assert len(server.asked) == 3


def test_a_registry_out_of_reach_is_an_error_and_no_dead_letter() -> None:
    with pytest.raises(SourceError, match=r"the schema registry http://127\.0\.0\.1:1 cannot be reached: "):
        Registry(RegistrySpec(url="http://127.0.0.1:1"), patience=0.3).schema(1)


def test_a_password_comes_from_the_environment_and_a_wrong_one_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with registry("us:er:secret:") as kept:
        kept.register(1, EVENT)
        spec = RegistrySpec(url=kept.url, username="us", password_env="REGISTRY_PASSWORD")
        with pytest.raises(SourceError, match=r"schema_registry\.password_env: the environment variable REGISTRY"):
            Registry(spec)
        monkeypatch.setenv("REGISTRY_PASSWORD", "er:secret:")
        assert Registry(spec).schema(1).references == ()
        monkeypatch.setenv("REGISTRY_PASSWORD", "guess")
        with pytest.raises(SourceError, match="refuses access: Unauthorized") as caught:
            Registry(spec).schema(1)
        assert "guess" not in str(caught.value)

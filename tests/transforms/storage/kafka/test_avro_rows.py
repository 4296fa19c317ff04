"""Rows as Avro messages, read back by fastavro and by our own source."""

import io
import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from pydantic import ValidationError

from tests.transforms.collection.parsing.registry_server import RegistryServer, registry
from tests.transforms.storage.kafka.test_rows import NOON, TABLE, batch
from transforms.errors import SinkError
from transforms.record import dead_letter, ledger
from transforms.storage.kafka.avro_rows import avro_schema, register
from transforms.storage.kafka.rows import keyed_messages
from transforms.storage.kafka.spec import KafkaTarget
from transforms.storage.tables import Table
from transforms.systems.schema_registry import RegistrySpec


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with registry() as kept:
        yield kept


def decoded(server: RegistryServer, message: bytes) -> dict[str, Any]:
    schema = json.loads(server.schemas[int.from_bytes(message[1:5], "big")]["schema"])
    record = fastavro.schemaless_reader(io.BytesIO(message[5:]), fastavro.parse_schema(schema), None)
    assert isinstance(record, dict)
    return record


def test_rows_come_back_as_they_were(server: RegistryServer) -> None:
    row = (NOON, "ÄA", 1 << 62, 0.1, [{"value": NOON, "count": 2}], True)
    empty = (NOON, None, 0, None, None, True)
    encode = register(RegistrySpec(url=server.url), {"t": TABLE})[TABLE.name]
    messages = list(keyed_messages(TABLE, [batch(row, empty, (*row[:5], False))], encode))
    assert [json.loads(key)["carrier"] for key, _ in messages] == ["ÄA", None]
    names = TABLE.schema.names
    assert [decoded(server, value) for _, value in messages] == [
        dict(zip(names, row, strict=True)),
        dict(zip(names, empty, strict=True)),
    ]


def test_letters_and_the_ledger_have_schemas_too(server: RegistryServer) -> None:
    tables = {
        "d": Table("dead_letters", dead_letter.KEY, dead_letter.SCHEMA),
        "l": Table("ledger", ledger.KEY, ledger.SCHEMA),
    }
    encoders = register(RegistrySpec(url=server.url), tables)
    assert [path.split("?")[0] for path in server.asked] == ["/subjects/d-value/versions", "/subjects/l-value/versions"]
    letters = dead_letter.dead_letters("s", "parse", positions=[1], reasons=["late"], details=[""], payloads=[b"\xff"])
    ((_, value),) = keyed_messages(tables["d"], [letters], encoders["dead_letters"])
    assert decoded(server, value)["payload"] == b"\xff"
    assert avro_schema(tables["l"])["fields"][1] == {"name": "first_position", "type": "long"}


def test_times_before_pythons_calendar_are_written(server: RegistryServer) -> None:
    early = datetime(2, 1, 1, tzinfo=timezone.utc)
    encode = register(RegistrySpec(url=server.url), {"t": TABLE})[TABLE.name]
    ((_, value),) = keyed_messages(TABLE, [batch((early, "a", 1, 0.5, [], True))], encode)
    assert decoded(server, value)["window_start"] == early


def test_a_column_that_cannot_be_a_field_is_an_error(server: RegistryServer) -> None:
    table = Table("t", ("größe",), pa.schema({"größe": pa.int64()}))
    with pytest.raises(SinkError, match=r"column 'größe' of table 't' cannot be an Avro field: use format json"):
        register(RegistrySpec(url=server.url), {"t": table})


def test_a_registry_out_of_reach_is_an_error_of_the_sink() -> None:
    with pytest.raises(SinkError, match=r"the schema registry http://127\.0\.0\.1:1 cannot be reached"):
        register(RegistrySpec(url="http://127.0.0.1:1"), {"t": TABLE})


@pytest.mark.parametrize("fields", [{"format": "avro"}, {"schema_registry": {"url": "http://r"}}])
def test_avro_and_a_registry_go_together(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"schema_registry (is required with format avro|goes with format avro)"):
        KafkaTarget.model_validate({"brokers": "a:1", **fields})

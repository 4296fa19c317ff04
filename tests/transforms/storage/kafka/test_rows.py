"""Rows as messages."""

import json
from datetime import datetime, timezone

import pyarrow as pa
import pytest
from pydantic import ValidationError

from transforms.record import dead_letter
from transforms.record.batch import ARROW
from transforms.storage.kafka.rows import keyed_messages
from transforms.storage.kafka.spec import KafkaTarget
from transforms.storage.tables import Table

TOP = pa.list_(pa.struct([pa.field("value", ARROW["timestamp"]), pa.field("count", pa.int64())]))
TABLE = Table(
    "by carrier",
    ("window_start", "carrier"),
    pa.schema(
        {
            "window_start": ARROW["timestamp"],
            "carrier": pa.string(),
            "rows": pa.int64(),
            "delay_mean": pa.float64(),
            "time_top1": TOP,
            "final": pa.bool_(),
        }
    ),
)
NOON = datetime(2024, 2, 29, 12, 0, 0, 5, timezone.utc)


def batch(*rows: tuple[object, ...]) -> pa.RecordBatch:
    names = TABLE.schema.names
    return pa.RecordBatch.from_pylist([dict(zip(names, row, strict=True)) for row in rows], TABLE.schema)


def test_a_row_is_keyed_by_its_tables_key() -> None:
    row = (NOON, "ÄA", 1 << 62, 0.1, [{"value": NOON, "count": 2}], True)
    ((key, value),) = keyed_messages(TABLE, [batch(row)])
    assert key.decode() == '{"window_start":"2024-02-29T12:00:00.000005Z","carrier":"ÄA"}'
    assert json.loads(value) == {
        "window_start": "2024-02-29T12:00:00.000005Z",
        "carrier": "ÄA",
        "rows": 1 << 62,
        "delay_mean": 0.1,
        "time_top1": [{"value": "2024-02-29T12:00:00.000005Z", "count": 2}],
        "final": True,
    }


def test_nulls_stay_nulls_in_key_and_value_and_years_before_the_epoch_are_times() -> None:
    early = datetime(2, 1, 1, tzinfo=timezone.utc)
    ((key, value),) = keyed_messages(TABLE, [batch((early, None, 1, None, None, True))])
    assert json.loads(key) == {"window_start": "0002-01-01T00:00:00.000000Z", "carrier": None}
    assert (json.loads(value)["delay_mean"], json.loads(value)["time_top1"]) == (None, None)


def test_provisional_rows_are_left_out() -> None:
    rows: list[tuple[object, ...]] = [(NOON, "a", 1, 0.0, [], False), (NOON, "b", 1, 0.0, [], True)]
    assert [json.loads(key)["carrier"] for key, _ in keyed_messages(TABLE, [batch(*rows), batch(rows[0])])] == ["b"]


def test_bytes_are_text_where_they_can_be() -> None:
    letters = dead_letter.dead_letters(
        "log",
        "parse",
        positions=[1, 2],
        reasons=["malformed"] * 2,
        details=["", ""],
        payloads=[b"t\xc3\xa4xt", b"\xff"],
    )
    table = Table("dead_letters", dead_letter.KEY, dead_letter.SCHEMA)
    one, other = (json.loads(value) for _, value in keyed_messages(table, [letters]))
    assert one["payload"] == "täxt"
    assert "payload_base64" not in one
    assert (other["payload"], other["payload_base64"]) == (None, "/w==")


def test_a_topic_is_named_after_its_table() -> None:
    assert KafkaTarget(brokers="a:1").topic_of("flights") == "flights"
    assert KafkaTarget(brokers="a:1", topic="out.{table}-v1").topic_of("flights") == "out.flights-v1"
    with pytest.raises(ValueError, match="the table by carrier cannot be a topic"):
        KafkaTarget(brokers="a:1").topic_of("by carrier")
    with pytest.raises(ValidationError, match=r"must hold \{table\} once, .* is 'flights'"):
        KafkaTarget(brokers="a:1", topic="flights")

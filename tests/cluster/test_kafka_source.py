"""From a real broker to records: the same whether read as it comes, in pieces, or in one go."""

import json
import time
from collections.abc import Iterable
from random import Random
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Producer

from tests.cluster.broker import Broker
from tests.cluster.topics import produce, send, shared_broker, transaction
from tests.live.logs import BEGIN, SECOND, record
from tests.transforms.collection.kafka.test_records import PATIENT, good, parser
from tests.transforms.collection.parsing.registry_server import encoded, registry
from tests.transforms.collection.parsing.test_avro import EVENT, NOON, schema_of
from tests.waiting import Deadline
from transforms.collection.cursor import SourceCursor
from transforms.collection.kafka.feed import KafkaFeed
from transforms.collection.kafka.progress import KafkaProgress
from transforms.collection.kafka.reader import READ_RECORDS, KafkaReader
from transforms.collection.kafka.records import KafkaFlush, KafkaParser
from transforms.collection.kafka.spec import KafkaSpec
from transforms.collection.parsing.avro import AvroDecoder
from transforms.collection.parsing.parsed import Schema
from transforms.collection.spec import Column, EventTimeSpec
from transforms.record import ledger
from transforms.record.batch import POSITION, origin_of
from transforms.time.watermark import NEVER

MILLION = 1_000_000


@pytest.fixture
def server() -> Broker:
    return shared_broker()


def drained(server: Broker, by: KafkaParser, **limits: int) -> tuple[list[KafkaFlush], KafkaProgress]:
    """All that a topic holds now, by a reader of its own that is started again now and then."""
    spec = KafkaSpec(brokers=server.address, topic=by.topic)
    reader, flushes = KafkaReader(spec), []
    numbers = reader.partitions()
    progress, ends = KafkaProgress().beginning_at(reader.starts(numbers)), reader.ends(numbers)
    deadline = Deadline(f"offsets {ends}", 120)
    while progress.offsets != ends:
        deadline.check(progress.offsets)
        flushes.append(by.parse(reader.read(progress.offsets, 1.0, until=ends, **limits), progress))
        progress = KafkaProgress.from_json(json.loads(json.dumps(flushes[-1].progress.to_json())))
        if limits and len(flushes) % 5 == 0:
            reader.close()
            reader = KafkaReader(spec)
    reader.close()
    return flushes, progress


def tables_of(flushes: Iterable[KafkaFlush]) -> dict[str, Any]:
    flushes = list(flushes)
    rows = [(origin_of(b).source, row) for f in flushes for b in f.batches for row in b.to_pylist()]
    dead = [row for flush in flushes for row in flush.dead.to_pylist()]
    return {
        "rows": sorted(rows, key=lambda row: (row[0], row[1][POSITION])),
        "dead": sorted(dead, key=lambda row: (row["source"], row["position"])),
        "ledger": ledger.merge([flush.entries for flush in flushes]).to_pylist(),
    }


@pytest.mark.parametrize("seed", range(3))
def test_pieces_and_restarts_give_what_one_go_gives(server: Broker, seed: int) -> None:
    chance = Random(seed)
    topic = server.create(f"r-{uuid4().hex[:8]}", 3)
    total = 0
    for number in range(3):
        for part in range(3):
            values = [record(chance, BEGIN / SECOND + at, 0.05) or None for at in range(chance.randint(1, 120))]
            if part == 1:
                commits = chance.random() < 0.5
                with transaction(server, f"x-{topic}-{number}", commits=commits) as producer:
                    send(producer, topic, values, number)
            else:
                commits = True
                produce(server, topic, values, number)
            total += len(values) * commits
    by = parser(topic=topic, max_future=None)
    whole, progress = drained(server, by)
    pieces, after = drained(server, by, limit_records=37)
    assert tables_of(pieces) == tables_of(whole)
    assert after.offsets == progress.offsets
    assert after.watermark == progress.watermark > NEVER
    book = ledger.totals(ledger.merge([flush.entries for flush in whole]))
    assert book["read"] == total


def test_a_compacted_topic_has_holes_and_loses_nothing_else(server: Broker) -> None:
    topic = server.create(
        f"c-{uuid4().hex[:8]}",
        1,
        cleanup_policy="compact",
        segment_ms=100,
        min_cleanable_dirty_ratio=0.01,
        max_compaction_lag_ms=100,
    )
    value = json.dumps({"t": BEGIN / SECOND, "k": "a", "x": 1, "y": 0, "pad": "p" * 200}).encode()
    producer = Producer({"bootstrap.servers": server.address, "log_level": 0})
    for number in range(2_000):
        producer.produce(topic, value, b"%d" % (number % 10))
        if number % 500 == 499:
            producer.flush(30)
            time.sleep(0.2)
    producer.flush(30)
    by, deadline = parser(topic=topic, max_future=None), Deadline("fewer than 2,000 messages")
    while True:
        flushes, progress = drained(server, by)
        positions = [p for flush in flushes for batch in flush.batches for p in batch[POSITION].to_pylist()]
        if len(positions) < 2_000:
            break
        deadline.check(len(positions))
        time.sleep(0.5)
        produce(server, topic, [(value, 0)])  # a new segment lets the old ones be compacted
    assert progress.offsets[0] >= 2_000
    assert positions == sorted(set(positions))
    assert ledger.totals(ledger.merge([flush.entries for flush in flushes]))["read"] == len(positions)


def test_avro_messages_come_through_a_broker(server: Broker) -> None:
    topic = server.create(f"a-{uuid4().hex[:8]}", 1)
    with registry() as kept:
        kept.register(1, EVENT)
        produce(
            server, topic, [encoded(1, EVENT, {"at": NOON, "k": "a", "x": x, "y": 0.5}) for x in range(50)] + [b"no"]
        )
        spec = KafkaSpec.model_validate(
            {"brokers": server.address, "topic": topic, "format": "avro", "schema_registry": {"url": kept.url}}
        )
        assert spec.schema_registry is not None
        by = KafkaParser(topic, schema_of(), PATIENT, avro=AvroDecoder.of(spec.schema_registry, schema_of()))
        flushes, _ = drained(server, by)
    assert pa.Table.from_batches([b for f in flushes for b in f.batches])["x"].to_pylist() == list(range(50))
    assert [row["position"] for flush in flushes for row in flush.dead.to_pylist()] == [50]


def test_a_feed_that_reads_ahead_gives_each_record_once_and_in_order(server: Broker) -> None:
    topic, count = server.create(f"r-{uuid4().hex[:8]}", 2), READ_RECORDS + 10_000
    for number in range(2):
        produce(server, topic, [good(1)] * count, number)
    feed = KafkaFeed(KafkaSpec(brokers=server.address, topic=topic), parser(topic=topic), "ahead")
    feed.open()
    cursor, positions = (
        SourceCursor(1, KafkaProgress()),
        {f"{topic}/{number}": [np.empty(0, np.int64)] for number in range(2)},
    )
    deadline = time.monotonic() + 60
    while not feed.is_at_end(cursor):
        assert time.monotonic() < deadline, cursor
        if portion := feed.read(cursor):
            cursor = portion.cursor
            for batch in portion.batches:
                positions[origin_of(batch).source].append(batch[POSITION].to_numpy())
    feed.close()
    for found in positions.values():
        np.testing.assert_array_equal(np.concatenate(found), np.arange(count))


@pytest.mark.slow
def test_a_million_records_are_read_and_parsed(server: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    topic = server.create("million", 4)
    chance = Random(1)
    for number in range(4):
        values = [
            b'{"t":%d.%03d,"k":"key-%03d","x":%d,"y":%.6f,"note":"abcdefgh"}'
            % (1_700_000_000 + at // 100, at % 1000, chance.randrange(1000), at % 977, chance.random() * 100)
            for at in range(MILLION // 4)
        ]
        settings = {"compression.type": "lz4", "linger.ms": 50, "queue.buffering.max.messages": MILLION}
        produce(server, topic, values, number, **settings)
    types = {"t": "float64", "k": "string", "x": "int64", "y": "float64"}
    schema = Schema(
        {name: Column.model_validate(type_) for name, type_ in types.items()}, EventTimeSpec(column="t", unit="s")
    )
    drained(server, KafkaParser(topic, schema, PATIENT), limit_records=5_000_000)  # and the engine is warm
    began = time.monotonic()
    flushes, _ = drained(server, KafkaParser(topic, schema, PATIENT))
    took = time.monotonic() - began
    assert sum(batch.num_rows for flush in flushes for batch in flush.batches) == MILLION
    with capsys.disabled():
        size = len(values[-1])
        print(f"\n{MILLION:,} records of {size} bytes, 4 partitions: {MILLION / took / 1e6:.2f} M/s read and parsed")

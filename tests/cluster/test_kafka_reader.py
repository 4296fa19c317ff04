"""Reading a real broker's topics."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.cimpl import NewPartitions

from tests.cluster.broker import PASSWORD, USER, Broker, broker
from tests.cluster.topics import produce, send, shared_broker, transaction
from tests.waiting import Deadline, until
from transforms.collection.kafka.reader import KafkaReader
from transforms.collection.kafka.spec import KafkaSpec
from transforms.errors import SourceError


@pytest.fixture
def server() -> Broker:
    return shared_broker()


def topic_of(server: Broker, partitions: int = 1, **settings: Any) -> str:
    return server.create(f"t-{uuid4().hex[:8]}", partitions, **settings)


@contextmanager
def reader_of(server: Broker, topic: str, **fields: Any) -> Iterator[KafkaReader]:
    reader = KafkaReader(KafkaSpec.model_validate({"brokers": server.address, "topic": topic, **fields}))
    try:
        yield reader
    finally:
        reader.close()


def read_all(
    reader: KafkaReader, offsets: dict[int, int], until: dict[int, int], **limits: int
) -> dict[int, list[Any]]:
    """What lies between two places: (offset, value) by partition."""
    found: dict[int, list[Any]] = {number: [] for number in offsets}
    deadline = Deadline(f"offsets {until}")
    while offsets != until:
        deadline.check(offsets)
        reading = reader.read(offsets, 1.0, until=until, **limits)
        for part in reading.fetched:
            found[part.partition] += zip(part.offsets.tolist(), part.values, strict=True)
            offsets = {**offsets, part.partition: part.next}
    return found


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(first, first + count)]


def test_every_message_of_every_partition_comes_once_and_in_order(server: Broker) -> None:
    topic = topic_of(server, 3)
    for partition in range(3):
        produce(server, topic, numbered(7_000 * partition, 10), partition)
    with reader_of(server, topic) as reader:
        assert reader.partitions() == [0, 1, 2]
        starts, ends = reader.starts([0, 1, 2]), reader.ends([0, 1, 2])
        assert (starts, ends) == ({0: 0, 1: 0, 2: 0}, {0: 0, 1: 7_000, 2: 14_000})
        found = read_all(reader, starts, ends, limit_records=3_333)
    for partition in range(3):
        assert found[partition] == list(enumerate(numbered(7_000 * partition, 10)))


def test_a_bounded_read_ends_exactly_where_it_is_told_though_more_is_there(server: Broker) -> None:
    topic = topic_of(server, 2)
    for partition in range(2):
        produce(server, topic, numbered(500), partition)
    with reader_of(server, topic) as reader:
        found = read_all(reader, {0: 10, 1: 400}, {0: 77, 1: 401})
        assert found == {0: list(enumerate(numbered(500)))[10:77], 1: [(400, b"400")]}
        assert read_all(reader, {0: 77, 1: 401}, {0: 78, 1: 500})[0] == [(77, b"77")]


def test_a_reading_is_full_when_it_gets_no_larger(server: Broker) -> None:
    produce(server, topic := topic_of(server), numbered(1_500))
    with reader_of(server, topic) as reader:
        first = reader.read({0: 0}, 10.0, limit_records=1_000)
        assert (first.count, first.is_full) == (1_000, True)
        assert not reader.read({0: 1_000}, 10.0, limit_records=1_000).is_full


def test_a_reader_goes_back_and_forth_as_it_is_asked(server: Broker) -> None:
    topic = topic_of(server)
    produce(server, topic, numbered(1000))
    with reader_of(server, topic) as reader:
        for start, end in ((0, 1000), (0, 5), (990, 1000), (3, 7), (7, 9)):
            assert read_all(reader, {0: start}, {0: end})[0] == list(enumerate(numbered(1000)))[start:end]


def test_only_committed_messages_come_and_markers_are_passed(server: Broker) -> None:
    topic = topic_of(server)
    produce(server, topic, [b"before"])
    with transaction(server, f"a-{topic}") as producer:
        send(producer, topic, [b"kept"])
    with transaction(server, f"b-{topic}", commits=False) as producer:
        send(producer, topic, [b"lost"])
    with reader_of(server, topic) as reader:
        ends = reader.ends([0])
        assert ends == {0: 5}  # two messages, a marker, a message taken back, its marker
        assert read_all(reader, {0: 0}, ends)[0] == [(0, b"before"), (1, b"kept")]
        until(lambda: not reader.read(ends, 0.3).with_more, "the end of the partition")


def test_the_ends_are_seen_without_asking_once_something_came(server: Broker) -> None:
    topic = topic_of(server, 2)
    produce(server, topic, numbered(500), 0)
    produce(server, topic, numbered(300), 1)
    with reader_of(server, topic) as reader:
        assert reader.seen_ends(reader.partitions()) == {0: 0, 1: 0}
        read_all(reader, {0: 0, 1: 0}, {0: 10, 1: 10})
        assert reader.seen_ends([0, 1]) == {0: 500, 1: 300} == reader.ends([0, 1])


def test_an_end_that_was_come_to_is_seen_before_an_open_transaction(server: Broker) -> None:
    topic = topic_of(server)
    produce(server, topic, [b"before"])
    with reader_of(server, topic) as reader, transaction(server, f"seen-{topic}") as producer:
        send(producer, topic, [b"within"])
        producer.flush(30)
        read_all(reader, {0: 0}, {0: 1})
        until(lambda: reader.read({0: 1}, 0.1).with_more, "the end of the partition", lambda more: not more)
        assert reader.seen_ends([0]) == {0: 1} == reader.ends([0])


def test_the_end_lies_before_an_open_transaction(server: Broker) -> None:
    topic = topic_of(server)
    produce(server, topic, [b"before"])
    with reader_of(server, topic) as reader:
        with transaction(server, f"open-{topic}") as producer:
            send(producer, topic, [b"within"])
            producer.flush(30)
            produce(server, topic, [b"behind"])
            assert reader.ends([0]) == {0: 1}
            assert read_all(reader, {0: 0}, {0: 1})[0] == [(0, b"before")]
            assert reader.read({0: 1}, 0.5).fetched == []
        assert reader.ends([0]) == {0: 4}
        assert [value for _, value in read_all(reader, {0: 1}, {0: 4})[0]] == [b"within", b"behind"]


def test_tombstones_and_empty_values_differ(server: Broker) -> None:
    topic = topic_of(server)
    produce(server, topic, [None, b"", b"x"])
    with reader_of(server, topic) as reader:
        assert read_all(reader, {0: 0}, {0: 3})[0] == [(0, None), (1, b""), (2, b"x")]


def test_timestamps_are_microseconds(server: Broker) -> None:
    topic = topic_of(server)
    produce(server, topic, [(b"x", 1_700_000_000_123)])
    with reader_of(server, topic) as reader:
        (part,) = reader.read({0: 0}, 10).fetched
        assert part.timestamps.tolist() == [1_700_000_000_123_000]


def test_a_message_is_there_as_soon_as_it_was_sent(server: Broker) -> None:
    topic = topic_of(server)
    with reader_of(server, topic) as reader:
        until(lambda: not reader.read({0: 0}, 1.0).with_more, "the end of a new and empty partition")
        idle = reader.read({0: 0}, 1.0)
        assert (idle.fetched, idle.with_more, idle.listened > 900_000) == ([], frozenset(), True)
        produce(server, topic, [b"x"])
        began = time.monotonic()
        reading = reader.read({0: 0}, 20.0)
        assert reading.count == 1
        assert time.monotonic() - began < 5


def test_a_partition_of_which_all_was_read_is_known_as_such(server: Broker) -> None:
    topic = topic_of(server, 2)
    with reader_of(server, topic) as reader:
        offsets = {0: 0, 1: 0}
        for number in range(1, 12):
            produce(server, topic, [b"x"] * number, number % 2)
            if number > 6:  # the client fetches meanwhile: messages and the end behind them come in one stroke
                time.sleep(0.4)
            deadline, more = Deadline(f"{number} messages and their end", 20), frozenset({0, 1})
            while more or sum(offsets.values()) < number * (number + 1) // 2:
                deadline.check((offsets, more))
                reading = reader.read(offsets, 0.2)
                offsets |= {part.partition: part.next for part in reading.fetched}
                more = reading.with_more


def test_where_to_start_is_said_by_time_too(server: Broker) -> None:
    topic = topic_of(server, 2)
    produce(server, topic, [(b"a", 1_700_000_000_000), (b"b", 1_700_000_060_000), (b"c", 1_700_000_120_000)])
    for start, wanted in {
        "earliest": {0: 0, 1: 0},
        "latest": {0: 3, 1: 0},
        "2023-11-14T22:14:20Z": {0: 1, 1: 0},
        "2023-11-14T22:14:21+00:00": {0: 2, 1: 0},
        "2024-01-01T00:00:00Z": {0: 3, 1: 0},
    }.items():
        with reader_of(server, topic, start=start) as reader:
            assert reader.starts([0, 1]) == wanted, start


def test_an_offset_that_retention_took_is_an_error_that_says_so(server: Broker) -> None:
    topic = topic_of(server, 1, segment_bytes=1 << 20, retention_bytes=1 << 20)
    produce(server, topic, [b"x" * 10_000] * 500)
    with reader_of(server, topic) as reader:
        low = until(lambda: reader.beginnings([0])[0], "retention")
        with pytest.raises(SourceError, match=rf"offset 0 of {topic}/0 no longer exists: .* holds \d+ to 500"):
            reader.read({0: 0}, 20)
        assert low < 500
    with reader_of(server, topic) as reader, pytest.raises(SourceError, match=r"offset 9999 .* created again"):
        reader.read({0: 9999}, 20)


def test_new_partitions_are_found(server: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = topic_of(server)
    with reader_of(server, topic) as reader:
        assert reader.partitions() == [0]
        admin = server.admin()
        admin.create_partitions([NewPartitions(topic, 3)])[topic].result(30)
        assert reader.partitions() == [0]
        monkeypatch.setattr("transforms.collection.kafka.reader.PARTITIONS_EVERY", 0.0)
        until(reader.partitions, "the new partitions", lambda found: found == [0, 1, 2], seconds=30)
        produce(server, topic, [b"new"], 2)
        assert read_all(reader, {0: 0, 1: 0, 2: 0}, {0: 0, 1: 0, 2: 1})[2] == [(0, b"new")]


def test_a_topic_that_is_not_there_and_brokers_that_do_not_answer_are_errors(server: Broker) -> None:
    with reader_of(server, "nothing") as reader, pytest.raises(SourceError, match=r"source\.kafka\.topic: nothing"):
        reader.partitions()
    spec = KafkaSpec(brokers="127.0.0.1:1", topic="t", settings={"socket.connection.setup.timeout.ms": 1000})
    reader = KafkaReader(spec)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SourceError, match=r"no broker of 127\.0\.0\.1:1"):
        patch.setattr("transforms.collection.kafka.reader.ANSWER_SECONDS", 2.0)
        reader.partitions()
    reader.close()


def test_a_setting_that_no_client_knows_is_an_error() -> None:
    with pytest.raises(SourceError, match=r'No such configuration property: "made\.up"'):
        KafkaReader(KafkaSpec(brokers="127.0.0.1:1", topic="t", settings={"made.up": 1}))


def test_the_group_shows_what_was_committed_and_the_reader_does_not_ask_it(server: Broker) -> None:
    topic = topic_of(server, 2)
    produce(server, topic, numbered(10))
    with reader_of(server, topic, group=f"g-{topic}") as reader:
        assert reader.commit({0: 4, 1: 0}) == ""
        assert len(read_all(reader, {0: 0, 1: 0}, {0: 10, 1: 0})[0]) == 10
    consumer = Consumer({"bootstrap.servers": server.address, "group.id": f"g-{topic}", "log_level": 0})
    committed = consumer.committed([TopicPartition(topic, 0), TopicPartition(topic, 1)], timeout=30)
    assert [part.offset for part in committed] == [4, 0]
    consumer.close()


def test_tls_and_a_password_let_us_in_and_a_wrong_one_does_not(server: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = topic_of(server)
    produce(server, topic, [b"secret"])
    security = {"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": USER, "password_env": "KAFKA_PASSWORD"}
    fields = {"brokers": server.secure_address, "topic": topic, "security": {**security, "ca": str(server.ca)}}
    spec = KafkaSpec.model_validate(fields)
    monkeypatch.delenv("KAFKA_PASSWORD", raising=False)
    with pytest.raises(SourceError, match=r"security\.password_env: the environment variable KAFKA_PASSWORD is not"):
        KafkaReader(spec)
    monkeypatch.setenv("KAFKA_PASSWORD", PASSWORD)
    reader = KafkaReader(spec)
    assert reader.partitions() == [0]
    assert reader.read({0: 0}, 20).fetched[0].values == [b"secret"]
    reader.close()
    monkeypatch.setenv("KAFKA_PASSWORD", "guess")
    monkeypatch.setattr("transforms.collection.kafka.reader.ANSWER_SECONDS", 3.0)
    reader = KafkaReader(spec)
    with pytest.raises(SourceError, match=r"(?i)authentication") as caught:
        reader.partitions()
    assert "guess" not in str(caught.value)
    reader.close()


def test_a_broker_that_stops_answering_for_a_while_costs_nothing(server: Broker) -> None:
    topic = topic_of(server)
    produce(server, topic, numbered(3))
    with reader_of(server, topic) as reader:
        assert len(read_all(reader, {0: 0}, {0: 3})[0]) == 3
        server.freeze()
        try:
            began = time.monotonic()
            assert reader.read({0: 3}, 1.5).fetched == []
            assert time.monotonic() - began < 5
        finally:
            server.thaw()
        produce(server, topic, [b"after"])
        assert read_all(reader, {0: 3}, {0: 4})[0] == [(3, b"after")]


@pytest.mark.slow
def test_a_broker_that_is_killed_and_comes_back_costs_nothing_and_is_no_silence() -> None:
    with broker() as server:
        topic = server.create("t", 2)
        produce(server, topic, numbered(1000))
        with reader_of(server, topic) as reader:
            reader.partitions()
            offsets = {0: 0, 1: 0}
            assert len(read_all(reader, offsets, {0: 400, 1: 0})[0]) == 400
            deadline = Deadline("the end of both partitions")
            while more := reader.read({0: 1000, 1: 0}, 1.0).with_more:
                deadline.check(more)
            server.kill()
            deadline = Deadline("word of the broker's end", 30)
            while not reader.trouble:
                reader.read({0: 1000, 1: 0}, 1.0)
                deadline.check()
            down = reader.read({0: 1000, 1: 0}, 2.0)
            assert (down.fetched, down.listened, down.with_more) == ([], 0, frozenset({0, 1}))
            assert reader.partitions() == [0, 1]
            server.start()
            produce(server, topic, [b"after"], 1)
            found = read_all(reader, {0: 400, 1: 0}, {0: 1000, 1: 1})
            assert found == {0: list(enumerate(numbered(1000)))[400:], 1: [(0, b"after")]}
            deadline = Deadline("the end of the trouble", 30)
            while reader.trouble:
                reader.read({0: 1000, 1: 1}, 1.0)
                deadline.check(reader.trouble)

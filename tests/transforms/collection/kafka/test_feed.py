"""What a followed topic says of its end, while its brokers take their time to answer questions."""

import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from tests.transforms.collection.kafka.test_records import good, parser
from tests.waiting import Deadline
from transforms.collection.cursor import SourceCursor
from transforms.collection.feed import bulletin_of
from transforms.collection.kafka import reader as kafka
from transforms.collection.kafka.feed import KafkaFeed
from transforms.collection.kafka.progress import KafkaProgress
from transforms.collection.kafka.spec import KafkaSpec

TOPIC = "events"
PARTITIONS = 64


@dataclass
class SlowConsumer:
    """A client whose brokers send what they have at once, and answer no question about the ends of partitions.

    Args:
        sent: messages of each partition that it gives.
        open: messages behind those that belong to an open transaction.
        fetched: how many messages have come from the brokers so far.
    """

    sent: int
    open: int = 0
    fetched: int = 1_000_000
    waited: float = 0.0
    to_give: list[Message] = field(default_factory=list)
    assigned: set[int] = field(default_factory=set)

    def list_topics(self, topic: str, timeout: float) -> Any:
        found = SimpleNamespace(error=None, partitions=dict.fromkeys(range(PARTITIONS)))
        return SimpleNamespace(topics={topic: found})

    def incremental_assign(self, parts: list[TopicPartition]) -> None:
        for part in parts:
            self.assigned.add(part.partition)
            for offset in range(part.offset, self.sent):
                self.to_give.append(
                    Message(TOPIC, part.partition, offset=offset, value=good(offset), timestamp=(1, offset))
                )

    def consume(self, most: int, timeout: float) -> list[Message]:
        count = min(most, self.fetched)
        given, self.to_give = self.to_give[:count], self.to_give[count:]
        self.fetched -= len(given)
        return given

    def comes_to_the_end(self) -> None:
        for number in self.assigned:
            error = KafkaError(KafkaError._PARTITION_EOF)
            self.to_give.append(Message(topic=TOPIC, partition=number, offset=self.sent, error=error))

    def get_watermark_offsets(
        self, part: TopicPartition, timeout: float = 0.0, cached: bool = False
    ) -> tuple[int, int]:
        if not cached:
            self.waited += timeout
            time.sleep(timeout)
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return (0, self.sent + self.open) if part.partition in self.assigned else (-1001, -1001)

    def close(self) -> None:
        pass


def feed_of(client: SlowConsumer, monkeypatch: pytest.MonkeyPatch) -> KafkaFeed:
    monkeypatch.setattr(kafka, "open_client", lambda *_: client)
    feed = KafkaFeed(KafkaSpec(brokers="a:1", topic=TOPIC), parser(topic=TOPIC), "group")
    feed.open()
    return feed


def at_the_beginning() -> SourceCursor:
    return SourceCursor(1, KafkaProgress().beginning_at(dict.fromkeys(range(PARTITIONS), 0)))


def test_reading_never_waits_for_the_ends_of_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    client = SlowConsumer(sent=20)
    feed = feed_of(client, monkeypatch)
    portion = feed.read(at_the_beginning())
    assert portion is not None
    bulletin = bulletin_of(portion, feed, time.time())
    feed.close()
    assert client.waited == 0
    assert (bulletin["position"], bulletin["end"]) == (20 * PARTITIONS, 20 * PARTITIONS)


def test_what_waits_is_known_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = feed_of(SlowConsumer(sent=20, fetched=100), monkeypatch)
    portion = feed.read(at_the_beginning())
    assert portion is not None
    bulletin = bulletin_of(portion, feed, time.time())
    feed.close()
    assert (bulletin["position"], bulletin["end"]) == (100, 20 * PARTITIONS)


def test_an_open_transaction_does_not_wait_for_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    client = SlowConsumer(sent=20, open=5)
    feed = feed_of(client, monkeypatch)
    portion = feed.read(at_the_beginning())
    assert portion is not None
    feed.bulletin.set(**bulletin_of(portion, feed, time.time()))
    assert feed.bulletin.end == 25 * PARTITIONS
    client.comes_to_the_end()
    deadline = Deadline("the end of every partition")
    while not feed.is_at_end(portion.cursor):
        deadline.check(portion.cursor)
        assert feed.read(portion.cursor) is None
    feed.close()
    assert (feed.bulletin.position, feed.bulletin.end) == (20 * PARTITIONS, 20 * PARTITIONS)


def test_a_job_that_finds_nothing_new_has_nothing_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    client = SlowConsumer(sent=20)
    feed = feed_of(client, monkeypatch)
    cursor = SourceCursor(1, KafkaProgress().beginning_at(dict.fromkeys(range(PARTITIONS), 20)))
    feed.bulletin.set(position=0, end=0)
    assert feed.read(cursor) is None
    client.comes_to_the_end()
    assert feed.read(cursor) is None
    feed.close()
    assert (feed.bulletin.position, feed.bulletin.end) == (20 * PARTITIONS, 20 * PARTITIONS)

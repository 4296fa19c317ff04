"""Topics for tests: messages written as people's producers write them, in transactions and without."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from tests.cluster.broker import Broker, broker

_SILENT = {"log_level": 0}


@cache
def _running() -> tuple[Any, Broker]:
    context = broker()
    return context, context.__enter__()


def shared_broker() -> Broker:
    """One broker for all tests of a process that do it no harm; it ends with the process."""
    return _running()[1]


def produce(server: Broker, topic: str, values: Sequence[Any], partition: int = 0, **settings: Any) -> None:
    """Writes values; a pair is a value and its timestamp in ms."""
    producer = Producer({"bootstrap.servers": server.address, **_SILENT, **settings})
    send(producer, topic, values, partition)
    if producer.flush(60):
        raise AssertionError("the broker did not take all messages")


def send(producer: Producer, topic: str, values: Sequence[Any], partition: int = 0) -> None:
    for value in values:
        value, stamp = value if isinstance(value, tuple) else (value, 0)
        while True:
            try:
                producer.produce(topic, value, partition=partition, timestamp=stamp)
                break
            except BufferError:
                producer.poll(0.05)


@contextmanager
def transaction(server: Broker, name: str, *, commits: bool = True) -> Iterator[Producer]:
    """A producer within a transaction, which is committed or taken back at the end."""
    producer = Producer({"bootstrap.servers": server.address, "transactional.id": name, **_SILENT})
    producer.init_transactions(30)
    producer.begin_transaction()
    yield producer
    if commits:
        producer.commit_transaction(30)
    else:
        producer.flush(30)
        producer.abort_transaction(30)


def messages(server: Broker, topic: str, isolation: str = "read_committed") -> list[Any]:
    """Every message of a topic as a reader of its own sees it: (partition, offset, key, value)."""
    settings = {"bootstrap.servers": server.address, "group.id": f"see-{threading.get_ident()}", **_SILENT}
    consumer = Consumer({**settings, "isolation.level": isolation, "enable.partition.eof": True})
    numbers = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
    found, ended = [], 0
    while ended < len(numbers):
        for message in consumer.consume(1000, 0.2):
            if message.error() is not None:
                ended += 1
            else:
                found.append((message.partition(), message.offset(), message.key(), message.value()))
    consumer.close()
    return sorted(found)

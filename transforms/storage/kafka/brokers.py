"""Kafka's brokers as a sink uses them: it makes topics, looks up their ends, and reads back what follows a place."""

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from transforms.errors import SinkError
from transforms.storage.kafka.spec import KafkaTarget
from transforms.systems.kafka import KafkaUnusable, answered, client_module, message_of, open_client

ANSWER_SECONDS: Final = 30.0
"""How long the brokers may take to answer."""

_READING: Final = {
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",  # what retention has deleted cannot be read back, and lies far before the place
    "fetch.wait.max.ms": 100,
}

Ends = Mapping[str, Mapping[int, int]]
"""By topic and partition: the offset after the last message."""


class Brokers:
    """The brokers of one sink; each of their refusals is a SinkError that names them.

    Args:
        group: the group that consumers name; they store no offsets under it.
    """

    def __init__(self, target: KafkaTarget, group: str):
        self._target, self._group = target, group
        self._trouble = ""

    @property
    def place(self) -> str:
        """How errors name them."""
        return f"kafka {self._target.brokers}"

    def check(self, topics: Iterable[str]) -> None:
        """Returns if the brokers can be reached and report no error for these topics."""
        there = self._topics(ANSWER_SECONDS / 3)
        for topic in topics:
            error = there[topic].error if topic in there else None
            if error is not None:
                raise SinkError(f"{self.place}: the topic {topic}: {message_of(error)}")

    def make(self, topics: Iterable[str]) -> None:
        """Makes the missing topics, with the brokers' default settings."""
        module = client_module()
        there = self._topics(ANSWER_SECONDS)
        missing = [module.admin.NewTopic(topic, -1, -1) for topic in topics if topic not in there]
        admin = self._admin()  # without a reference to the client, the answers would be lost
        for topic, outcome in (admin.create_topics(missing) if missing else {}).items():
            try:
                outcome.result(ANSWER_SECONDS)
            except module.KafkaException as error:
                if error.args[0].code() != module.KafkaError.TOPIC_ALREADY_EXISTS:
                    raise SinkError(f"{self.place}: the topic {topic} cannot be made: {message_of(error)}") from None

    def ends(self, topics: Iterable[str]) -> dict[str, dict[int, int]]:
        """Where every partition ends, open transactions included."""
        module = client_module()
        consumer = self.open("Consumer", _READING, {"group.id": self._group, "isolation.level": "read_uncommitted"})
        try:
            ends: dict[str, dict[int, int]] = {}
            for topic in topics:
                ends[topic] = {}
                for number in self._partitions(consumer, topic):
                    part = module.TopicPartition(topic, number)
                    bounds = partial(consumer.get_watermark_offsets, part, timeout=ANSWER_SECONDS)
                    ends[topic][number] = self.ask(bounds, consumer)[1]
            return ends
        finally:
            consumer.close()

    def keys_between(self, starts: Ends, ends: Ends) -> set[tuple[str, bytes]]:
        """Topic and key of every committed message between two places.

        Raises:
            SinkError: if another program has an open transaction between them.
        """
        module = client_module()
        left = {
            (topic, number): starts.get(topic, {}).get(number, 0)
            for topic, parts in ends.items()
            for number, end in parts.items()
            if starts.get(topic, {}).get(number, 0) < end
        }
        keys: set[tuple[str, bytes]] = set()
        if not left:
            return keys
        consumer = self.open("Consumer", _READING, {"group.id": self._group, "isolation.level": "read_committed"})
        try:
            consumer.assign([module.TopicPartition(topic, number, at) for (topic, number), at in left.items()])
            until = time.monotonic() + ANSWER_SECONDS
            while left:
                for message in consumer.consume(5_000, 0.2):
                    topic, number, error = message.topic(), message.partition(), message.error()
                    if error is not None and error.code() != module.KafkaError._PARTITION_EOF:
                        raise SinkError(f"{self.place}: {message_of(error)}")
                    end = ends[topic][number]
                    if error is None and message.offset() < end:
                        keys.add((topic, message.key() or b""))
                        until = time.monotonic() + ANSWER_SECONDS
                    # An end that comes too early is where another program's open transaction begins.
                    if message.offset() + (error is None) >= end:
                        left.pop((topic, number), None)
                if left and time.monotonic() > until:
                    where = ", ".join(f"{topic}/{number}" for topic, number in sorted(left))
                    raise SinkError(f"{self.place}: {where} cannot be read to the end; is a transaction open there?")
        finally:
            consumer.close()
        return keys

    def open(self, kind: str, defaults: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
        """A client with our defaults, the specification's settings and its own settings."""
        try:
            return open_client(kind, {**defaults, **self._target.client_settings(), **own}, self._hear)
        except KafkaUnusable as error:
            raise SinkError(f"{self.place}: {error}") from None

    def ask(self, question: Callable[[], Any], client: Any) -> Any:
        """The brokers' answer to a question."""
        self._trouble = ""
        try:
            return answered(lambda left: question(), time.monotonic() + ANSWER_SECONDS)
        except client_module().KafkaException as error:
            if hasattr(client, "poll"):
                client.poll(0.1)  # lets the client report the reason
            raise SinkError(f"{self.place}: {self._trouble or message_of(error)}") from None

    def _topics(self, patience: float) -> Mapping[str, Any]:
        admin = self._admin()
        found: Mapping[str, Any] = self.ask(partial(admin.list_topics, timeout=patience), admin).topics
        return found

    def _partitions(self, consumer: Any, topic: str) -> list[int]:
        until = time.monotonic() + ANSWER_SECONDS
        while True:
            found = self.ask(partial(consumer.list_topics, topic, timeout=ANSWER_SECONDS), consumer).topics[topic]
            if found.error is None and found.partitions:
                return sorted(found.partitions)
            if time.monotonic() > until:  # not every broker knows a new topic at once
                raise SinkError(f"{self.place}: the topic {topic}: {message_of(found.error)}")
            time.sleep(0.1)

    def _admin(self) -> Any:
        try:
            return client_module(".admin").AdminClient({**self._target.client_settings(), "error_cb": self._hear})
        except KafkaUnusable as error:
            raise SinkError(f"{self.place}: {error}") from None
        except (client_module().KafkaException, TypeError, ValueError) as error:
            raise SinkError(f"{self.place}: the client's settings are refused: {message_of(error)}") from None

    def _hear(self, error: Any) -> None:
        # "All brokers are down" comes last and says least, so an earlier error stays.
        if not self._trouble or error.code() != client_module().KafkaError._ALL_BROKERS_DOWN:
            self._trouble = message_of(error)

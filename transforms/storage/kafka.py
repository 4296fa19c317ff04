"""Tables as topics: the rows of a checkpoint in one transaction, so that who reads committed messages sees each once.

A transaction commits before the checkpoint behind it is written. Whoever goes on from the checkpoint before makes the
same rows again, and must not send them twice: so each checkpoint holds where the topics ended (`Position`), and what
lies behind that place is read back. The same way a transaction of which nobody knows whether it was committed, since
the brokers went away meanwhile, is looked up instead of guessed.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import pyarrow as pa

from transforms.kafka_client import KafkaUnusable, client_module, open_client, told
from transforms.storage.avro_rows import register
from transforms.storage.error import SinkError
from transforms.storage.kafka_rows import Encode, keyed_messages
from transforms.storage.kafka_spec import KafkaTarget
from transforms.storage.staging import Table

ANSWER_SECONDS: Final = 30.0
"""How long the brokers may take to answer."""

_WRITING: Final = {
    "partitioner": "murmur2_random",  # a key lands where Java's clients would put it
    "linger.ms": 20,
    "reconnect.backoff.max.ms": 2_000,
    "compression.type": "lz4",
    "queue.buffering.max.messages": 500_000,
    "message.timeout.ms": 60_000,
    # As long as a sink is waited for: a broker must not take a transaction back while we wait for it.
    "transaction.timeout.ms": 900_000,
}
_READING: Final = {
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",  # what retention took cannot be read back, and is long behind
    "fetch.wait.max.ms": 100,
}


class KafkaFenced(SinkError):
    """Another run of the same job has taken the topics over: this one must end."""


@dataclass(frozen=True)
class Position:
    """How far a job's topics are, as a checkpoint keeps it.

    Args:
        offsets: by topic and partition, behind the last message that counts.
        sent: by table, keys of rows that lie before these offsets and will be made again.
    """

    offsets: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    sent: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        offsets = {topic: {str(n): at for n, at in parts.items()} for topic, parts in self.offsets.items()}
        return {"offsets": offsets, "sent": {table: sorted(keys) for table, keys in self.sent.items() if keys}}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "Position":
        """What `to_json` wrote."""
        offsets = {topic: {int(n): at for n, at in parts.items()} for topic, parts in content["offsets"].items()}
        return Position(offsets, {table: frozenset(keys) for table, keys in content["sent"].items()})


class KafkaWriter:
    """Writes final rows of a job's tables to topics.

    Args:
        job: names the transactions: a second run of it fences the first.
        replaced: tables whose rows may come again with other values, of which the last counts.
    """

    def __init__(
        self, target: KafkaTarget, tables: Mapping[str, Table], job: str, replaced: Iterable[str] = ("ledger",)
    ):
        """Raises SinkError if a table cannot be a topic."""
        self._target, self._tables, self._replaced = target, tables, frozenset(replaced)
        self._name = f"streamgauge-{job}" + ("" if target.topic == "{table}" else f"-{target.topic}")
        try:
            self._topics = {table: target.topic_of(table) for table in tables}
        except ValueError as error:
            raise SinkError(f"{self._place}: {error}") from None
        self._encoders: Mapping[str, Encode] = {}
        self._producer: Any = None
        self._fenced = False
        self._position = Position()
        self._trouble = ""

    @property
    def _place(self) -> str:
        return f"kafka {self._target.brokers}"

    def check(self) -> None:
        """Returns when the brokers can be reached and let us write, without changing anything.

        Raises:
            SinkError: when they do not.
        """
        module, settings = self._client()
        admin = module.admin.AdminClient({**settings, "error_cb": self._hear})
        found = self._asked(lambda: admin.list_topics(timeout=ANSWER_SECONDS / 3), admin)
        for topic in self._topics.values():
            error = found.topics[topic].error if topic in found.topics else None
            if error is not None:
                raise SinkError(f"{self._place}: the topic {topic}: {told(error)}")

    def open(self, position: Position | None) -> Position:
        """Takes the topics over from any other run of the job, and finds out what was sent behind `position`.

        Args:
            position: that of the checkpoint to go on from; None: what is in the topics is somebody else's. Then what
                this gives must be kept before the first row is published.

        Raises:
            SinkError: if the brokers cannot be used.
        """
        module, settings = self._client()
        self._register()
        self._make_topics(module, settings)
        self._drop()
        producer = self._opened("Producer", {**_WRITING, **settings, "transactional.id": self._name})
        self._asked(lambda: producer.init_transactions(ANSWER_SECONDS), producer)
        # From here on nobody else writes, and no transaction of ours is open.
        ends = self._ends(module, settings)
        if position is None:
            self._position = Position(ends)
        else:
            self._position = self._looked_up(position, ends, module, settings)
        self._producer, self._fenced = producer, False
        return self._position

    def publish(self, tables: Mapping[str, Iterable[pa.RecordBatch]]) -> Position:
        """Sends the final rows of a checkpoint in one transaction: a reader of committed messages sees all or none.

        Returns:
            What the checkpoint must hold.

        Raises:
            KafkaFenced: when another run of the job has taken over.
            SinkError: when it is not known to have worked; calling it again with the same rows is right.
        """
        if self._fenced:
            raise self._taken_over()
        if self._producer is None:
            self.open(self._position)
        sent = {table: set(keys) for table, keys in self._position.sent.items()}
        messages = []
        for name, batches in tables.items():
            done = sent.get(name, set())
            for key, value in keyed_messages(self._tables[name], batches, self._encoders.get(name)):
                if name not in self._replaced and key.decode() in done:
                    done.discard(key.decode())
                else:
                    messages.append((self._topics[name], key, value))
        offsets = {topic: dict(parts) for topic, parts in self._position.offsets.items()}
        if messages:
            for topic, number, end in self._transact(messages):
                parts = offsets.setdefault(topic, {})
                parts[number] = max(end, parts.get(number, 0))
        self._position = Position(offsets, {table: frozenset(keys) for table, keys in sent.items() if keys})
        return self._position

    def close(self) -> None:
        self._drop()

    def _transact(self, messages: Iterable[tuple[str, bytes, bytes]]) -> set[tuple[str, int, int]]:
        """Sends messages in a transaction; gives where each partition ends behind them."""
        module, producer, failed = client_module(), self._producer, []
        ends: dict[tuple[str, int], int] = {}

        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                failed.append(error)
            else:
                place = message.topic(), message.partition()
                ends[place] = max(ends.get(place, 0), message.offset() + 1)

        try:
            producer.begin_transaction()
            for topic, key, value in messages:
                while True:
                    try:
                        producer.produce(topic, value, key, on_delivery=delivered)
                        break
                    except BufferError:
                        producer.poll(0.1)
                producer.poll(0)
                if failed:
                    break
            producer.flush()  # each message has its own patience
            if failed:
                raise module.KafkaException(failed[0])
            self._commit(module, producer)
        except module.KafkaException as error:
            raise self._failed(error) from None
        return {(topic, number, end) for (topic, number), end in ends.items()}

    def _commit(self, module: Any, producer: Any) -> None:
        until = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                return producer.commit_transaction(ANSWER_SECONDS)
            except module.KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > until:
                    raise

    def _failed(self, error: Any) -> SinkError:
        """What to raise for a transaction that failed: whether it was committed is looked up at the next try."""
        errors, reason = client_module().KafkaError, error.args[0]
        self._drop()
        if reason.code() in (errors._FENCED, errors.PRODUCER_FENCED, errors.INVALID_PRODUCER_EPOCH):
            self._fenced = True
            return self._taken_over()
        return SinkError(f"{self._place}: {told(error)}")

    def _taken_over(self) -> KafkaFenced:
        return KafkaFenced(f"{self._place}: another run of this job writes its topics now")

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(client_module().KafkaException):
                producer.purge()
                producer.abort_transaction(0.5)

    def _looked_up(self, position: Position, ends: Any, module: Any, settings: Any) -> Position:
        """The position with what was sent behind it: rows that will be made again, and must not be sent again."""
        tables = {topic: table for table, topic in self._topics.items()}
        sent = {table: set(keys) for table, keys in position.sent.items()}
        starts = {
            (topic, number): position.offsets.get(topic, {}).get(number, 0)
            for topic, parts in ends.items()
            for number in parts
        }
        wanted = {place: start for place, start in starts.items() if start < ends[place[0]][place[1]]}
        for topic, key in self._keys_between(wanted, ends, settings) if wanted else ():
            if tables[topic] not in self._replaced:
                sent.setdefault(tables[topic], set()).add(key.decode("utf-8", "replace"))
        return Position(ends, {table: frozenset(keys) for table, keys in sent.items()})

    def _keys_between(self, starts: Mapping[tuple[str, int], int], ends: Any, settings: Any) -> set[tuple[str, bytes]]:
        module = client_module()
        own = {"group.id": self._name, "isolation.level": "read_committed"}
        consumer = self._opened("Consumer", {**_READING, **settings, **own})
        keys, left = set(), set(starts)
        try:
            consumer.assign([module.TopicPartition(topic, number, at) for (topic, number), at in starts.items()])
            until = time.monotonic() + ANSWER_SECONDS
            while left:
                for message in consumer.consume(5_000, 0.2):
                    topic, number = message.topic(), message.partition()
                    error = message.error()
                    if error is not None and error.code() != module.KafkaError._PARTITION_EOF:
                        raise SinkError(f"{self._place}: {told(error)}")
                    if error is None and message.offset() < ends[topic][number]:
                        keys.add((topic, message.key() or b""))
                        until = time.monotonic() + ANSWER_SECONDS
                    # An end that comes too early is that of an open transaction of somebody else.
                    if message.offset() + (error is None) >= ends[topic][number]:
                        left.discard((topic, number))
                if left and time.monotonic() > until:
                    where = ", ".join(f"{topic}/{number}" for topic, number in sorted(left))
                    raise SinkError(f"{self._place}: {where} cannot be read to the end, is a transaction open there?")
        finally:
            consumer.close()
        return keys

    def _ends(self, module: Any, settings: Any) -> dict[str, dict[int, int]]:
        """Where every partition of our topics ends, open transactions included."""
        own = {"group.id": self._name, "isolation.level": "read_uncommitted"}
        consumer = self._opened("Consumer", {**_READING, **settings, **own})
        try:
            ends: dict[str, dict[int, int]] = {}
            for topic in self._topics.values():
                ends[topic] = {}
                for number in self._partitions(consumer, topic):
                    part = module.TopicPartition(topic, number)
                    ask = partial(consumer.get_watermark_offsets, part, timeout=ANSWER_SECONDS)
                    ends[topic][number] = self._asked(ask, consumer)[1]
            return ends
        finally:
            consumer.close()

    def _partitions(self, consumer: Any, topic: str) -> list[int]:
        until = time.monotonic() + ANSWER_SECONDS
        while True:
            found = self._asked(partial(consumer.list_topics, topic, timeout=ANSWER_SECONDS), consumer).topics[topic]
            if found.error is None and found.partitions:
                return sorted(found.partitions)
            if time.monotonic() > until:  # until then a topic that was just made may not be known everywhere
                raise SinkError(f"{self._place}: the topic {topic}: {told(found.error)}")
            time.sleep(0.1)

    def _make_topics(self, module: Any, settings: Any) -> None:
        admin = module.admin.AdminClient({**settings, "error_cb": self._hear})
        there = self._asked(lambda: admin.list_topics(timeout=ANSWER_SECONDS), admin).topics
        missing = [topic for topic in self._topics.values() if topic not in there]
        made = admin.create_topics([module.admin.NewTopic(topic, -1, -1) for topic in missing]) if missing else {}
        for topic, outcome in made.items():
            try:
                outcome.result(ANSWER_SECONDS)
            except module.KafkaException as error:
                if error.args[0].code() != module.KafkaError.TOPIC_ALREADY_EXISTS:
                    raise SinkError(f"{self._place}: the topic {topic} cannot be made: {told(error)}") from None

    def _register(self) -> None:
        """Registers the schemas of the topics, once, where values are Avro."""
        if self._target.schema_registry is not None and not self._encoders:
            topics = {topic: self._tables[table] for table, topic in self._topics.items()}
            try:
                self._encoders = register(self._target.schema_registry, topics)
            except KafkaUnusable as error:
                raise SinkError(str(error)) from None

    def _client(self) -> tuple[Any, dict[str, Any]]:
        try:
            module = client_module()
            client_module(".admin")
            return module, self._target.client_settings()
        except KafkaUnusable as error:
            raise SinkError(f"{self._place}: {error}") from None

    def _opened(self, kind: str, settings: Mapping[str, Any]) -> Any:
        try:
            return open_client(kind, settings, self._hear)
        except KafkaUnusable as error:
            raise SinkError(f"{self._place}: {error}") from None

    def _asked(self, ask: Callable[[], Any], client: Any) -> Any:
        self._trouble = ""
        try:
            return ask()
        except client_module().KafkaException as error:
            if hasattr(client, "poll"):
                client.poll(0.1)  # hears why
            raise SinkError(f"{self._place}: {self._trouble or told(error)}") from None

    def _hear(self, error: Any) -> None:
        module = client_module()
        if not self._trouble or error.code() != module.KafkaError._ALL_BROKERS_DOWN:
            self._trouble = told(error)

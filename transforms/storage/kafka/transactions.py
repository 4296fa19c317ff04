"""Tables as topics: the rows of a checkpoint in one transaction, so a reader of committed messages sees each row once.

A transaction commits before its checkpoint is written. A process that resumes from the checkpoint before makes the same
rows again, and must not send them twice. So each checkpoint holds where the topics ended (`Position`), and the process
reads back what follows that place. If the brokers vanish during a commit, the outcome is read back in the same way, not
guessed.
"""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import pyarrow as pa

from transforms.errors import KafkaFenced, SinkError
from transforms.storage.kafka import brokers
from transforms.storage.kafka.avro_rows import register
from transforms.storage.kafka.brokers import Brokers
from transforms.storage.kafka.rows import Encode, keyed_messages
from transforms.storage.kafka.spec import KafkaTarget
from transforms.storage.tables import Table
from transforms.systems.kafka import KafkaUnusable, client_module, message_of, own_exception

_LOOK: Final = 1_000  # messages sent between two checks for failed ones
_WRITING: Final = {
    "partitioner": "murmur2_random",  # a key goes to the partition that Java's clients choose
    "linger.ms": 20,
    "reconnect.backoff.max.ms": 2_000,
    "compression.type": "lz4",
    "queue.buffering.max.messages": 500_000,
    "message.timeout.ms": 60_000,
    # As long as the job waits for a sink: a broker must not abort a transaction meanwhile.
    "transaction.timeout.ms": 900_000,
}


@dataclass(frozen=True)
class Position:
    """How far a job's topics are; a checkpoint keeps it.

    Args:
        offsets: by topic and partition, the offset after the last message that counts.
        sent: by table, keys of rows that come before these offsets and will be made again.
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
        job: names the transactions, so that a second run of the job fences the first.
        replaced: tables whose rows may come again with other values; the last one counts.
    """

    def __init__(
        self, target: KafkaTarget, tables: Mapping[str, Table], job: str, replaced: Iterable[str] = ("ledger",)
    ):
        """Raises SinkError if a table cannot be a topic."""
        self._target, self._tables, self._replaced = target, tables, frozenset(replaced)
        self._name = f"streamgauge-{job}" + ("" if target.topic == "{table}" else f"-{target.topic}")
        self._brokers = Brokers(target, self._name)
        try:
            self._topics = {table: target.topic_of(table) for table in tables}
        except ValueError as error:
            raise SinkError(f"{self._brokers.place}: {error}") from None
        self._encoders: Mapping[str, Encode] = {}
        self._producer: Any = None
        self._fenced = False
        self._position = Position()

    def check(self) -> None:
        """Returns if the brokers can be reached and accept writes; changes nothing.

        Raises:
            SinkError: if they cannot, or do not.
        """
        self._brokers.check(self._topics.values())

    def open(self, position: Position | None) -> Position:
        """Takes the topics over from any other run of the job, and reads back what was sent after `position`.

        Args:
            position: the position in the checkpoint to resume from; None: the messages in the topics are not this
                job's. Then the returned position must be stored before the first row is published.

        Raises:
            SinkError: if the brokers cannot be used.
        """
        self._register()
        self._brokers.make(self._topics.values())
        self._drop()
        producer = self._brokers.open("Producer", _WRITING, {"transactional.id": self._name})
        self._brokers.ask(partial(producer.init_transactions, brokers.ANSWER_SECONDS), producer)
        # From here on only this producer writes, and no transaction of this job is open.
        ends = self._brokers.ends(self._topics.values())
        self._position = Position(ends) if position is None else self._looked_up(position, ends)
        self._producer, self._fenced = producer, False
        return self._position

    def publish(self, tables: Mapping[str, Iterable[pa.RecordBatch]]) -> Position:
        """Sends the final rows of a checkpoint in one transaction: a reader of committed messages sees all or none.

        Returns:
            What the checkpoint must hold.

        Raises:
            KafkaFenced: if another run of the job has taken over.
            SinkError: if the outcome is unknown or a failure; call it again with the same rows.
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
        """Sends messages in a transaction; returns where each partition ends after them."""
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
            for number, (topic, key, value) in enumerate(messages):
                while True:
                    try:
                        producer.produce(topic, value, key, on_delivery=delivered)
                        break
                    except BufferError:
                        producer.poll(0.1)
                if number % _LOOK == 0 and producer.poll(0) and failed:
                    break
            producer.flush()  # each message has its own timeout
            if failed:
                raise module.KafkaException(failed[0])
            self._commit(module, producer)
        except (module.KafkaException, SystemError) as error:
            raise self._failed(own_exception(error)) from None
        return {(topic, number, end) for (topic, number), end in ends.items()}

    def _commit(self, module: Any, producer: Any) -> None:
        until = time.monotonic() + brokers.ANSWER_SECONDS
        while True:
            try:
                return producer.commit_transaction(brokers.ANSWER_SECONDS)
            except module.KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > until:
                    raise

    def _failed(self, error: Any) -> SinkError:
        """What to raise for a transaction that failed; the next try reads back whether it was committed."""
        errors, reason = client_module().KafkaError, error.args[0]
        self._drop()
        if reason.code() in (errors._FENCED, errors.PRODUCER_FENCED, errors.INVALID_PRODUCER_EPOCH):
            self._fenced = True
            return self._taken_over()
        return SinkError(f"{self._brokers.place}: {message_of(error)}")

    def _taken_over(self) -> KafkaFenced:
        return KafkaFenced(f"{self._brokers.place}: another run of this job writes its topics now")

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(client_module().KafkaException, SystemError):
                producer.purge()
                producer.abort_transaction(0.5)

    def _looked_up(self, position: Position, ends: Mapping[str, Mapping[int, int]]) -> Position:
        """The position, with the keys of rows sent after it, which will be made again and must not be sent again."""
        tables = {topic: table for table, topic in self._topics.items()}
        sent = {table: set(keys) for table, keys in position.sent.items()}
        for topic, key in self._brokers.keys_between(position.offsets, ends):
            if tables[topic] not in self._replaced:
                sent.setdefault(tables[topic], set()).add(key.decode("utf-8", "replace"))
        return Position(ends, {table: frozenset(keys) for table, keys in sent.items()})

    def _register(self) -> None:
        """Registers the schemas of the topics, once, where values are Avro."""
        if self._target.schema_registry is not None and not self._encoders:
            topics = {topic: self._tables[table] for table, topic in self._topics.items()}
            try:
                self._encoders = register(self._target.schema_registry, topics)
            except KafkaUnusable as error:
                raise SinkError(str(error)) from None

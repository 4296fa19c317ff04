"""Reads a topic: every partition from a given offset, in large batches of messages, committed records only.

The reader assigns partitions itself and never joins a group's rebalancing: our checkpoints hold the offsets to resume
from. The consumer group's offsets are written after them, for tools that monitor lag. librdkafka fetches ahead, at
most `QUEUE_KBYTES`; a reader that is not called fetches no further.
"""

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

from transforms.collection.kafka.records import Reading
from transforms.collection.kafka.spec import KafkaSpec
from transforms.collection.kafka.strokes import Strokes
from transforms.errors import SourceError
from transforms.systems.kafka import MOVING, KafkaUnusable, answered, client_module, message_of, open_client

QUEUE_KBYTES: Final = 16_384
"""The most data queued in memory; messages of a few bytes occupy six times their size."""

READ_BYTES: Final = 16 << 20
READ_RECORDS: Final = 200_000
"""The most that one reading returns when more is waiting: as much as a block of a file."""

PARTITIONS_EVERY: Final = 30.0
"""The seconds between two requests to the brokers for new partitions."""

ANSWER_SECONDS: Final = 30.0
"""How long a broker may take to answer what the job needs before it starts."""

_STROKE: Final = 500
"""Messages per call: fewer than the 700 new objects that trigger Python's garbage collector, whose scan would cost as
much as reading them."""

_POLL: Final = 0.2
_SETTINGS: Final = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "allow.auto.create.topics": False,
    "queued.max.messages.kbytes": QUEUE_KBYTES,
    # The queue is limited in bytes. librdkafka's default limit of 100,000 messages would make small messages wait, and
    # so would its pause of a second before it looks at a full queue again: together 0.15 instead of 0.7 M messages/s.
    "queued.min.messages": 1_000_000,
    "fetch.queue.backoff.ms": 5,
    "fetch.wait.max.ms": 100,
    "reconnect.backoff.max.ms": 2_000,
    "topic.metadata.refresh.interval.ms": 30_000,
}


_PASSING: Final = (
    *("_TRANSPORT", "_ALL_BROKERS_DOWN", "_TIMED_OUT", "_RESOLVE", "_WAIT_COORD", "_MAX_POLL_EXCEEDED"),
    *("_UNKNOWN_PARTITION", "_UNKNOWN_TOPIC", *MOVING),
)
"""Errors from which a cluster recovers by itself."""


class KafkaReader:
    """A topic's partitions, read from any offsets.

    `trouble` is the brokers' current error while the reader keeps trying; empty when all is well. While one thread
    reads, another may ask about partitions: the client allows calls from any thread, and fields that both threads set
    are set again within a second.
    """

    def __init__(self, spec: KafkaSpec, group: str = "streamgauge"):
        """Args:
            group: the consumer group to use if the specification names none.

        Raises:
            SourceError: if the specification does not yield a client.
        """
        self._spec = spec
        self._topic = spec.topic
        self.trouble = ""
        self._next: dict[int, int] = {}
        self._with_more: set[int] = set()
        self._known: list[int] = []
        self._asked = float("-inf")
        self._message_bytes = 100.0
        try:
            self._module: Any = client_module()
            settings = {**spec.client_settings(), "group.id": spec.group or group}
            self._consumer = open_client("Consumer", {**_SETTINGS, **settings}, self._hear)
        except KafkaUnusable as error:
            raise SourceError(f"source.kafka: {error}") from None
        self._END = self._module.KafkaError._PARTITION_EOF

    def partitions(self) -> list[int]:
        """The topic's partitions, refreshed after `PARTITIONS_EVERY`; with unreachable brokers, those known so far.

        Raises:
            SourceError: if there is no such topic, or no broker ever answered.
        """
        # This call also shows whether unreachable brokers are back.
        if time.monotonic() - self._asked < (1.0 if self.trouble else PARTITIONS_EVERY):
            return self._known
        self._asked = time.monotonic()
        try:
            found = self._consumer.list_topics(self._topic, timeout=1.0 if self._known else ANSWER_SECONDS)
        except self._module.KafkaException as error:
            if not self._known:
                raise SourceError(self._no_answer(error)) from None
            self.trouble = self.trouble or message_of(error)
            return self._known
        topic = found.topics.get(self._topic)
        if topic is None or topic.error is not None or not topic.partitions:
            why = message_of(topic.error) if topic is not None and topic.error is not None else "it has no partitions"
            if self._known:  # a broker that has just started may not know the topic yet
                self.trouble = f"the topic {self._topic}: {why}"
                return self._known
            raise SourceError(f"source.kafka.topic: {self._topic} cannot be read: {why}")
        self.trouble = ""
        self._known = sorted({*self._known, *topic.partitions})
        return self._known

    @property
    def known(self) -> list[int]:
        """The topic's partitions from the last refresh, without asking the brokers."""
        return self._known

    def beginnings(self, partitions: Iterable[int]) -> dict[int, int]:
        """The first offset that each partition still holds."""
        return {number: low for number, (low, _) in self._bounds(partitions).items()}

    def ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """The offset after the last committed message of each partition."""
        return {number: high for number, (_, high) in self._bounds(partitions).items()}

    def seen_ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """The offset after the last message of each partition, as far as it is known here, without waiting.

        With each fetch the brokers report the end of a partition, open transactions included. Where the reader has
        reached the last committed message, that is the end.
        """
        return {number: self._seen_end(number) for number in partitions}

    def starts(self, partitions: Iterable[int]) -> dict[int, int]:
        """The specified start offset of each partition."""
        partitions = list(partitions)
        if self._spec.start_ms is None:
            return self.beginnings(partitions) if self._spec.start == "earliest" else self.ends(partitions)
        wanted = [self._module.TopicPartition(self._topic, number, self._spec.start_ms) for number in partitions]
        deadline = time.monotonic() + ANSWER_SECONDS
        found = self._answer(lambda left: self._consumer.offsets_for_times(wanted, timeout=left), deadline)
        offsets = {part.partition: part.offset for part in found}
        late = self.ends(number for number, offset in offsets.items() if offset < 0)
        return {number: late.get(number, offset) for number, offset in offsets.items()}

    def read(
        self,
        offsets: Mapping[int, int],
        timeout: float = 1.0,
        *,
        limit_bytes: int = READ_BYTES,
        limit_records: int = READ_RECORDS,
        until: Mapping[int, int] | None = None,
    ) -> Reading:
        """The next messages of each partition, as soon as there are some.

        Args:
            offsets: where to start; the `next` offsets of the last reading continue without a seek.
            timeout: seconds to wait while there are no messages.
            limit_bytes: about how much to read at most.
            until: the offset in each partition at which to stop; partitions that have reached it are not read.

        Raises:
            SourceError: if an offset no longer exists, or the brokers refuse the request.
        """
        began = time.monotonic()
        wanted = {number: at for number, at in offsets.items() if until is None or at < until[number]}
        self._go_to(wanted)
        strokes = Strokes()
        if wanted:
            try:
                self._fetch(strokes, began + timeout, limit_bytes, limit_records, until or {})
            except SourceError:
                # The client reports an error once: after this reset, the next reading meets the error again.
                self._consumer.unassign()
                self._next, self._with_more = {}, set()
                raise
        stops: Mapping[int, int | None] = until or dict.fromkeys(wanted)
        fetched = [strokes.fetched(number, self._next[number], stops[number]) for number in sorted(wanted)]
        has_trouble = bool(self.trouble)
        return Reading(
            [part for part in fetched if len(part.offsets) or part.next > offsets[part.partition]],
            0 if has_trouble else int((time.monotonic() - began) * 1e6),
            frozenset(wanted if has_trouble else self._with_more),
            is_full=strokes.size >= limit_bytes or strokes.count >= limit_records,
        )

    def commit(self, offsets: Mapping[int, int]) -> str:
        """Commits the offsets of a checkpoint to the consumer group; returns the error, if any, which does no harm."""
        parts = [self._module.TopicPartition(self._topic, number, at) for number, at in offsets.items()]
        try:
            committed = self._consumer.commit(offsets=parts, asynchronous=False)
        except self._module.KafkaException as error:
            return message_of(error)
        return next((message_of(part.error) for part in committed if part.error is not None), "")

    def close(self) -> None:
        self._consumer.close()

    def _go_to(self, wanted: Mapping[int, int]) -> None:
        """Assigns the partitions whose current offset differs from the wanted one."""
        if wanted == self._next:
            return
        part = self._module.TopicPartition
        gone = [number for number in self._next if self._next[number] != wanted.get(number)]
        if gone:
            self._consumer.incremental_unassign([part(self._topic, number) for number in gone])
        come = [number for number in wanted if number in gone or number not in self._next]
        if come:
            self._consumer.incremental_assign([part(self._topic, number, wanted[number]) for number in come])
        self._with_more = (self._with_more & wanted.keys()) | set(come)
        self._next = dict(wanted)

    def _fetch(
        self,
        strokes: Strokes,
        deadline: float,
        limit_bytes: int,
        limit_records: int,
        until: Mapping[int, int],
    ) -> None:
        waiting = set(self._next)
        while waiting and strokes.size < limit_bytes and strokes.count < limit_records:
            left = deadline - time.monotonic()
            room = 1 + (limit_bytes - strokes.size) / self._message_bytes
            most = int(min(_STROKE, limit_records - strokes.count, room))
            messages = self._consumer.consume(most, 0)
            if not messages:
                if strokes.count or left <= 0:
                    return
                if self.trouble and self._known:
                    self.partitions()  # notices when the brokers are back
                messages = self._consumer.consume(1, min(left, _POLL))  # returns the first as soon as it arrives
            good = [message for message in messages if message.error() is None]
            if good:
                before, self.trouble = strokes.size, ""
                self._next |= (ends := strokes.add(self._module.Message, good))
                self._with_more |= ends.keys()
                self._message_bytes = max((strokes.size - before) / len(good), 1.0)
            if len(good) < len(messages):
                # After the messages: an end before one of them is outdated.
                for message in messages:
                    if message.error() is not None:
                        self._mark(message)
            waiting = {number for number in self._next if number not in until or self._next[number] < until[number]}

    def _mark(self, message: Any) -> None:
        """Handles an event that arrived in place of a message."""
        error, number = message.error(), message.partition()
        if error.code() == self._END:
            if message.offset() >= self._next.get(number, message.offset() + 1):
                self._next[number] = message.offset()
                self._with_more.discard(number)
                self.trouble = ""
            return
        if error.code() == self._module.KafkaError._AUTO_OFFSET_RESET:
            low, high = self._bounds([number])[number]
            raise SourceError(
                f"source.kafka: offset {self._next.get(number, message.offset())} of {self._topic}/{number} no longer"
                f" exists: the partition holds {low} to {high}; the topic's retention deleted the messages in between,"
                " or the topic was deleted and created again"
            )
        if error.fatal() or not (error.retriable() or error.code() in self._passing()):
            raise SourceError(f"source.kafka: {self._topic}: {message_of(error)}")
        self.trouble = message_of(error)

    def _passing(self) -> set[int]:
        """Errors that a cluster has while it starts or moves, and from which it recovers by itself."""
        return {getattr(self._module.KafkaError, name) for name in _PASSING}

    def _seen_end(self, number: int) -> int:
        at = self._next.get(number, 0)
        if number in self._next and number not in self._with_more:
            return at
        try:
            seen = self._consumer.get_watermark_offsets(self._module.TopicPartition(self._topic, number), cached=True)
        except self._module.KafkaException:  # the client has not heard of the partition yet
            return at
        return max(at, int(seen[1]))  # negative before the first fetch

    def _bounds(self, partitions: Iterable[int]) -> dict[int, tuple[int, int]]:
        part, bounds = self._module.TopicPartition, {}
        deadline = time.monotonic() + ANSWER_SECONDS
        for number in partitions:
            ask = partial(self._consumer.get_watermark_offsets, part(self._topic, number))
            bounds[number] = self._answer(lambda left, ask=ask: ask(timeout=left), deadline)
        return bounds

    def _answer(self, ask: Any, deadline: float) -> Any:
        """The brokers' answer to a question that may take the seconds that remain."""
        try:
            return answered(ask, deadline)
        except self._module.KafkaException as error:
            raise SourceError(self._no_answer(error)) from None

    def _no_answer(self, error: Any) -> str:
        """The client's last error, which says more than that the timeout expired."""
        if not self._next:  # without an assignment this call cannot lose messages
            self._consumer.consume(1, 0.1)
        return f"source.kafka: no broker of {self._spec.brokers} answers: {self.trouble or message_of(error)}"

    def _hear(self, error: Any) -> None:
        # The client reports last that all brokers are down, which says least.
        if not self.trouble or error.code() != self._module.KafkaError._ALL_BROKERS_DOWN:
            self.trouble = message_of(error)

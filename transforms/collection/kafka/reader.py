"""Reading a topic: every partition from the offset that is asked for, in large strokes, committed records only.

The reader assigns partitions itself and never joins a group's balancing: where to read on stands in our checkpoints.
What a consumer group shows is written behind them, for tools that watch lag. librdkafka fetches ahead, at most
`QUEUE_KBYTES`; a reader that is not asked reads no further.
"""

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

from transforms.collection.kafka.records import Reading
from transforms.collection.kafka.spec import KafkaSpec
from transforms.collection.kafka.strokes import Strokes
from transforms.errors import SourceError
from transforms.systems.kafka import MOVING, KafkaUnusable, answered, client_module, open_client, told

QUEUE_KBYTES: Final = 16_384
"""What waits in memory to be read; messages of a few bytes take six times as much as they hold."""

READ_BYTES: Final = 16 << 20
READ_RECORDS: Final = 200_000
"""What is read at a time when there is more: as much as a block of a file."""

PARTITIONS_EVERY: Final = 30.0
"""s after which the brokers are asked for new partitions."""

ANSWER_SECONDS: Final = 30.0
"""How long a broker may take to answer what the job needs to begin."""

_STROKE: Final = 500
"""Messages a call: fewer than the 700 new objects at which Python's garbage collector looks through them, which would
cost as much as reading them."""

_POLL: Final = 0.2
_SETTINGS: Final = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "allow.auto.create.topics": False,
    "queued.max.messages.kbytes": QUEUE_KBYTES,
    # The bound is bytes: with its own of 100,000 messages, small ones are waited for, and with its own second between
    # looks at a full queue too; together 0.15 instead of 0.7 M messages a second.
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
"""What a cluster recovers from by itself."""


class KafkaReader:
    """A topic's partitions, read from any offsets.

    `trouble` says what the brokers refuse while the reader goes on trying; empty when all is well. While one thread
    reads, another may ask about partitions: the client may be called from any thread, and what both set here is set
    anew within a second.
    """

    def __init__(self, spec: KafkaSpec, group: str = "streamgauge"):
        """Args:
            group: the consumer group, where the specification names none.

        Raises:
            SourceError: if a client cannot be made of the specification.
        """
        self._spec = spec
        self._topic = spec.topic
        self.trouble = ""
        self._next: dict[int, int] = {}
        self._behind: set[int] = set()
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
        """The topic's partitions, asked for again after `PARTITIONS_EVERY`; brokers out of reach leave those known.

        Raises:
            SourceError: if there is no such topic, or no broker ever answered.
        """
        # Whether brokers that were out of reach are back shows here too.
        if time.monotonic() - self._asked < (1.0 if self.trouble else PARTITIONS_EVERY):
            return self._known
        self._asked = time.monotonic()
        try:
            found = self._consumer.list_topics(self._topic, timeout=1.0 if self._known else ANSWER_SECONDS)
        except self._module.KafkaException as error:
            if not self._known:
                raise SourceError(self._no_answer(error)) from None
            self.trouble = self.trouble or told(error)
            return self._known
        topic = found.topics.get(self._topic)
        if topic is None or topic.error is not None or not topic.partitions:
            why = told(topic.error) if topic is not None and topic.error is not None else "it has no partitions"
            if self._known:  # a broker that has just come up may not know it yet
                self.trouble = f"the topic {self._topic}: {why}"
                return self._known
            raise SourceError(f"source.kafka.topic: {self._topic} cannot be read: {why}")
        self.trouble = ""
        self._known = sorted({*self._known, *topic.partitions})
        return self._known

    @property
    def known(self) -> list[int]:
        """The topic's partitions as they were last told; asks nobody."""
        return self._known

    def beginnings(self, partitions: Iterable[int]) -> dict[int, int]:
        """The first offset that each partition still holds."""
        return {number: low for number, (low, _) in self._bounds(partitions).items()}

    def ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """The offset behind the last committed message of each partition."""
        return {number: high for number, (_, high) in self._bounds(partitions).items()}

    def seen_ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """The offset behind the last message of each partition, as far as it is known here; waits for nothing.

        With each fetch the brokers say where a partition ends, transactions that are open included. Where the reader
        has come to the last committed message, that is the end.
        """
        return {number: self._seen_end(number) for number in partitions}

    def starts(self, partitions: Iterable[int]) -> dict[int, int]:
        """Where the specification says to start in each partition."""
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
        """What comes next in each partition, as soon as there is something.

        Args:
            offsets: where to read on; what the last reading gave as `next` goes on without a seek.
            timeout: s to wait while there is nothing.
            limit_bytes: about how much to read at most.
            until: the offset in each partition where to stop; a partition that has come there is not read.

        Raises:
            SourceError: if an offset is not there any more, or the brokers refuse us.
        """
        began = time.monotonic()
        wanted = {number: at for number, at in offsets.items() if until is None or at < until[number]}
        self._go_to(wanted)
        strokes = Strokes()
        if wanted:
            try:
                self._fetch(strokes, began + timeout, limit_bytes, limit_records, until or {})
            except SourceError:
                # What went wrong is said once by the client: whoever reads next must meet it again.
                self._consumer.unassign()
                self._next, self._behind = {}, set()
                raise
        stops: Mapping[int, int | None] = until or dict.fromkeys(wanted)
        fetched = [strokes.fetched(number, self._next[number], stops[number]) for number in sorted(wanted)]
        has_trouble = bool(self.trouble)
        return Reading(
            [part for part in fetched if len(part.offsets) or part.next > offsets[part.partition]],
            0 if has_trouble else int((time.monotonic() - began) * 1e6),
            frozenset(wanted if has_trouble else self._behind),
            is_full=strokes.size >= limit_bytes or strokes.count >= limit_records,
        )

    def commit(self, offsets: Mapping[int, int]) -> str:
        """Tells the consumer group how far a checkpoint is; what goes wrong is no harm, and is given back."""
        parts = [self._module.TopicPartition(self._topic, number, at) for number, at in offsets.items()]
        try:
            committed = self._consumer.commit(offsets=parts, asynchronous=False)
        except self._module.KafkaException as error:
            return told(error)
        return next((told(part.error) for part in committed if part.error is not None), "")

    def close(self) -> None:
        self._consumer.close()

    def _go_to(self, wanted: Mapping[int, int]) -> None:
        """Assigns the partitions where the reader does not stand there already."""
        if wanted == self._next:
            return
        part = self._module.TopicPartition
        gone = [number for number in self._next if self._next[number] != wanted.get(number)]
        if gone:
            self._consumer.incremental_unassign([part(self._topic, number) for number in gone])
        come = [number for number in wanted if number in gone or number not in self._next]
        if come:
            self._consumer.incremental_assign([part(self._topic, number, wanted[number]) for number in come])
        self._behind = (self._behind & wanted.keys()) | set(come)
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
                    self.partitions()  # says when the brokers are back
                messages = self._consumer.consume(1, min(left, _POLL))  # gives the first as soon as it is there
            good = [message for message in messages if message.error() is None]
            if good:
                before, self.trouble = strokes.size, ""
                self._next |= (ends := strokes.add(self._module.Message, good))
                self._behind |= ends.keys()
                self._message_bytes = max((strokes.size - before) / len(good), 1.0)
            if len(good) < len(messages):
                # Behind the messages: an end that one of them lies behind is none any more.
                for message in messages:
                    if message.error() is not None:
                        self._mark(message)
            waiting = {number for number in self._next if number not in until or self._next[number] < until[number]}

    def _mark(self, message: Any) -> None:
        """Hears a word that came in place of a message."""
        error, number = message.error(), message.partition()
        if error.code() == self._END:
            if message.offset() >= self._next.get(number, message.offset() + 1):
                self._next[number] = message.offset()
                self._behind.discard(number)
                self.trouble = ""
            return
        if error.code() == self._module.KafkaError._AUTO_OFFSET_RESET:
            low, high = self._bounds([number])[number]
            raise SourceError(
                f"source.kafka: offset {self._next.get(number, message.offset())} of {self._topic}/{number} is not"
                f" there any more: the partition holds {low} to {high}; what lies between was lost to the topic's"
                " retention, or the topic was made anew"
            )
        if error.fatal() or not (error.retriable() or error.code() in self._passing()):
            raise SourceError(f"source.kafka: {self._topic}: {told(error)}")
        self.trouble = told(error)

    def _passing(self) -> set[int]:
        """Errors that a cluster has while it starts or moves, and recovers from by itself."""
        return {getattr(self._module.KafkaError, name) for name in _PASSING}

    def _seen_end(self, number: int) -> int:
        at = self._next.get(number, 0)
        if number in self._next and number not in self._behind:
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
        """What the brokers answer to a question that takes the seconds that are left."""
        try:
            return answered(ask, deadline)
        except self._module.KafkaException as error:
            raise SourceError(self._no_answer(error)) from None

    def _no_answer(self, error: Any) -> str:
        """What the client heard, which is more than that its patience ended."""
        if not self._next:  # nothing is lost that a call for messages would give
            self._consumer.consume(1, 0.1)
        return f"source.kafka: no broker of {self._spec.brokers} answers: {self.trouble or told(error)}"

    def _hear(self, error: Any) -> None:
        # That all brokers are down is said last, and says least.
        if not self.trouble or error.code() != self._module.KafkaError._ALL_BROKERS_DOWN:
            self.trouble = told(error)

"""A topic of Kafka as a feed: all its partitions, read by one consumer, a portion at a time."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from transforms.collection.cursor import SourceCursor
from transforms.collection.feed import Portion
from transforms.collection.kafka.ahead import AheadReader
from transforms.collection.kafka.progress import KafkaProgress
from transforms.collection.kafka.reader import KafkaReader
from transforms.collection.kafka.records import KafkaParser, Reading
from transforms.collection.kafka.spec import KafkaSpec
from transforms.process import versions
from transforms.process.progress import BULLETIN

HEARTBEAT_MICROS: Final = 1_000_000
"""After so much silence it is told how long it was: partitions fall silent by it."""

_WAIT_SECONDS: Final = 0.02


def group_of(spec: KafkaSpec, job: str) -> str:
    """The consumer group that shows how far a job is."""
    return spec.group or f"streamgauge-{job}"


@dataclass
class KafkaFeed:
    """A topic, followed; a partition that comes into being is read from its beginning."""

    spec: KafkaSpec
    parser: KafkaParser
    group: str

    def open(self) -> None:
        self._reader = KafkaReader(self.spec, self.group)
        self._ahead = AheadReader(self._reader)
        self._ready: Reading | None = None
        self._ready_for: Mapping[int, int] = {}
        self._behind: frozenset[int] = frozenset({-1})
        self._listened = 0
        self._end = 0
        self._trouble = ""

    def close(self) -> None:
        self._ahead.close()

    def has(self, cursor: SourceCursor) -> bool:
        """Reads ahead of the next portion; waits a moment for it."""
        offsets = self._known(cursor.progress).offsets
        if self._ready is not None and self._ready_for == offsets:
            return True
        self._ready, self._ready_for = None, offsets
        reading = self._ahead.read(offsets, _WAIT_SECONDS)
        self._listened += reading.listened
        self._behind = reading.behind
        self._tell_trouble()
        idles = self.parser.watermark.idle_after is not None
        if reading.fetched or (idles and self._listened >= HEARTBEAT_MICROS):
            self._ready, self._listened = replace(reading, listened=self._listened), 0
        else:
            self._tell_end(sum(offsets.values()))
        return self._ready is not None

    def read(self, cursor: SourceCursor) -> Portion | None:
        if not self.has(cursor) or self._ready is None:
            return None
        reading, self._ready = self._ready, None
        if reading.is_full:
            following = {part.partition: part.next for part in reading.fetched}
            self._ahead.begin({**self._ready_for, **following}, _WAIT_SECONDS)
        flush = self.parser.parse(reading, self._known(cursor.progress))
        left = cursor.after(cursor.chunk + 1, sum(flush.progress.offsets.values()), flush.progress)
        newest = max((int(part.timestamps.max()) for part in reading.fetched if len(part.timestamps)), default=-1)
        received = newest if newest >= 0 else int(time.time() * 1e6)
        return Portion(flush.batches, flush.dead, flush.entries, left, reading.count, received)

    def is_at_end(self, cursor: SourceCursor) -> bool:
        """Whether each partition has said that it has no more; at first none has."""
        return not self._behind and self._ready is None

    def end(self) -> int:
        """As far as the client has seen: to ask the brokers would hold up what is read."""
        self._end = sum(self._reader.seen_ends(self._reader.known).values())
        return self._end

    def _known(self, progress: KafkaProgress) -> KafkaProgress:
        """The progress with the partitions that have come into being meanwhile."""
        new = [number for number in self._reader.partitions() if number not in progress.partitions]
        return progress.beginning_at(self._reader.beginnings(new)) if new else progress

    def _tell_end(self, position: int) -> None:
        """Says what there is where nothing is read: an open transaction waits for its producer, not for this job."""
        before, now = self._end, self.end()
        if now != before:
            BULLETIN.set(position=position, end=now)

    def _tell_trouble(self) -> None:
        if self._reader.trouble != self._trouble:
            BULLETIN.retell(self._trouble, self._reader.trouble)
            self._trouble = self._reader.trouble


def offsets_in(source: Mapping[str, object]) -> dict[int, int]:
    """Where a checkpoint's source goes on in each partition."""
    return KafkaProgress.from_json(source["progress"]).offsets  # type: ignore[arg-type]  # a checkpoint is JSON


def newest_offsets(manifest: str) -> dict[int, int]:
    """Where the newest checkpoint of a manifest goes on in each partition."""
    return offsets_in(versions.content(manifest)["checkpoints"][-1]["source"])

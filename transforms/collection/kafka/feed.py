"""A Kafka topic as a feed: one consumer reads all partitions, one portion at a time."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from transforms.collection.cursor import SourceCursor
from transforms.collection.feed import Portion
from transforms.collection.kafka.ahead import AheadReader
from transforms.collection.kafka.progress import KafkaProgress, offsets_in
from transforms.collection.kafka.reader import KafkaReader
from transforms.collection.kafka.records import KafkaParser, Reading
from transforms.collection.kafka.spec import KafkaSpec
from transforms.process import versions
from transforms.process.progress import Bulletin

HEARTBEAT_MICROS: Final = 1_000_000
"""After this much silence an empty portion reports how long the silence was: it makes partitions idle."""

_WAIT_SECONDS: Final = 0.02


@dataclass
class KafkaFeed:
    """A topic that is followed; a partition that is added is read from its beginning."""

    spec: KafkaSpec
    parser: KafkaParser
    group: str
    bulletin: Bulletin = field(default_factory=Bulletin)

    def open(self) -> None:
        self._reader = KafkaReader(self.spec, self.group)
        self._ahead = AheadReader(self._reader)
        self._ready: Reading | None = None
        self._ready_for: Mapping[int, int] = {}
        self._with_more: frozenset[int] = frozenset({-1})
        self._listened = 0
        self._end = 0
        self._trouble = ""

    def close(self) -> None:
        self._ahead.close()

    def has(self, cursor: SourceCursor) -> bool:
        """Reads the next portion ahead; waits a moment for it."""
        offsets = self._known(cursor.own(KafkaProgress)).offsets
        if self._ready is not None and self._ready_for == offsets:
            return True
        self._ready, self._ready_for = None, offsets
        reading = self._ahead.read(offsets, _WAIT_SECONDS)
        self._listened += reading.listened
        self._with_more = reading.with_more
        self._report_trouble()
        idles = self.parser.watermark.idle_after is not None
        if reading.fetched or (idles and self._listened >= HEARTBEAT_MICROS):
            self._ready, self._listened = replace(reading, listened=self._listened), 0
        else:
            self._report_end(sum(offsets.values()))
        return self._ready is not None

    def read(self, cursor: SourceCursor) -> Portion | None:
        if not self.has(cursor) or self._ready is None:
            return None
        reading, self._ready = self._ready, None
        if reading.is_full:
            following = {part.partition: part.next for part in reading.fetched}
            self._ahead.begin({**self._ready_for, **following}, _WAIT_SECONDS)
        flush = self.parser.parse(reading, self._known(cursor.own(KafkaProgress)))
        left = cursor.after(cursor.chunk + 1, sum(flush.progress.offsets.values()), flush.progress)
        newest = max((int(part.timestamps.max()) for part in reading.fetched if len(part.timestamps)), default=-1)
        received = newest if newest >= 0 else int(time.time() * 1e6)
        return Portion(flush.batches, flush.dead, flush.entries, left, reading.count, received)

    def is_at_end(self, cursor: SourceCursor) -> bool:
        """Whether every partition has reported its end; at first none has."""
        return not self._with_more and self._ready is None

    def end(self) -> int:
        """The end as far as the client has seen it: asking the brokers would delay reading."""
        self._end = sum(self._reader.seen_ends(self._reader.known).values())
        return self._end

    def _known(self, progress: KafkaProgress) -> KafkaProgress:
        """The progress, with the partitions that were added since."""
        new = [number for number in self._reader.partitions() if number not in progress.partitions]
        return progress.beginning_at(self._reader.beginnings(new)) if new else progress

    def _report_end(self, position: int) -> None:
        """Reports the topic's end while nothing is read: an open transaction waits for its producer, not this job."""
        before, now = self._end, self.end()
        if now != before:
            self.bulletin.set(position=position, end=now)

    def _report_trouble(self) -> None:
        if self._reader.trouble != self._trouble:
            self.bulletin.replace_trouble(self._trouble, self._reader.trouble)
            self._trouble = self._reader.trouble


def newest_offsets(manifest: str) -> dict[int, int]:
    """The offset at which a manifest's newest checkpoint resumes in each partition."""
    return offsets_in(versions.content(manifest)["checkpoints"][-1]["source"])

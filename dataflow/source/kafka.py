"""A Kafka topic as a source that can be followed."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam

from dataflow.job.plan import Job
from dataflow.source.live import SourceSpan, resumed
from transforms.collection.cursor import SourceCursor
from transforms.collection.feed import Feed
from transforms.collection.kafka.feed import KafkaFeed, group_of, offsets_in
from transforms.collection.kafka.progress import KafkaProgress
from transforms.collection.kafka.read import CommitFn, ReadKafka
from transforms.collection.kafka.reader import KafkaReader
from transforms.collection.kafka.records import KafkaParser
from transforms.collection.kafka.spec import KafkaSpec
from transforms.collection.parsing.avro import AvroDecoder
from transforms.collection.repair import Overlay
from transforms.errors import SourceError
from transforms.process.progress import Bulletin
from transforms.storage.checkpoint.folder import MANIFEST
from transforms.storage.checkpoint.manifest import Checkpoint, Manifest


def reached(topic: str, source: Mapping[str, Any]) -> Mapping[str, int]:
    """The first unread offset of each partition, from a checkpoint's source."""
    return {f"{topic}/{partition}": offset for partition, offset in offsets_in(source).items()}


@dataclass(frozen=True)
class KafkaSource:
    """A topic with all its partitions."""

    job: Job
    grows = True

    @property
    def spec(self) -> KafkaSpec:
        """The topic as the job file writes it."""
        assert self.job.spec.source.kafka is not None
        return self.job.spec.source.kafka

    def describe(self) -> str:
        return f"topic {self.spec.topic} on {self.spec.brokers}"

    def reached(self) -> Callable[[Mapping[str, Any]], Mapping[str, int]]:
        return partial(reached, self.spec.topic)

    def span(self) -> tuple[int, int]:
        with self._reader() as reader:
            partitions = reader.partitions()
            return sum(reader.beginnings(partitions).values()), sum(reader.ends(partitions).values())

    def begin(self, say: Callable[[str], None]) -> SourceCursor:
        with self._reader() as reader:
            offsets = reader.starts(reader.partitions())
        began = {str(number): at for number, at in offsets.items()}
        progress, position = KafkaProgress().beginning_at(offsets), sum(offsets.values())
        return SourceCursor(1, progress, position, time.time(), began=began)

    def resume(self, checkpoint: Checkpoint) -> SourceCursor:
        offsets = offsets_in(checkpoint.source)
        with self._reader() as reader:
            reader.partitions()  # raises if there is no such topic
            first, end = reader.beginnings(offsets), reader.ends(offsets)
        for number, at in offsets.items():
            if not first[number] <= at <= end[number]:
                raise SourceError(
                    f"{self.spec.topic}/{number} holds offsets {first[number]:,} to {end[number]:,}, and this job"
                    f" resumes at {at:,}; was the topic created again, or did its retention expire? `--begin-anew`"
                    " empties the job's tables and begins with what the topic holds"
                )
        return resumed(checkpoint, KafkaProgress.from_json(checkpoint.source["progress"]))

    def hold(self, manifest: Manifest | None) -> None:
        """A topic keeps what its own retention determines."""

    def feed(self, overlay: Overlay, bulletin: Bulletin) -> Feed:
        return KafkaFeed(self.spec, self._parser(overlay, bulletin), self._group, bulletin)

    def after_checkpoint(self) -> beam.DoFn:
        return CommitFn(self.spec, self._group, f"{self.job.state}/{MANIFEST}")

    def words_of(self, part: SourceSpan) -> str:
        start = part.start.progress.offsets
        return ", ".join(f"offsets {start[number]:,} to {end - 1:,} of {number}" for number, end in part.end.items())

    def is_empty(self, part: SourceSpan) -> bool:
        return bool(part.start.progress.offsets == part.end)

    def end(self) -> int | None:
        return None

    def reading(self, part: SourceSpan, overlay: Overlay, bulletin: Bulletin) -> beam.PTransform:
        parser, start = self._parser(overlay, bulletin), part.start.progress
        return ReadKafka(spec=self.spec, parser=parser, start=start, end=part.end, bulletin=bulletin)

    def whole(self) -> SourceSpan:
        start = self.begin(lambda _: None)
        with self._reader() as reader:
            return SourceSpan(start, reader.ends(start.progress.partitions))

    def until(self, checkpoint: Checkpoint) -> SourceSpan | None:
        """A partition that was added later began at its beginning."""
        end = offsets_in(checkpoint.source)
        began = {int(number): at for number, at in checkpoint.source["began"].items()}
        with self._reader() as reader:
            first = reader.beginnings(end)
        if any(first[number] > began.get(number, 0) for number in end):
            return None
        start = {number: began.get(number, first[number]) for number in end}
        return SourceSpan(SourceCursor(1, KafkaProgress().beginning_at(start)), end)

    def between(self, before: Checkpoint, after: Checkpoint) -> SourceSpan | None:
        end = offsets_in(after.source)
        cursor = resumed(before, KafkaProgress.from_json(before.source["progress"]))
        with self._reader() as reader:
            first = reader.beginnings(end)
        known = cursor.progress.offsets
        if any(first[number] > known.get(number, 0) for number in end):
            return None
        new = {number: first[number] for number in end if number not in known}
        return SourceSpan(SourceCursor(cursor.chunk, cursor.progress.beginning_at(new), shift=cursor.shift), end)

    @property
    def _group(self) -> str:
        return group_of(self.spec, self.job.spec.job)

    @contextmanager
    def _reader(self) -> Iterator[KafkaReader]:
        reader = KafkaReader(self.spec, self._group)
        try:
            yield reader
        finally:
            reader.close()

    def _parser(self, overlay: Overlay, bulletin: Bulletin) -> KafkaParser:
        spec, registry = self.job.spec, self.spec.schema_registry
        avro = AvroDecoder.of(registry, self.job.schema, bulletin) if registry is not None else None
        return KafkaParser(self.spec.topic, self.job.schema, spec.watermark, spec.record.max_future, overlay, avro)

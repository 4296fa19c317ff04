"""A Kafka topic as a source: followed, and read again as far as its retention goes back."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from transforms.collection.cursor import SourceCursor
from transforms.collection.feed import Feed
from transforms.collection.kafka.progress import KafkaProgress, offsets_in
from transforms.collection.kafka.spec import KafkaSourceSpec, KafkaSpec
from transforms.collection.repair import Overlay
from transforms.collection.source import Occupied, Source, SourceCheckpoint, SourceSpan
from transforms.errors import SourceError
from transforms.location import NamedPath
from transforms.process.progress import Bulletin
from transforms.specification import Spec

if TYPE_CHECKING:
    from transforms.collection.kafka.reader import KafkaReader
    from transforms.collection.kafka.records import KafkaParser


@dataclass(frozen=True, kw_only=True)
class KafkaSource(Source):
    """A topic with all its partitions. A stretch of it ends before an offset in each partition."""

    options: KafkaSpec

    kind: ClassVar[str] = "kafka"
    spec: ClassVar[type[Spec]] = KafkaSourceSpec
    follows: ClassVar[bool] = True
    replays: ClassVar[bool] = True
    has_open_range: ClassVar[bool] = True
    progress: ClassVar[type[KafkaProgress]] = KafkaProgress

    @classmethod
    def paths(cls, spec: KafkaSourceSpec) -> Iterator[NamedPath]:
        yield from spec.kafka.key_files(("kafka",))

    @classmethod
    def occupied(cls, spec: KafkaSourceSpec) -> Iterator[Occupied]:
        topic, brokers = spec.kafka.topic, spec.kafka.brokers
        place = f"kafka {brokers}, topic {topic}"
        yield Occupied("the topic that the job reads", place, spec.kafka.places_of(topic))

    @classmethod
    def form(cls, spec: KafkaSourceSpec) -> str:
        return spec.kafka.format

    def describe(self) -> str:
        return f"topic {self.options.topic} on {self.options.brokers}"

    def title(self) -> str:
        return f"kafka: {self.options.topic} on {self.options.brokers}"

    def whole(self) -> SourceSpan:
        start = self.begin(lambda _: None)
        with self._reader() as reader:
            return SourceSpan(start, reader.ends(start.own(KafkaProgress).partitions))

    def reading(self, span: SourceSpan, overlay: Overlay, bulletin: Bulletin) -> Any:
        from transforms.collection.kafka.read import ReadKafka

        parser, start = self._parser(overlay, bulletin), span.start.own(KafkaProgress)
        return ReadKafka(spec=self.options, parser=parser, start=start, end=span.end, bulletin=bulletin)

    # Following.

    def begin(self, say: Callable[[str], None]) -> SourceCursor:
        with self._reader() as reader:
            offsets = reader.starts(reader.partitions())
        began = {str(number): at for number, at in offsets.items()}
        progress, position = KafkaProgress().beginning_at(offsets), sum(offsets.values())
        return SourceCursor(1, progress, position, time.time(), began=began)

    def resume(self, checkpoint: SourceCheckpoint) -> SourceCursor:
        cursor = self.resumed(checkpoint)
        offsets = cursor.own(KafkaProgress).offsets
        with self._reader() as reader:
            reader.partitions()  # raises if there is no such topic
            first, end = reader.beginnings(offsets), reader.ends(offsets)
        for number, at in offsets.items():
            if not first[number] <= at <= end[number]:
                raise SourceError(
                    f"{self.options.topic}/{number} holds offsets {first[number]:,} to {end[number]:,}, and this job"
                    f" resumes at {at:,}; was the topic created again, or did its retention expire? `--begin-anew`"
                    " empties the job's tables and begins with what the topic holds"
                )
        return cursor

    def feed(self, overlay: Overlay, bulletin: Bulletin) -> Feed:
        from transforms.collection.kafka.feed import KafkaFeed

        return KafkaFeed(self.options, self._parser(overlay, bulletin), self._group, bulletin)

    def after_checkpoint(self) -> Any:
        from transforms.collection.kafka.read import CommitFn

        return CommitFn(self.options, self._group, self.work.manifest)

    def span(self) -> tuple[int, int]:
        with self._reader() as reader:
            partitions = reader.partitions()
            return sum(reader.beginnings(partitions).values()), sum(reader.ends(partitions).values())

    def reached(self, source: Mapping[str, Any]) -> Mapping[str, int]:
        return {f"{self.options.topic}/{partition}": offset for partition, offset in offsets_in(source).items()}

    # Reading a stretch again.

    def until(self, checkpoint: SourceCheckpoint) -> SourceSpan | None:
        """A partition that was added later began at its beginning."""
        end = self.resumed(checkpoint).own(KafkaProgress).offsets
        began = {int(number): at for number, at in checkpoint.source["began"].items()}
        with self._reader() as reader:
            first = reader.beginnings(end)
        if any(first[number] > began.get(number, 0) for number in end):
            return None
        start = {number: began.get(number, first[number]) for number in end}
        return SourceSpan(SourceCursor(1, KafkaProgress().beginning_at(start)), end)

    def to_hold_more(self) -> str:
        return "Keep more of it by the topic's retention"

    def between(self, before: SourceCheckpoint, after: SourceCheckpoint) -> SourceSpan | None:
        end, cursor = offsets_in(after.source), self.resumed(before)
        with self._reader() as reader:
            first = reader.beginnings(end)
        progress = cursor.own(KafkaProgress)
        if any(first[number] > progress.offsets.get(number, 0) for number in end):
            return None
        new = {number: first[number] for number in end if number not in progress.offsets}
        return SourceSpan(SourceCursor(cursor.chunk, progress.beginning_at(new), shift=cursor.shift), end)

    def is_empty(self, span: SourceSpan) -> bool:
        return bool(span.start.own(KafkaProgress).offsets == span.end)

    def words_of(self, span: SourceSpan) -> str:
        start = span.start.own(KafkaProgress).offsets
        return ", ".join(f"offsets {start[number]:,} to {end - 1:,} of {number}" for number, end in span.end.items())

    @property
    def _group(self) -> str:
        """The consumer group whose offsets show the job's progress."""
        return self.options.group or f"streamgauge-{self.work.job}"

    @contextmanager
    def _reader(self) -> "Iterator[KafkaReader]":
        from transforms.collection.kafka.reader import KafkaReader

        reader = KafkaReader(self.options, self._group)
        try:
            yield reader
        finally:
            reader.close()

    def _parser(self, overlay: Overlay, bulletin: Bulletin) -> "KafkaParser":
        from transforms.collection.kafka.records import KafkaParser
        from transforms.collection.parsing.avro import AvroDecoder

        work, registry = self.work, self.options.schema_registry
        avro = AvroDecoder.of(registry, work.schema, bulletin) if registry is not None else None
        return KafkaParser(self.options.topic, work.schema, work.watermark, work.record.max_future, overlay, avro)

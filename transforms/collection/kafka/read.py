"""Reads a topic to an end, partition by partition; and commits a live job's progress to its consumer group."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import apache_beam as beam
import pyarrow as pa

from transforms.collection.kafka.feed import newest_offsets
from transforms.collection.kafka.progress import KafkaProgress
from transforms.collection.kafka.reader import KafkaReader
from transforms.collection.kafka.records import KafkaParser
from transforms.collection.kafka.spec import KafkaSpec
from transforms.process.progress import Bulletin
from transforms.record.branches import BOOKS, Emitted, Outputs, branching


class ReadPartitionFn(beam.DoFn):
    """(partition, progress before, end offset) to batches, with the side outputs `dead_letters` and `ledger`."""

    def __init__(self, spec: KafkaSpec, parser: KafkaParser, bulletin: Bulletin):
        self._spec = spec
        self._parser = parser
        self._bulletin = bulletin

    def process(self, element: tuple[int, KafkaProgress, int]) -> Iterator[Emitted]:
        partition, progress, end = element
        reader = KafkaReader(self._spec)
        try:
            while progress.partitions[partition].next < end:
                reading = reader.read(progress.offsets, until={partition: end})
                # Reading to an end never waits, so no partition falls silent.
                flush = self._parser.parse(replace(reading, listened=0), progress)
                progress = flush.progress
                self._bulletin.tally.add(reading.count, flush.dead.num_rows)
                yield from flush.batches
                for tag, batch in zip(BOOKS, (flush.dead, flush.entries), strict=True):
                    if batch.num_rows:
                        yield beam.pvalue.TaggedOutput(tag, batch)
        finally:
            reader.close()


@dataclass(eq=False, kw_only=True)
class ReadKafka(beam.PTransform):
    """Reads a topic from `start` to before the offsets `end`.

    Out: `batches`, `dead_letters` and `ledger`, like `Follow`.
    """

    spec: KafkaSpec
    parser: KafkaParser
    start: KafkaProgress
    end: Mapping[int, int]
    bulletin: Bulletin = field(default_factory=Bulletin)

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, pipeline: beam.Pipeline) -> Outputs:
        parts = [
            (number, replace(self.start, partitions={number: known}), self.end[number])
            for number, known in self.start.partitions.items()
        ]
        partitions = pipeline | "Partitions" >> beam.Create(parts, reshuffle=False) | "Spread" >> beam.Reshuffle()
        return partitions | "Read" >> branching(ReadPartitionFn(self.spec, self.parser, self.bulletin), *BOOKS)


class CommitFn(beam.DoFn):
    """Commits the offsets of each tick to the consumer group, once everything before the tick is stored."""

    def __init__(self, spec: KafkaSpec, group: str, manifest: str):
        self._spec = spec
        self._group = group
        self._manifest = manifest

    def setup(self) -> None:
        self._reader = KafkaReader(self._spec, self._group)

    def process(self, tick: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        # The checkpoint holds the offsets to resume from, so unreachable brokers cause no loss.
        self._reader.commit(newest_offsets(self._manifest))
        yield tick

    def teardown(self) -> None:
        self._reader.close()

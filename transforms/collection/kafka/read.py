"""Reading a topic to an end, partition by partition; and telling its brokers how far a live job is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import pyarrow as pa

from transforms.collection.kafka.feed import newest_offsets
from transforms.collection.kafka.progress import KafkaProgress
from transforms.collection.kafka.reader import KafkaReader
from transforms.collection.kafka.records import KafkaParser
from transforms.collection.kafka.spec import KafkaSpec
from transforms.process.progress import TALLY
from transforms.record.branches import BOOKS, branching


class ReadPartitionFn(beam.DoFn):
    """(partition, progress before, offset to end at) to batches; tagged `dead_letters` and `ledger` beside them."""

    def __init__(self, spec: KafkaSpec, parser: KafkaParser):
        self._spec = spec
        self._parser = parser

    def process(self, element: tuple[int, KafkaProgress, int]) -> Iterator[Any]:
        partition, progress, end = element
        reader = KafkaReader(self._spec)
        try:
            while progress.partitions[partition].next < end:
                reading = reader.read(progress.offsets, until={partition: end})
                # To an end nobody waits, so nobody is silent.
                flush = self._parser.parse(replace(reading, listened=0), progress)
                progress = flush.progress
                TALLY.add(reading.count, flush.dead.num_rows)
                yield from flush.batches
                for tag, batch in zip(BOOKS, (flush.dead, flush.entries), strict=True):
                    if batch.num_rows:
                        yield beam.pvalue.TaggedOutput(tag, batch)
        finally:
            reader.close()


@dataclass(eq=False, kw_only=True)
class ReadKafka(beam.PTransform):
    """Reads a topic from `start` to before the offsets `end`.

    Out: `batches`, `dead_letters` and `ledger`, as `Follow`.
    """

    spec: KafkaSpec
    parser: KafkaParser
    start: KafkaProgress
    end: Mapping[int, int]

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, pipeline: beam.Pipeline) -> Any:
        parts = [
            (number, replace(self.start, partitions={number: known}), self.end[number])
            for number, known in self.start.partitions.items()
        ]
        partitions = pipeline | "Partitions" >> beam.Create(parts, reshuffle=False) | "Spread" >> beam.Reshuffle()
        return partitions | "Read" >> branching(ReadPartitionFn(self.spec, self.parser), *BOOKS)


class CommitFn(beam.DoFn):
    """Ticks behind which everything is stored, to the consumer group that shows how far the job is."""

    def __init__(self, spec: KafkaSpec, group: str, manifest: str):
        self._spec = spec
        self._group = group
        self._manifest = manifest

    def setup(self) -> None:
        self._reader = KafkaReader(self._spec, self._group)

    def process(self, tick: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        # Where the job goes on stands in the checkpoint; brokers that are out of reach miss nothing.
        self._reader.commit(newest_offsets(self._manifest))
        yield tick

    def teardown(self) -> None:
        self._reader.close()

"""The aggregation as a transform: batches in, the rows of its tables out."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Final

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from transforms.aggregation.lateness import timely
from transforms.aggregation.live import Shard, decode_state, encode_state
from transforms.aggregation.summary import Summary
from transforms.aggregation.timeline import Output, Timeline
from transforms.process.threads import pool
from transforms.record.batch import empty
from transforms.record.branches import Emitted, Tables
from transforms.record.coder import RecordBatchCoder
from transforms.specification import Micros

_COMPACT_BYTES = 8 << 20
"""Partials of a bundle wait until they are this large, and as large as the partial that they are merged into. So a
bundle holds groups, not rows, and each group is merged about as often as the logarithm of the number of batches."""


class SummarizeFn(beam.DoFn):
    """Batches to (shard, partial): one partial a shard and bundle, however many batches the bundle has."""

    def __init__(self, summary: Summary, shards: int, threads: int = 1, number: int = 0):
        self._summary = summary
        self._number = number
        self._shards = shards
        self._threads = threads

    def start_bundle(self) -> None:
        self._begun: deque[Future[pa.RecordBatch]] = deque()
        self._partials: list[pa.RecordBatch] = []
        self._waiting = self._merged = 0

    def process(self, batch: pa.RecordBatch) -> None:
        on_time = timely(batch, self._number)
        self._begun.append(pool(self._threads).submit(self._summary.summarize, on_time))
        while len(self._begun) > self._threads:
            self._take(self._begun.popleft().result())

    def finish_bundle(self) -> Iterator[WindowedValue]:
        while self._begun:
            self._take(self._begun.popleft().result())
        merged = self._summary.merge(self._partials)
        for shard, partial in self._summary.by_shard(merged, self._shards).items():
            yield WindowedValue((shard, partial), MIN_TIMESTAMP, [GlobalWindow()])
        self._partials = []

    def _take(self, partial: pa.RecordBatch) -> None:
        self._partials.append(partial)
        self._waiting += partial.nbytes
        if self._waiting > max(_COMPACT_BYTES, self._merged):
            merged = self._summary.merge(self._partials)
            self._partials, self._waiting, self._merged = [merged], 0, merged.nbytes


class MergeFn(beam.CombineFn):
    """Partials to one partial; the algebra is the summary's."""

    def __init__(self, summary: Summary):
        self._summary = summary

    def create_accumulator(self) -> list[pa.RecordBatch]:
        return []

    def add_input(self, accumulator: list[pa.RecordBatch], partial: pa.RecordBatch) -> list[pa.RecordBatch]:
        accumulator.append(partial)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[list[pa.RecordBatch]]) -> list[pa.RecordBatch]:
        return [self._summary.merge([partial for accumulator in accumulators for partial in accumulator])]

    def compact(self, accumulator: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
        return [self._summary.merge(accumulator)]

    def extract_output(self, accumulator: list[pa.RecordBatch]) -> pa.RecordBatch:
        return self._summary.merge(accumulator)

    def get_accumulator_coder(self) -> beam.coders.Coder:
        return beam.coders.ListCoder(RecordBatchCoder())


SNAPSHOTS: Final = "snapshots"


class CloseFn(beam.DoFn):
    """(shard, partial) to rows: the windows of a bounded source, closed in event-time order.

    With `through`, it closes only the windows due by that watermark, and emits the rest of the state as a snapshot.
    """

    def __init__(self, timeline: Timeline, seeds: Mapping[int, bytes], through: int | None, number: int):
        self._timeline = timeline
        self._seeds = seeds
        self._through = through
        self._number = number

    def process(self, element: tuple[int, pa.RecordBatch]) -> Iterator[Emitted]:
        shard, partial = element
        seed = self._seeds.get(shard)
        state = self._timeline.start() if seed is None else decode_state(seed)
        state, tables, _ = self._timeline.advance(state, [partial], self._through)  # it has published nothing early
        for index, rows in enumerate(tables.values()):
            closed = rows if self._through is None else rows.filter(rows["final"])
            yield beam.pvalue.TaggedOutput(str(index), closed)
        if self._through is not None:
            # Provisional rows are not emitted here: the job that resumes from this snapshot publishes them all again.
            again = Shard(replace(state, shown=None), self._through)
            yield beam.pvalue.TaggedOutput(SNAPSHOTS, again.to_parcel(self._number, shard))


@dataclass(eq=False, kw_only=True)
class AggregateBounded(beam.PTransform):
    """Closes every window of every key of a bounded collection of batches.

    In: batches with EVENT_TIME, POSITION and the columns that keys and measures read. Out: a dictionary from
    each output's table to a `PCollection[RecordBatch]` of its schema. A key's rows come from one shard; shards
    bound what one worker holds and never change a figure.

    Args:
        summary: keys, window and measures.
        outputs: the tables to make of closed windows.
        shards: how many ways the keys are cut.
        threads: how many batches a worker summarizes at once.
        number: the aggregation's number in a job whose records can be late.
        seeds: each shard with the snapshot that it resumes from; either all `shards` have one, or none has.
        through: the watermark by which windows must have closed, `lateness` (µs) after their ends; None: all close.
            If it is given, `SNAPSHOTS` holds the state that is left, one parcel a shard.
    """

    summary: Summary
    outputs: Sequence[Output]
    shards: int = 8
    threads: int = 1
    number: int = 0
    seeds: Sequence[tuple[int, pa.RecordBatch]] = ()
    through: int | None = None
    lateness: Micros = Micros(0)

    def __post_init__(self) -> None:
        super().__init__()
        if self.shards < 1:
            raise ValueError(f"shards must be at least 1, is {self.shards}")

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> Tables:
        keyed = tuple[int, pa.RecordBatch]
        tags = [*(str(index) for index in range(len(self.outputs))), SNAPSHOTS]
        summarize_fn = SummarizeFn(self.summary, self.shards, self.threads, self.number)
        partials = batches | "Summarize" >> beam.ParDo(summarize_fn).with_output_types(keyed)
        states = {shard: encode_state(Shard.from_parcel(snapshot).state) for shard, snapshot in self.seeds}
        if states or self.through is not None:
            # A shard without new records still has old windows to close, and a state to pass on.
            nothing = [(shard, empty(self.summary.schema)) for shard in range(self.shards)]
            old = batches.pipeline | "Every shard" >> beam.Create(nothing).with_output_types(keyed)
            partials = (partials, old) | "Partials" >> beam.Flatten()
        merged = partials | "Merge" >> beam.CombinePerKey(MergeFn(self.summary)).with_output_types(keyed)
        close_fn = CloseFn(Timeline(self.summary, self.outputs, self.lateness), states, self.through, self.number)
        typed = dict.fromkeys(tags, pa.RecordBatch)
        closed = merged | "Close" >> beam.ParDo(close_fn).with_output_types(pa.RecordBatch, **typed).with_outputs(*tags)
        tables = {output.table: closed[tag] for output, tag in zip(self.outputs, tags, strict=False)}
        return tables | ({SNAPSHOTS: closed[SNAPSHOTS]} if self.through is not None else {})

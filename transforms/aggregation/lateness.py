"""Lateness: a record is late for an aggregation when its slice had closed before the record arrived.

The watermark that the source had reached before the record decides. The record carries it, so every run decides the
same. Nothing late is dropped silently: a record becomes a dead letter for each aggregation that it is too late for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import apache_beam as beam
import numpy as np
import pyarrow as pa

from transforms.aggregation.spec import AggregationSpec
from transforms.record import ledger
from transforms.record.batch import EVENT_TIME, LATE, PAYLOAD, POSITION, RANGE, WATERMARK, origin_of, set_column
from transforms.record.branches import BOOKS, Branched, Outputs, branching
from transforms.record.dead_letter import dead_letters
from transforms.specification import format_duration, microseconds
from transforms.time.event_time import as_instants
from transforms.time.watermark import NEVER

LATE_REASON: Final = "late"


@dataclass(frozen=True, slots=True)
class Judged:
    """A batch with LATE instead of WATERMARK and PAYLOAD, its dead letters, and the changes of the ledger."""

    batch: pa.RecordBatch
    dead: tuple[pa.RecordBatch, ...]
    entries: pa.RecordBatch


def judge(batch: pa.RecordBatch, aggregations: Sequence[AggregationSpec]) -> Judged:
    """Determines for which aggregations each record is late, and removes records that are late for all of them."""
    stood = batch[WATERMARK].to_numpy()
    late = np.zeros((len(aggregations), batch.num_rows), bool)
    dead = []
    if batch.num_rows and stood.max() > NEVER:
        for number, aggregation in enumerate(aggregations):
            window, allowed = aggregation.window, microseconds(aggregation.allowed_lateness)
            closed_at = window.slice_ends(window.slices(batch[EVENT_TIME])) + allowed
            late[number] = closed_at <= stood
            rows = np.flatnonzero(late[number])
            if len(rows):
                dead.append(_letters(batch, rows, aggregation.name, (stood - closed_at)[rows]))
    for_all, for_some = late.all(axis=0), late.any(axis=0)
    ranges, range_of = np.unique(batch[RANGE].to_numpy(), return_inverse=True)
    lost = np.bincount(range_of[for_all], minlength=len(ranges)).astype(np.int64)
    partly = np.bincount(range_of[for_some & ~for_all], minlength=len(ranges)).astype(np.int64)
    entries = ledger.entries(origin_of(batch).source, ranges, accepted=-lost, late=lost, partly_late=partly)
    bits = (late.astype(np.int64) << np.arange(len(aggregations))[:, None]).sum(axis=0)
    batch = set_column(batch.drop_columns([WATERMARK, PAYLOAD]), LATE, pa.array(bits))
    if for_all.any():
        batch = batch.filter(pa.array(~for_all))
    return Judged(batch, tuple(dead), entries)


def timely(batch: pa.RecordBatch, number: int) -> pa.RecordBatch:
    """The records that are in time for the aggregation of this number; all of them if none can be late."""
    if LATE not in batch.schema.names:
        return batch
    on_time = (batch[LATE].to_numpy() >> number) & 1 == 0
    return batch if on_time.all() else batch.filter(pa.array(on_time))


def _letters(batch: pa.RecordBatch, rows: Any, name: str, too_late: Any) -> pa.RecordBatch:
    lost = batch.take(pa.array(rows))
    return dead_letters(
        origin_of(batch).source,
        f"aggregation:{name}",
        positions=lost[POSITION].to_pylist(),
        reasons=[LATE_REASON] * len(rows),
        details=[
            f"{format_duration(timedelta(microseconds=int(by)))} after its slice closed" for by in too_late.tolist()
        ],
        payloads=lost[PAYLOAD].to_pylist(),
        event_times=as_instants(lost[EVENT_TIME]).tolist(),
    )


class JudgeFn(beam.DoFn):
    """Batch to batch, with the side outputs `dead_letters` and `ledger`."""

    def __init__(self, aggregations: Sequence[AggregationSpec]):
        self._aggregations = aggregations

    def process(self, batch: pa.RecordBatch) -> Iterator[Branched]:
        judged = judge(batch, self._aggregations)
        for letters in judged.dead:
            yield beam.pvalue.TaggedOutput("dead_letters", letters)
        yield beam.pvalue.TaggedOutput("ledger", judged.entries)
        if judged.batch.num_rows:
            yield judged.batch


@dataclass(eq=False, kw_only=True)
class JudgeLateness(beam.PTransform):
    """Separates late records from the batches of a log.

    In: batches with WATERMARK, RANGE and PAYLOAD. Out: `batches` with LATE instead, `dead_letters` (stage
    `aggregation:NAME`) and `ledger` (records that were accepted before and are late).
    """

    aggregations: Sequence[AggregationSpec]

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> Outputs:
        return batches | "Judge" >> branching(JudgeFn(self.aggregations), *BOOKS)

"""Preprocessing: the steps of a job, in order, over every batch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa

from transforms.preprocessing.steps import Step, Stepped
from transforms.record import ledger
from transforms.record.batch import EVENT_TIME, PAYLOAD, POSITION, RANGE, WATERMARK, origin_of, with_origin
from transforms.record.branches import BOOKS, Branched, Outputs, branching
from transforms.record.dead_letter import dead_letters
from transforms.record.payload import written
from transforms.time.event_time import as_instants


@dataclass(frozen=True, slots=True)
class Preprocessed:
    """The result of all steps for a batch."""

    batch: pa.RecordBatch
    dead: tuple[pa.RecordBatch, ...]
    filtered: int


def preprocess(batch: pa.RecordBatch, steps: Sequence[Step]) -> Preprocessed:
    """Runs the steps in order; the result keeps its payloads only if its records may still be late."""
    origin, dead, filtered = origin_of(batch), [], 0
    for step in steps:
        if not batch.num_rows:
            # The columns that steps add must exist even so.
            batch = step.kernel(batch).batch
            continue
        stepped: Stepped = step.kernel(batch)
        if stepped.failed:
            dead.append(_dead_letters(batch, step, stepped.failed, origin.source))
        filtered += stepped.filtered
        batch = stepped.batch
    if PAYLOAD in batch.schema.names and WATERMARK not in batch.schema.names:
        batch = batch.drop_columns([PAYLOAD])
    return Preprocessed(with_origin(batch, origin), tuple(dead), filtered)


def _dead_letters(batch: pa.RecordBatch, step: Step, failed: Mapping[int, str], source: str) -> pa.RecordBatch:
    rows = sorted(failed)
    lost = batch.take(pa.array(rows))
    payloads = written(lost[PAYLOAD]) if PAYLOAD in lost.schema.names else [None] * len(rows)
    return dead_letters(
        source,
        f"preprocess:{step.name}",
        positions=lost[POSITION].to_pylist(),
        reasons=[str(step.reason)] * len(rows),
        details=[failed[row] for row in rows],
        payloads=payloads,
        event_times=as_instants(lost[EVENT_TIME]).tolist(),
    )


def entries(batch: pa.RecordBatch, result: Preprocessed) -> pa.RecordBatch:
    """A ledger entry for each range of a batch's records: what became of them."""
    origin = origin_of(batch)
    dead = sum(letters.num_rows for letters in result.dead)
    if RANGE not in batch.schema.names:
        counts = {"accepted": result.batch.num_rows, "dead": dead, "filtered": result.filtered}
        return ledger.entry(origin.source, origin.first_position, **counts)
    range_of = batch[RANGE].to_numpy()
    ranges = np.unique(range_of)
    accepted = ledger.tally(result.batch[RANGE].to_numpy(), ranges)
    at = batch[POSITION].to_numpy()
    order = np.argsort(at, kind="stable")
    lost = np.concatenate([letters["position"].to_numpy() for letters in result.dead] or [np.empty(0, np.int64)])
    failed = ledger.tally(range_of[order[np.searchsorted(at, lost, sorter=order)]], ranges)
    filtered = ledger.tally(range_of, ranges) - accepted - failed
    return ledger.entries(origin.source, ranges, accepted=accepted, dead=failed, filtered=filtered)


class PreprocessFn(beam.DoFn):
    """Batch to batch, with the side outputs `dead_letters` and `ledger`."""

    def __init__(self, steps: Sequence[Step]):
        self._steps = steps

    def process(self, batch: pa.RecordBatch) -> Iterator[Branched]:
        result = preprocess(batch, self._steps)
        for letters in result.dead:
            yield beam.pvalue.TaggedOutput("dead_letters", letters)
        yield beam.pvalue.TaggedOutput("ledger", entries(batch, result))
        if result.batch.num_rows:
            yield result.batch


@dataclass(eq=False, kw_only=True)
class Preprocess(beam.PTransform):
    """Cleans, derives, filters and splits batches, by steps planned with `plan_step`.

    Out: `batches` with the columns after the last step, `dead_letters` (stage `preprocess:STEP`) and `ledger`
    (what was accepted, filtered and dead). Event times and positions stay unchanged.
    """

    steps: Sequence[Step]

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> Outputs:
        return batches | "Steps" >> branching(PreprocessFn(self.steps), *BOOKS)

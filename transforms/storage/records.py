"""The books of a run: dead letters with the time and number of their failures, and the sums of ledger entries."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import apache_beam as beam
import pyarrow as pa

from transforms.record import ledger
from transforms.record.batch import set_column
from transforms.record.coder import RecordBatchCoder


def stamped(letters: pa.RecordBatch, failed_at: datetime, attempts: Mapping[tuple[str, int], int]) -> pa.RecordBatch:
    """Dead letters with the time and number of their failures: one, and one for each earlier replay."""
    stamp = pa.array([failed_at] * letters.num_rows, pa.timestamp("us", "UTC"))
    letters = set_column(letters, "failed_at", stamp)
    if attempts:
        places = zip(letters["source"].to_pylist(), letters["position"].to_pylist(), strict=True)
        tried = [attempts.get(place, 0) + 1 for place in places]
        letters = set_column(letters, "attempts", pa.array(tried, pa.int64()))
    return letters


class StampFn(beam.DoFn):
    """Dead letters to dead letters with `failed_at` and `attempts`."""

    def __init__(self, failed_at: datetime, attempts: Mapping[tuple[str, int], int]):
        self._failed_at = failed_at
        self._attempts = attempts

    def process(self, letters: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        yield stamped(letters, self._failed_at, self._attempts)


@dataclass(eq=False, kw_only=True)
class StampLetters(beam.PTransform):
    """Adds to dead letters the time and number of their failures: one, and one for each earlier replay."""

    failed_at: datetime
    attempts: Mapping[tuple[str, int], int]

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, letters: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[pa.RecordBatch]:
        return letters | beam.ParDo(StampFn(self.failed_at, self.attempts)).with_output_types(pa.RecordBatch)


class MergeEntriesFn(beam.CombineFn):
    """Ledger entries to one ledger."""

    def create_accumulator(self) -> list[pa.RecordBatch]:
        return []

    def add_input(self, accumulator: list[pa.RecordBatch], entry: pa.RecordBatch) -> list[pa.RecordBatch]:
        accumulator.append(entry)
        return accumulator if len(accumulator) < 1000 else [ledger.merge(accumulator)]

    def merge_accumulators(self, accumulators: Iterable[list[pa.RecordBatch]]) -> list[pa.RecordBatch]:
        return [ledger.merge([entry for accumulator in accumulators for entry in accumulator])]

    def compact(self, accumulator: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
        return [ledger.merge(accumulator)]

    def extract_output(self, accumulator: list[pa.RecordBatch]) -> pa.RecordBatch:
        return ledger.merge(accumulator)

    def get_accumulator_coder(self) -> beam.coders.Coder:
        return beam.coders.ListCoder(RecordBatchCoder())


@dataclass(eq=False)
class CloseLedger(beam.PTransform):
    """Adds up the entries of every stage: a row a range."""

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, entries: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[pa.RecordBatch]:
        merged: Any = entries | "Merge" >> beam.CombineGlobally(MergeEntriesFn()).with_output_types(pa.RecordBatch)
        return merged

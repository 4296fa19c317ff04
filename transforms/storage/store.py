"""Storing: the workers stage the tables that they make, and one step after them publishes all tables."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

import transforms.record.coder  # noqa: F401  # registers the Arrow coder
from transforms.storage.publish import Outcome, Plan, publish
from transforms.storage.staging import Receipt, StagedFile
from transforms.storage.tables import Table

TableRows: TypeAlias = "beam.PCollection[pa.RecordBatch] | tuple[beam.PCollection[pa.RecordBatch], ...]"
"""The rows of a table, as one collection or several."""


class StageFn(beam.DoFn):
    """Batches of one table to a receipt a bundle."""

    def __init__(self, table: Table, folder: str):
        self._table = table
        self._folder = folder

    def start_bundle(self) -> None:
        self._writer: StagedFile | None = None

    def process(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        if self._writer is None:
            self._writer = StagedFile(self._table, self._folder)
        self._writer.add(batch)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._writer is not None:
            yield WindowedValue(self._writer.close(), MIN_TIMESTAMP, [GlobalWindow()])


class PublishFn(beam.DoFn):
    """All receipts of a run to its outcome."""

    def __init__(self, plan: Plan):
        self._plan = plan

    def process(self, element: tuple[int, Iterable[Receipt | None]]) -> Iterator[Outcome]:
        _, receipts = element
        yield publish(self._plan, [receipt for receipt in receipts if receipt is not None])


@dataclass(eq=False, kw_only=True)
class Store(beam.PTransform):
    """Stages every table of `plan` and, when all are complete, publishes them together.

    In: a dictionary from table to a `PCollection[RecordBatch]` of its schema, or several. Each collection is staged
    where it is made; joining them first would send their rows from worker to worker. Out: the run's Outcome.
    """

    plan: Plan

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, tables: Mapping[str, TableRows]) -> "beam.PCollection[Outcome]":
        staged = [
            rows
            | f"Stage {name}{f', part {number + 1}' if number else ''}"
            >> beam.ParDo(StageFn(self.plan.tables[name], self.plan.staging(name))).with_output_types(Receipt)
            for name, table in tables.items()
            for number, rows in enumerate(table if isinstance(table, tuple) else (table,))
        ]
        pipeline = staged[0].pipeline
        # One element of our own, so that a run without a single row is published too.
        signal = pipeline | "Signal" >> beam.Create([None])
        return (
            (*staged, signal)
            | "Receipts" >> beam.Flatten()
            | "Together" >> beam.WithKeys(0)
            | "Await all" >> beam.GroupByKey()
            | "Publish" >> beam.ParDo(PublishFn(self.plan))
        )

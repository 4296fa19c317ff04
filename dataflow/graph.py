"""The picture of a job, in code.

          +-- dead letters, ledger ----------------------------------------------+
read -----+--> preprocess ---> summarize == by shard ==> close windows ---> store (published together)
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import apache_beam as beam
import pyarrow as pa

from dataflow.job import Job
from transforms.aggregation.aggregate import AggregatePerKey
from transforms.collection.files import FileRange
from transforms.collection.read import FileReader, ReadFiles
from transforms.collection.repair import Overlay
from transforms.preprocessing.preprocess import Preprocess
from transforms.storage.publish import DEAD_LETTERS, LEDGER, Plan
from transforms.storage.records import CloseLedger, StampLetters
from transforms.storage.store import Store


@dataclass(frozen=True)
class Run:
    """One run of a job: its name, when it began, what it reads, and what it reads in other words."""

    name: str
    began: datetime
    ranges: tuple[FileRange, ...]
    overlay: Overlay
    attempts: Mapping[tuple[str, int], int]


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def build(pipeline: beam.Pipeline, job: Job, run: Run) -> beam.PCollection:
    """Adds the whole job to a pipeline; the result is the run's one Outcome."""
    execution = job.spec.execution
    threads = execution.threads or cores()
    reader = FileReader(
        job.spec.files.format,
        job.schema,
        keep_payload=any(step.reason for step in job.steps),
        batch_rows=execution.batch_rows,
        threads=threads,
        overlay=run.overlay,
    )
    read = pipeline | "Ranges" >> beam.Create(run.ranges) | "Collect" >> ReadFiles(reader=reader)
    clean = read.batches | "Preprocess" >> Preprocess(steps=job.steps)
    tables: dict[str, beam.PCollection[pa.RecordBatch]] = {}
    for aggregation in job.aggregations:
        tables |= clean.batches | f"Aggregate {aggregation.spec.name}" >> AggregatePerKey(
            summary=aggregation.summary, outputs=aggregation.outputs, shards=execution.shards, threads=threads
        )
    tables[DEAD_LETTERS] = (
        (read.dead_letters, clean.dead_letters)
        | "Dead letters" >> beam.Flatten()
        | "Stamp" >> StampLetters(failed_at=run.began, attempts=run.attempts)
    )
    tables[LEDGER] = (read.ledger, clean.ledger) | "Entries" >> beam.Flatten() | "Ledger" >> CloseLedger()
    plan = Plan(job.spec.job, run.name, job.state, job.tables, job.targets, job.spec.dead_letters.fail_above)
    return tables | "Store" >> Store(plan=plan)

"""The picture of a job, in code.

          +-- dead letters, ledger ----------------------------------------------+
read -----+--> preprocess ---> summarize == by shard ==> close windows ---> store

Bounded, everything is published together at the end; live, windows are stored as they close, and a checkpoint is
kept behind all that was stored.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

import apache_beam as beam
import pyarrow as pa

from dataflow.checkpoints import reader_name
from dataflow.job import Job
from transforms.aggregation.aggregate import SNAPSHOTS, AggregatePerKey
from transforms.aggregation.lateness import JudgeLateness
from transforms.aggregation.live import AggregateLive
from transforms.collection.chunks import SOURCE, ChunkParser
from transforms.collection.feed import LogFeed
from transforms.collection.files import FileRange
from transforms.collection.follow import AnnounceFn, Follow, Following
from transforms.collection.log import Extent
from transforms.collection.read import FileReader, ReadFiles
from transforms.collection.read_log import ReadLog
from transforms.collection.repair import Overlay
from transforms.collection.rest import Rest
from transforms.preprocessing.preprocess import Preprocess
from transforms.specification import microseconds
from transforms.storage.checkpoint import MANIFEST
from transforms.storage.live import LivePlan, SaveFn, StoreLive
from transforms.storage.publish import DEAD_LETTERS, LEDGER, Plan
from transforms.storage.records import CloseLedger, StampLetters
from transforms.storage.store import Store
from transforms.watermark import Progress

Batches: TypeAlias = "beam.PCollection[pa.RecordBatch]"


Seeds = Mapping[int, Sequence[tuple[int, pa.RecordBatch]]]
"""By aggregation: shards, and the snapshot that each begins with."""


@dataclass(frozen=True)
class LogPart:
    """Chunks of a log, from `start` to before `end`, and what is known of the records before them.

    With `through`, only windows that have closed by that watermark are stored, and the state that is left goes into the
    folder `snapshots`.
    """

    start: Rest
    end: int
    seeds: Seeds = field(default_factory=dict)
    through: int | None = None
    snapshots: str = ""

    @staticmethod
    def whole(extent: Extent) -> "LogPart":
        """Everything that a log holds."""
        return LogPart(Rest(extent.first_chunk, Progress()), extent.end_chunk)


@dataclass(frozen=True)
class Run:
    """One bounded run of a job: its name, when it began, what it reads, and what it reads in other words.

    `ranges` are what it reads of files, `part` of a log.
    """

    name: str
    began: datetime
    ranges: tuple[FileRange, ...] = ()
    overlay: Overlay = field(default_factory=dict)
    attempts: Mapping[tuple[str, int], int] = field(default_factory=dict)
    part: LogPart | None = None


@dataclass(frozen=True)
class LiveRun:
    """One launch of a live job: what it stores, how it follows the log, and what it goes on from."""

    plan: LivePlan
    following: Following
    start: Rest
    overlay: Overlay = field(default_factory=dict)
    seeds: Seeds = field(default_factory=dict)


class Records(NamedTuple):
    """Batches that are ready to be counted, and the books of those that are not among them."""

    batches: Batches
    dead_letters: tuple[Batches, ...]
    ledger: tuple[Batches, ...]


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def build(pipeline: beam.Pipeline, job: Job, run: Run) -> beam.PCollection:
    """Adds a whole bounded job to a pipeline; the result is the run's one Outcome."""
    execution = job.spec.execution
    threads = execution.threads or cores()
    records = _records(_collect(pipeline, job, run, threads), job)
    tables: dict[str, Batches] = {}
    part = run.part or LogPart(Rest(0, Progress()), 0)
    for number, aggregation in enumerate(job.aggregations):
        tables |= records.batches | f"Aggregate {aggregation.spec.name}" >> AggregatePerKey(
            summary=aggregation.summary,
            outputs=aggregation.outputs,
            shards=execution.bounded_shards,
            threads=threads,
            number=number,
            seeds=part.seeds.get(number, ()),
            through=part.through,
            lateness=microseconds(aggregation.spec.allowed_lateness),
        )
        if SNAPSHOTS in tables:
            save = beam.ParDo(SaveFn(part.snapshots)).with_output_types(str)
            _ = tables.pop(SNAPSHOTS) | f"Save {aggregation.spec.name}" >> save
    tables[DEAD_LETTERS] = (
        records.dead_letters
        | "Dead letters" >> beam.Flatten()
        | "Stamp" >> StampLetters(failed_at=run.began, attempts=run.attempts)
    )
    tables[LEDGER] = records.ledger | "Entries" >> beam.Flatten() | "Ledger" >> CloseLedger()
    plan = Plan(job.spec.job, run.name, job.state, job.tables, job.targets, job.spec.dead_letters.fail_above)
    return tables | "Store" >> Store(plan=plan)


def build_live(pipeline: beam.Pipeline, job: Job, run: LiveRun) -> beam.PCollection:
    """Adds a whole live job to a pipeline; the result are the ticks at which a checkpoint was kept."""
    feed = LogFeed(job.log.path, _parser(job, run.overlay))
    read = pipeline | "Collect" >> Follow(following=run.following, feed=feed, start=run.start)
    records = _records(read, job)
    parcels = []
    for number, aggregation in enumerate(job.aggregations):
        live = AggregateLive(
            summary=aggregation.summary,
            outputs=aggregation.outputs,
            number=number,
            lateness=microseconds(aggregation.spec.allowed_lateness),
            shards=job.spec.execution.live_shards,
            seeds=run.seeds.get(number, ()),
        )
        inputs = {"batches": records.batches, "ticks": read.ticks}
        parcels.append(inputs | f"Aggregate {aggregation.spec.name}" >> live)
    books: dict[str, Any] = {
        DEAD_LETTERS: records.dead_letters | "Dead letters" >> beam.Flatten(),
        LEDGER: records.ledger | "Entries" >> beam.Flatten(),
    }
    books["parcels"] = parcels | "Closed" >> beam.Flatten()
    kept = books | {"ticks": read.ticks} | "Store" >> StoreLive(plan=run.plan)
    announce = AnnounceFn(job.log.path, reader_name(job), f"{job.state}/{MANIFEST}")
    return kept | "Announce" >> beam.ParDo(announce).with_output_types(pa.RecordBatch)


def _collect(pipeline: beam.Pipeline, job: Job, run: Run, threads: int) -> Any:
    if run.part is not None:
        parser = _parser(job, run.overlay)
        log = ReadLog(folder=job.log.path, parser=parser, start=run.part.start, end=run.part.end)
        return pipeline | "Collect" >> log
    reader = FileReader(
        job.spec.files.format,
        job.schema,
        keep_payload=any(step.reason for step in job.steps),
        batch_rows=job.spec.execution.batch_rows,
        threads=threads,
        overlay=run.overlay,
    )
    return pipeline | "Ranges" >> beam.Create(run.ranges) | "Collect" >> ReadFiles(reader=reader)


def _parser(job: Job, overlay: Overlay) -> ChunkParser:
    return ChunkParser(job.schema, job.spec.watermark, job.spec.record.max_future, overlay.get(SOURCE, {}))


def _records(read: Any, job: Job) -> Records:
    """What was read, cleaned, and of a log without what came too late."""
    clean = read.batches | "Preprocess" >> Preprocess(steps=job.steps)
    if job.spec.source.log is None:
        return Records(clean.batches, (read.dead_letters, clean.dead_letters), (read.ledger, clean.ledger))
    specs = [aggregation.spec for aggregation in job.aggregations]
    judged = clean.batches | "Lateness" >> JudgeLateness(aggregations=specs)
    dead_letters = (read.dead_letters, clean.dead_letters, judged.dead_letters)
    return Records(judged.batches, dead_letters, (read.ledger, clean.ledger, judged.ledger))

"""The picture of a job, in code.

          +-- dead letters, ledger ----------------------------------------------+
read -----+--> preprocess ---> summarize == by shard ==> close windows ---> store

A bounded job publishes everything together at its end. A live job stores windows as they close, and keeps a checkpoint
after all that was stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, TypeAlias

import apache_beam as beam
import pyarrow as pa

from dataflow.execution.checkpoints import Since, with_figures_since
from dataflow.execution.part import Part, Seeds
from dataflow.job.plan import Job
from transforms.aggregation.aggregate import SNAPSHOTS, AggregateBounded
from transforms.aggregation.lateness import JudgeLateness
from transforms.aggregation.live import AggregateLive, LiveInputs
from transforms.collection.cursor import SourceCursor
from transforms.collection.follow import Follow, Following
from transforms.collection.repair import Overlay
from transforms.preprocessing.preprocess import Preprocess
from transforms.process.progress import Bulletin
from transforms.process.threads import cores
from transforms.record.branches import Outputs
from transforms.specification import microseconds
from transforms.storage.live.plan import LivePlan
from transforms.storage.live.store import LiveResults, SaveFn, StoreLive
from transforms.storage.publish import Plan
from transforms.storage.records import CloseLedger, StampLetters
from transforms.storage.store import Store, TableRows
from transforms.storage.tables import DEAD_LETTERS, LEDGER

Batches: TypeAlias = "beam.PCollection[pa.RecordBatch]"


@dataclass(frozen=True)
class BoundedRun:
    """One bounded run of a job: its name, when it began, what it reads, and the repairs of records."""

    name: str
    began: datetime
    part: Part
    overlay: Overlay = field(default_factory=dict)
    attempts: Mapping[tuple[str, int], int] = field(default_factory=dict)
    bulletin: Bulletin = field(default_factory=Bulletin)


@dataclass(frozen=True)
class LiveRun:
    """One launch of a live job: what it stores, how it follows its source, and where it resumes.

    Args:
        carried: parcels that the checkpoint left for the next one.
        since: the figures that joined the running job, and the end (µs) of the last window without them.
    """

    plan: LivePlan
    following: Following
    start: SourceCursor
    overlay: Overlay = field(default_factory=dict)
    seeds: Seeds = field(default_factory=dict)
    carried: Sequence[pa.RecordBatch] = ()
    since: Since = field(default_factory=dict)


class PreparedRecords(NamedTuple):
    """Batches that are ready to be counted, and the dead letters and ledger of all other records."""

    batches: Batches
    dead_letters: Mapping[str, Batches]
    ledger: tuple[Batches, ...]


def build(pipeline: beam.Pipeline, job: Job, run: BoundedRun) -> beam.PCollection:
    """Adds a whole bounded job to a pipeline; the result is the run's Outcome."""
    execution = job.spec.execution
    part = run.part
    read = pipeline | "Collect" >> job.source.reading(part.span, run.overlay, run.bulletin)
    records = _records(read, job)
    tables: dict[str, TableRows] = {}
    for number, aggregation in enumerate(job.aggregations):
        tables |= records.batches | f"Aggregate {aggregation.spec.name}" >> AggregateBounded(
            summary=aggregation.summary,
            outputs=aggregation.outputs,
            shards=execution.bounded_shards,
            threads=execution.threads or cores(),
            number=number,
            seeds=part.seeds.get(number, ()),
            through=part.through,
            lateness=microseconds(aggregation.spec.allowed_lateness),
        )
        if SNAPSHOTS in tables:
            save = beam.ParDo(SaveFn(part.snapshots)).with_output_types(str)
            _ = tables.pop(SNAPSHOTS) | f"Save {aggregation.spec.name}" >> save
    stamp = StampLetters(failed_at=run.began, attempts=run.attempts)
    tables[DEAD_LETTERS] = tuple(
        letters | f"Stamp {refuser}" >> stamp for refuser, letters in records.dead_letters.items()
    )
    tables[LEDGER] = records.ledger | "Entries" >> beam.Flatten() | "Ledger" >> CloseLedger()
    fail_above = job.spec.dead_letters.fail_above
    plan = Plan(run.name, job.state, job.tables, job.sinks, fail_above)
    return tables | "Store" >> Store(plan=plan)


def build_live(pipeline: beam.Pipeline, job: Job, run: LiveRun) -> beam.PCollection:
    """Adds a whole live job to a pipeline; the results are the ticks at which a checkpoint was kept."""
    job, source, bulletin = with_figures_since(job, run.since), job.source, run.plan.bulletin
    feed = source.feed(run.overlay, bulletin)
    read = pipeline | "Collect" >> Follow(following=run.following, feed=feed, start=run.start, bulletin=bulletin)
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
        inputs = LiveInputs(records.batches, read.ticks)
        parcels.append(inputs | f"Aggregate {aggregation.spec.name}" >> live)
    results = LiveResults(
        dead_letters=tuple(records.dead_letters.values()) | "Dead letters" >> beam.Flatten(),
        ledger=records.ledger | "Entries" >> beam.Flatten(),
        parcels=parcels | "Closed" >> beam.Flatten(),
        ticks=read.ticks,
    )
    kept = results | "Store" >> StoreLive(plan=run.plan, seeds=run.carried)
    return kept | "Announce" >> beam.ParDo(source.after_checkpoint()).with_output_types(pa.RecordBatch)


def _records(read: Outputs, job: Job) -> PreparedRecords:
    """The records that were read and cleaned; for an endless source, without late ones."""
    clean = read.batches | "Preprocess" >> Preprocess(steps=job.steps)
    if not job.spec.is_endless:
        dead_letters = {"read": read.dead_letters, "preprocess": clean.dead_letters}
        return PreparedRecords(clean.batches, dead_letters, (read.ledger, clean.ledger))
    specs = [aggregation.spec for aggregation in job.aggregations]
    judged = clean.batches | "Lateness" >> JudgeLateness(aggregations=specs)
    dead_letters = {
        "read": read.dead_letters,
        "preprocess": clean.dead_letters,
        "lateness": judged.dead_letters,
    }
    return PreparedRecords(judged.batches, dead_letters, (read.ledger, clean.ledger, judged.ledger))

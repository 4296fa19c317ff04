"""A job's checkpoints: where they are, what they fit, and how a run resumes from one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING

import pyarrow as pa

from dataflow.job.digest import digest
from dataflow.job.plan import Job, PlannedAggregation
from transforms.aggregation.measure import ColumnMeasure
from transforms.aggregation.timeline import StatisticsOutput
from transforms.record.batch import ARROW
from transforms.specification import microseconds, seconds
from transforms.storage.checkpoint.folder import SOURCE, STATISTICS, CheckpointFolder

if TYPE_CHECKING:
    from transforms.aggregation.live import Shard
    from transforms.aggregation.timeline import Timeline

Since = Mapping[str, Mapping[str, int]]
"""For each table, figures and the end (µs) of the last window without them."""


def replaying(job: Job) -> str:
    """The file that marks a replay under way: tables and checkpoint may not fit each other."""
    return f"{job.state}/replaying"


def with_live_shards(job: Job) -> Job:
    """The job with as many shards as a live job, even if it runs to an end."""
    execution = job.spec.execution
    execution = execution.model_copy(update={"shards": execution.live_shards})
    return replace(job, spec=job.spec.model_copy(update={"execution": execution}))


def checkpoint_folder(job: Job) -> CheckpointFolder:
    """Where the job keeps its checkpoints."""
    return CheckpointFolder(job.state, identity(job), seconds(job.source.retain))


def identity(job: Job) -> dict[str, str]:
    """What a checkpoint must fit: the job, its kind of source, and its aggregations with the state that each keeps."""
    parts = {"job": job.spec.job, SOURCE: job.source.kind}
    for aggregation in job.aggregations:
        name, measures = aggregation.spec.name, aggregation.summary.measures
        spec = aggregation.spec.model_dump(mode="json", include={"key", "models"})
        spec["window"] = dict(aggregation.spec.window.identity)
        spec["lateness"] = microseconds(aggregation.spec.allowed_lateness)
        spec["state"] = [str(measure.schema) for measure in measures if not isinstance(measure, ColumnMeasure)]
        parts[f"aggregations {name}"] = digest(spec)
        parts[statistics_part(name)] = json.dumps(_states(aggregation), sort_keys=True)
    parts["aggregations"] = digest([aggregation.spec.name for aggregation in job.aggregations])
    return parts


def statistics_part(aggregation: str) -> str:
    """The part of an identity with an aggregation's figures, and the state that each comes from."""
    return f"{STATISTICS} {aggregation}"


def _states(aggregation: PlannedAggregation) -> dict[str, str]:
    figures = next(output.figures for output in aggregation.outputs if isinstance(output, StatisticsOutput))
    return {name: f"{measure.name} {digest(str(measure.schema))}" for name, measure in figures.items()}


def shards_in(parcels: Sequence[pa.RecordBatch], aggregation: int) -> "list[Shard]":
    """The shards of an aggregation (by its number) in a checkpoint, in order."""
    from transforms.aggregation.live import Shard
    from transforms.time.tick import SNAPSHOT, label_of

    labelled = ((label_of(batch), batch) for batch in parcels)
    mine = [
        (int(label["shard"]), batch)
        for label, batch in labelled
        if label["kind"] == SNAPSHOT and label["aggregation"] == aggregation
    ]
    return [Shard.from_parcel(batch) for _, batch in sorted(mine, key=itemgetter(0))]


def seeds_of(
    job: Job, parcels: Sequence[pa.RecordBatch], shards: int
) -> Mapping[int, list[tuple[int, pa.RecordBatch]]]:
    """From a checkpoint, the snapshot that each shard of each aggregation begins with."""
    from transforms.aggregation.live import split_seeds

    seeds: dict[int, list[tuple[int, pa.RecordBatch]]] = {}
    for number, aggregation in enumerate(job.aggregations):
        types = {name: ARROW[job.columns[name]] for measure in aggregation.summary.measures for name in measure.columns}
        states = [shard.fitted(aggregation.summary, types) for shard in shards_in(parcels, number)]
        if len(states) != shards:
            states = split_seeds(timeline_of(aggregation), states, shards)
        seeds[number] = [(shard, state.to_parcel(number, shard)) for shard, state in enumerate(states)]
    return seeds


def with_figures_since(job: Job, since: Since) -> Job:
    """The job with figures that begin where its checkpoints say."""
    return replace(job, aggregations=tuple(_with_figures_since(aggregation, since) for aggregation in job.aggregations))


def _with_figures_since(aggregation: PlannedAggregation, since: Since) -> PlannedAggregation:
    outputs = tuple(
        replace(output, since=since.get(output.table, {})) if isinstance(output, StatisticsOutput) else output
        for output in aggregation.outputs
    )
    return replace(aggregation, outputs=outputs)


def carried_in(parcels: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The parcels that a checkpoint left for the next one: all but its snapshots."""
    from transforms.time.tick import SNAPSHOT, label_of

    return [batch for batch in parcels if label_of(batch)["kind"] != SNAPSHOT]


def timeline_of(aggregation: PlannedAggregation) -> "Timeline":
    """The timeline of an aggregation."""
    from transforms.aggregation.timeline import Timeline

    return Timeline(aggregation.summary, aggregation.outputs, microseconds(aggregation.spec.allowed_lateness))

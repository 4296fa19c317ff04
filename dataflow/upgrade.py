"""New statistics for a live job: they join its aggregations at a checkpoint, and nothing of it begins anew.

A window that was open then has counted records without them, so they are null up to the last such window, and from
the next one on what a batch run gives. A statistic whose state was there already, such as `std` beside `mean`, is
missing only in the windows that had closed.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from dataflow.checkpoints import checkpoint_folder, seeds_of, statistics_part, timeline_of
from dataflow.job import Job, PlannedAggregation
from transforms.aggregation.live import Shard
from transforms.aggregation.timeline import StatisticsOutput
from transforms.event_time import as_text
from transforms.specification import microseconds
from transforms.storage.checkpoint import CheckpointFolder, Manifest, StateRefused
from transforms.watermark import NEVER

Since = Mapping[str, Mapping[str, int]]
"""Of each table, figures and the end (µs) of the last window that is without them."""


def new_figures(job: Job) -> dict[str, list[str]]:
    """The figures of each aggregation that the job's checkpoints do not know yet; empty: they fit the job as it is.

    Raises:
        StateRefused: if there are no checkpoints, or they differ from the job in anything but new statistics.
    """
    folder = checkpoint_folder(job)
    manifest = folder.of_any_job()
    if manifest is None:
        raise StateRefused(f"{job.state} holds no checkpoint: there is nothing that new statistics could join")
    return _new_figures(folder, manifest, job)


def upgrade(job: Job, say: Callable[[str], None]) -> None:
    """Lets new statistics join the job's checkpoints; the job of before cannot go on from them any more.

    Raises:
        StateRefused: if there are no checkpoints, or they differ from the job in anything but new statistics.
        SinkError: if the disk refuses; nothing has changed.
    """
    folder, new = checkpoint_folder(job), new_figures(job)
    manifest = folder.of_any_job()
    if manifest is None or not new:
        return
    seeds = seeds_of(job, folder.load(manifest.newest), job.spec.execution.live_shards)
    since = {table: dict(figures) for table, figures in manifest.since.items()}
    for number, aggregation in enumerate(job.aggregations):
        name = aggregation.spec.name
        fresh = new.get(name, [])
        closed = manifest.newest.watermark - microseconds(aggregation.spec.allowed_lateness)
        opened = _last_open(aggregation, [batch for _, batch in seeds[number]])
        known = set(_known(manifest, name).values())
        for figure in fresh:
            through = closed if _states(folder, name)[figure] in known else max(closed, opened)
            since.setdefault(name, {})[figure] = through
            if through > NEVER:
                say(f"{figure} joins {name}: it is null in windows that end by {as_text(through)}")
    folder.adopt(manifest, since)


def bounded(job: Job, since: Since) -> Job:
    """The job whose figures begin where its checkpoints say."""
    return replace(job, aggregations=tuple(_bounded(aggregation, since) for aggregation in job.aggregations))


def _bounded(aggregation: PlannedAggregation, since: Since) -> PlannedAggregation:
    outputs = tuple(
        replace(output, since=since.get(output.table, {})) if isinstance(output, StatisticsOutput) else output
        for output in aggregation.outputs
    )
    return replace(aggregation, outputs=outputs)


def _new_figures(folder: CheckpointFolder, manifest: Manifest, job: Job) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    was, identity = dict(manifest.identity), dict(folder.identity)
    for aggregation in job.aggregations:
        name = aggregation.spec.name
        part = statistics_part(name)
        known, states = _known(manifest, name), _states(folder, name)
        gone = [figure for figure in known if figure not in states]
        if gone:
            raise StateRefused(
                f"{job.state}: {name} of this job has no {gone[0]} any more, and its tables have; keep it, or give the"
                " job another `state` and other sinks"
            )
        other = [figure for figure, state in known.items() if not _is_kept(state, states[figure])]
        if other:
            raise StateRefused(
                f"{job.state}: {other[0]} of {name} is kept in another form than this version's; give this job another"
                " `state` and other sinks"
            )
        new = [figure for figure in states if figure not in known]
        found |= {name: new} if new else {}
        was.pop(part, None), identity.pop(part, None)
    if was != identity:
        replace(folder, identity=identity).read()  # says what differs
    return found


def _is_kept(before: str, now: str) -> bool:
    """Whether a figure's state goes on: counts do also when more is measured beside them."""
    kinds = [state.rpartition(" ")[0].rpartition("|") for state in (before, now)]
    counted = kinds[0][0] == kinds[1][0] and (kinds[0][2], kinds[1][2]) == ("presence", "moments")
    return before == now or counted


def _known(manifest: Manifest, aggregation: str) -> dict[str, str]:
    known: dict[str, str] = json.loads(manifest.identity.get(statistics_part(aggregation), "{}"))
    return known


def _states(folder: CheckpointFolder, aggregation: str) -> dict[str, str]:
    states: dict[str, str] = json.loads(folder.identity[statistics_part(aggregation)])
    return states


def _last_open(aggregation: PlannedAggregation, snapshots: Sequence[pa.RecordBatch]) -> int:
    """The end of the last window that has seen a record; NEVER: none is open."""
    timeline = timeline_of(aggregation)
    ends = (timeline.last_end(Shard.from_parcel(batch).state.open) for batch in snapshots)
    return max((end for end in ends if end is not None), default=NEVER)

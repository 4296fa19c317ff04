"""New statistics for a live job: they join its aggregations at a checkpoint, and the job keeps everything that it has.

A window that was open then has counted records without them, so they are null up to the last such window; from the
next window on, they are what a batch run gives. A statistic whose state the job already keeps, such as `std` in
addition to `mean`, is missing only in the windows that had closed.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace

from dataflow.execution.checkpoints import checkpoint_folder, shards_in, statistics_part, timeline_of
from dataflow.execution.overlay import ReplayOverlay
from dataflow.execution.restore import claimed, plan_of, resume_cursor
from dataflow.job.plan import Job, PlannedAggregation
from transforms.aggregation.live import Shard
from transforms.aggregation.measure import counted_before
from transforms.errors import StateRefused
from transforms.specification import microseconds
from transforms.storage.checkpoint.folder import CheckpointFolder
from transforms.storage.checkpoint.manifest import Manifest
from transforms.time.event_time import as_text
from transforms.time.watermark import NEVER


def new_figures(job: Job) -> dict[str, list[str]]:
    """The figures of each aggregation that the job's checkpoints lack; empty: they fit, or there are none.

    Raises:
        StateRefused: if they differ from the job in anything but new statistics.
    """
    folder = checkpoint_folder(job)
    manifest = folder.of_any_job()
    return _new_figures(folder, manifest, job) if manifest else {}


def upgrade(job: Job, say: Callable[[str], None]) -> None:
    """Lets new statistics join the job's checkpoints; the job before the upgrade can no longer resume from them.

    Raises:
        StateRefused: if the job cannot resume from any checkpoint, or if they differ from it in more than new
            statistics.
        SourceError: if the source no longer holds the next records.
        SinkError: if a database refuses the columns, or the disk the manifest; if its tables are unchanged, the job
            before the upgrade can still resume.
    """
    plan = plan_of(job, ReplayOverlay())
    folder = plan.checkpoints
    if folder.of_any_job() is None:
        raise StateRefused(f"{job.state} holds no checkpoint, so there is nothing for new statistics to join")
    plan, manifest = claimed(plan)  # a launch that is left over must not write during the upgrade
    new = _new_figures(folder, manifest, job)
    if not new:
        return
    resume_cursor(job, manifest)
    parcels = folder.load(manifest.newest)
    since = {table: dict(figures) for table, figures in manifest.since.items()}
    joined: dict[tuple[str, int], list[str]] = {}
    for number, aggregation in enumerate(job.aggregations):
        name = aggregation.spec.name
        closed = manifest.newest.watermark - microseconds(aggregation.spec.allowed_lateness)
        opened = _last_open(aggregation, shards_in(parcels, number))
        whole, states = _whole_from(manifest, name), _states(folder, name)
        for figure in new.get(name, ()):
            through = max(closed, whole.get(states[figure], opened))
            since.setdefault(name, {})[figure] = through
            joined.setdefault((name, through), []).append(figure)
    manifest = plan.settle(manifest)
    folder.commit(manifest, replace(manifest, identity=folder.identity, since=since))
    grow = {aggregation.spec.name for aggregation in job.aggregations if aggregation.spec.window.grows}
    for (name, through), figures in joined.items():
        which = "begin before" if name in grow else "end by"
        where = f": null in windows that {which} {as_text(through)}" if through > NEVER else ""
        say(f"{', '.join(figures)} joined {name}{where}")


def _new_figures(folder: CheckpointFolder, manifest: Manifest, job: Job) -> dict[str, list[str]]:
    names = [aggregation.spec.name for aggregation in job.aggregations]
    others = {part: value for part, value in folder.identity.items() if part not in map(statistics_part, names)}
    folder.refuse_other(manifest, others)
    found: dict[str, list[str]] = {}
    for name in names:
        known, states = _known(manifest, name), _states(folder, name)
        for figure, state in known.items():
            if figure not in states:
                raise StateRefused(
                    f"{job.state}: {name} of this job no longer has {figure}, but its tables do; keep it, or give the"
                    " job another `state` and other sinks"
                )
            if not _is_kept(state, states[figure]):
                raise StateRefused(
                    f"{job.state}: {figure} of {name} is stored in a form other than this version's; give this job"
                    " another `state` and other sinks"
                )
        if new := [figure for figure in states if figure not in known]:
            found[name] = new
    return found


def _whole_from(manifest: Manifest, aggregation: str) -> dict[str, int]:
    """The states that the job keeps, and the last window (its end, µs) of which they lack records."""
    since, whole = manifest.since.get(aggregation, {}), dict[str, int]()
    for figure, state in _known(manifest, aggregation).items():
        whole[state] = max(whole.get(state, NEVER), since.get(figure, NEVER))
    return whole


def _is_kept(before: str, now: str) -> bool:
    """Whether a figure's state continues: counts also continue if more figures of the column join them."""
    return before == now or before.rpartition(" ")[0] == counted_before(now.rpartition(" ")[0])


def _known(manifest: Manifest, aggregation: str) -> dict[str, str]:
    known: dict[str, str] = json.loads(manifest.identity.get(statistics_part(aggregation), "{}"))
    return known


def _states(folder: CheckpointFolder, aggregation: str) -> dict[str, str]:
    states: dict[str, str] = json.loads(folder.identity[statistics_part(aggregation)])
    return states


def _last_open(aggregation: PlannedAggregation, shards: Iterable[Shard]) -> int:
    """The end of the last window that has a record; NEVER: no window has."""
    timeline = timeline_of(aggregation)
    ends = (timeline.last_end(shard.state.open) for shard in shards)
    return max((end for end in ends if end is not None), default=NEVER)

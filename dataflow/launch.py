"""What a live run begins with: nothing, the job's own checkpoint, or a savepoint of an engine."""

import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from dataflow.checkpoints import carried_in, checkpoint_folder, replaying, seeds_of
from dataflow.graph import LiveRun
from dataflow.job import Job
from dataflow.overlay import ReplayOverlay
from dataflow.source import source_of
from transforms.collection.control import ask
from transforms.collection.follow import Following
from transforms.collection.rest import Rest
from transforms.specification import microseconds
from transforms.storage.checkpoint import Manifest, Place, StateRefused
from transforms.storage.live_plan import LivePlan
from transforms.storage.topics import begin as begin_topics


def launch(job: Job, say: Callable[[str], None], *, drain: bool = False) -> LiveRun:
    """What a live run begins with: nothing, or the job's newest checkpoint.

    Raises:
        SourceError: if the source cannot be read, or does not hold any more what comes next.
        SinkError: if the sinks cannot be taken back to the checkpoint, or the state does not fit the job.
    """
    _refuse_half_replayed(job)
    source, overlay, following = source_of(job), ReplayOverlay.read(job.state), _following(job, drain=drain)
    plan = plan_of(job, overlay)
    manifest = plan.checkpoints.read()
    source.hold(manifest)
    if manifest is None:
        rest = source.begin(say)
        plan = claimed(plan)
        return LiveRun(replace(plan, start=plan.begin()), following, rest, overlay.repairs)
    newest, rest = manifest.newest, place_to_go_on(job, manifest)
    plan = claimed(replace(plan, start=Place(newest.name, newest.topics)))
    plan.rewind(newest.name)
    if manifest.since:
        plan.widen()
    kept = plan.checkpoints.load(newest)
    seeds = seeds_of(job, kept, job.spec.execution.live_shards)
    say(f"going on from the checkpoint at chunk {newest.chunk:,}, taken {time.time() - newest.taken:,.0f} s ago")
    return LiveRun(plan, following, rest, overlay.repairs, seeds, carried_in(kept), manifest.since)


def place_to_go_on(job: Job, manifest: Manifest) -> Rest:
    """Where a job goes on from its newest checkpoint.

    Raises:
        SourceError: if the source does not hold any more what comes next.
        StateRefused: if nothing can go on from there.
    """
    _refuse_half_replayed(job)
    checkpoint_folder(job).refuse_taken_back(manifest)
    if manifest.newest.drained:
        raise StateRefused(
            f"{job.state}: this job was drained, which closed its windows before their time; remove {job.state} to"
            " begin anew with what its source still holds"
        )
    return source_of(job).resume(manifest.newest)


def rejoin(job: Job, start: int) -> LiveRun:
    """What a live run is built of when its engine goes on from a savepoint of its own, which holds everything else.

    Args:
        start: the name of the checkpoint that the launch before the savepoint began at.

    Returns:
        What can be looked at while the job still runs; to launch it, its plan must be `claimed`.
    """
    _refuse_half_replayed(job)
    overlay = ReplayOverlay.read(job.state)
    plan = plan_of(job, overlay)
    manifest = plan.checkpoints.read(taken_back=True)
    place = _place(plan, manifest, start)
    since = manifest.since if manifest else {}
    return LiveRun(replace(plan, start=place), _following(job), Rest(0, None), overlay.repairs, since=since)


def _refuse_half_replayed(job: Job) -> None:
    if os.path.exists(replaying(job)):
        raise StateRefused(f"{job.state}: a replay was interrupted; `replay` finishes it, and then the job goes on")


def plan_of(job: Job, overlay: ReplayOverlay) -> LivePlan:
    """What a live job stores, and where."""
    return LivePlan(
        job.spec.job,
        job.tables,
        job.targets,
        checkpoint_folder(job),
        snapshots=job.spec.execution.live_shards * len(job.aggregations),
        attempts=overlay.attempts,
        topics=job.topics,
        grows=source_of(job).grows,
    )


def _place(plan: LivePlan, manifest: Manifest | None, name: int) -> Place:
    """Where a launch stood that began at this checkpoint, the topics included."""
    for checkpoint in manifest.checkpoints if manifest else ():
        if checkpoint.name == name:
            return Place(name, checkpoint.topics)
    return Place(name, begin_topics(plan.topics, plan.tables, plan.job, plan.checkpoints.state))


def claimed(plan: LivePlan) -> LivePlan:
    """The plan as one that takes the state over from any other, which may be left over on a lost machine."""
    launch = uuid.uuid4().hex
    plan.checkpoints.claim(launch)
    return replace(plan, launch=launch)


def _following(job: Job, *, drain: bool = False) -> Following:
    control = f"{job.state}/control"
    with suppress(FileNotFoundError):
        ask(control, "")
    keep_every = microseconds(job.spec.execution.checkpoint) / 1e6
    windows = tuple((a.spec.window, microseconds(a.spec.allowed_lateness)) for a in job.aggregations)
    return Following(control, drain, keep_every=keep_every, windows=windows)

"""How a live run begins: from nothing, from the job's own checkpoint, or from a savepoint of an engine."""

import os
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

import pyarrow as pa

from dataflow.errors import JobRunning
from dataflow.execution.bounded import locked
from dataflow.execution.checkpoints import carried_in, checkpoint_folder, replaying, seeds_of
from dataflow.execution.overlay import ReplayOverlay
from dataflow.execution.submission import Savepoint, Standing, Submission
from dataflow.graph import LiveRun
from dataflow.job.plan import Job
from transforms.collection.control import ask
from transforms.collection.cursor import NOTHING_READ, SourceCursor
from transforms.collection.follow import Following
from transforms.errors import CheckpointDamaged, StateRefused
from transforms.process.progress import Bulletin
from transforms.specification import microseconds, seconds
from transforms.storage.checkpoint.folder import BEGIN_ANEW
from transforms.storage.checkpoint.history import NOTHING, Line, Place
from transforms.storage.checkpoint.manifest import Checkpoint, Manifest
from transforms.storage.live import positions
from transforms.storage.live.plan import LivePlan, Waiting
from transforms.storage.publish import finish_interrupted
from transforms.storage.sinks import SINKS
from transforms.time.event_time import as_text
from transforms.time.watermark import NEVER


def launch(
    job: Job,
    say: Callable[[str], None],
    *,
    drain: bool = False,
    anew: bool = False,
    bulletin: Bulletin | None = None,
) -> LiveRun:
    """Begins a live run from nothing, or from the job's newest checkpoint.

    Args:
        anew: whether the job starts from nothing, whatever its state and its tables hold.
        bulletin: where the run shows its progress.

    Raises:
        SourceError: if the source cannot be read, or no longer holds the next records.
        SinkError: if the sinks cannot be rolled back to the checkpoint, or the state does not fit the job.
    """
    if anew:
        finish_interrupted(job.state)
        positions.forget(job.state)
        with suppress(FileNotFoundError):
            os.remove(replaying(job))
    _refuse_half_replayed(job)
    overlay, following = ReplayOverlay.read(job.state), _following(job, drain=drain)
    plan = replace(plan_of(job, overlay), bulletin=bulletin or Bulletin())
    manifest = None if anew else plan.checkpoints.read()
    if manifest is None:
        if not anew:
            plan.refuse_full(plan.checkpoints.root())
        job.source.hold(None)
        cursor = job.source.begin(say)
        plan, manifest = claimed(plan, anew=anew)
        return LiveRun(replace(plan, start=plan.begin(manifest)), following, cursor, overlay.repairs)
    checkpoint, kept = _whole(plan, manifest, say, replays=job.source.replays)
    _refuse_other_positions(plan, checkpoint)
    cursor = resume_cursor(job, manifest, checkpoint)
    job.source.hold(manifest.oldest)
    follows_damage = manifest.is_behind
    plan, manifest = claimed(plan)
    manifest = plan.settle(manifest)
    is_back = follows_damage or not checkpoint.place.is_at(manifest.at)
    if is_back:
        manifest = plan.roll_back(manifest, checkpoint.place, manifest.attempt)
    if is_back or not plan.lateness_is_fixed:
        record = Submission.read(job.state)
        known = passed(record.savepoints if record else (), manifest.line)
        plan.roll_back_rows(max(checkpoint.watermark, known), plan.reached(checkpoint.source))
    plan = replace(plan, start=checkpoint.place)
    if manifest.since:
        plan.widen()
    seeds = seeds_of(job, kept, job.spec.execution.live_shards)
    age = time.time() - checkpoint.taken
    say(f"resuming from the checkpoint at event time {as_text(checkpoint.watermark)}, taken {age:,.0f} s ago")
    return LiveRun(plan, following, cursor, overlay.repairs, seeds, carried_in(kept), manifest.since)


def _refuse_other_positions(plan: LivePlan, checkpoint: Checkpoint) -> None:
    positioned = [sink for sink in plan.sinks if sink.has_position]
    if len(checkpoint.topics) != len(positioned):
        kinds = " or ".join(name for name, kind in SINKS.items() if kind.has_position)
        raise StateRefused(
            f"{plan.checkpoints.state}: the checkpoint holds the positions of {len(checkpoint.topics)} sinks, and the"
            f" job has {len(positioned)} sinks with positions; to add or remove a sink of the kind {kinds}, give the"
            " job another `state`"
        )


def _whole(
    plan: LivePlan, manifest: Manifest, say: Callable[[str], None], *, replays: bool
) -> tuple[Checkpoint, list[pa.RecordBatch]]:
    """The newest undamaged checkpoint, and its snapshots.

    Args:
        replays: whether the source can be read again after an older checkpoint.

    Raises:
        StateRefused: if all are damaged, or the newest is and the source cannot be read again.
    """
    if manifest.is_behind and not replays:
        raise StateRefused(f"{plan.checkpoints.state}: the newest version of the manifest is damaged{_READ_ONCE}")
    if manifest.is_behind:
        say(f"{plan.checkpoints.state}: the newest version of the manifest is damaged; the one before it counts")
    for checkpoint in reversed(manifest.checkpoints):
        try:
            return checkpoint, plan.checkpoints.load(checkpoint)
        except CheckpointDamaged as error:
            if not replays:
                raise StateRefused(f"{error}{_READ_ONCE}") from error
            say(f"{error}; trying an older checkpoint")
    raise StateRefused(
        f"{plan.checkpoints.state}: all of its checkpoints are damaged; restore one, or let `{BEGIN_ANEW}` empty the"
        " job's tables and begin with what its source still holds"
    )


_READ_ONCE: Final = (
    ". The source can be read only once: after an older checkpoint, records would be missing. Restore the damaged file,"
    f" or let `{BEGIN_ANEW}` empty the job's tables and begin with what the source still holds"
)


def settle_live(job: Job) -> None:
    """Shows what a killed live job committed but had not shown yet; a running job does so itself.

    Raises:
        SinkError: if the state or a folder cannot be used.
    """
    manifest = checkpoint_folder(job).root() if job.spec.is_endless else None
    if manifest is not None and manifest.files:
        with suppress(JobRunning), locked(job.state):
            plan_of(job, ReplayOverlay()).show(manifest, manifest.attempt, lambda: None)


def resume_cursor(job: Job, manifest: Manifest, checkpoint: Checkpoint | None = None) -> SourceCursor:
    """Where a job resumes from its newest checkpoint, or from a given one.

    Raises:
        SourceError: if the source no longer holds the next records.
        StateRefused: if the job cannot resume there.
    """
    _refuse_half_replayed(job)
    checkpoint_folder(job).refuse_rolled_back(manifest)
    checkpoint = checkpoint or manifest.newest
    if checkpoint.drained:
        raise StateRefused(
            f"{job.state}: this job was drained, which closed its windows before their time; `{BEGIN_ANEW}` empties its"
            " tables and begins with what its source still holds"
        )
    return job.source.resume(checkpoint)


def rejoin(job: Job, savepoint: Savepoint | None = None) -> LiveRun:
    """What a live run needs if its engine resumes from its own savepoint, which holds everything else.

    Args:
        savepoint: the savepoint; None: it is not known yet, and the run is only inspected.

    Returns:
        The run, which can be inspected while the job still runs; before a launch, its plan must be `rolled_back_to` the
        savepoint.
    """
    _refuse_half_replayed(job)
    overlay = ReplayOverlay.read(job.state)
    plan = plan_of(job, overlay)
    manifest = plan.checkpoints.read(taken_back=True)
    place = _place(plan, manifest, savepoint) if savepoint is not None else Place()
    since = manifest.since if manifest else {}
    return LiveRun(replace(plan, start=place), _following(job), NOTHING_READ, overlay.repairs, since=since)


def rolled_back_to(
    plan: LivePlan, savepoint: Savepoint, others: Sequence[Savepoint] = (), *, force: bool = False
) -> LivePlan:
    """The plan of a launch that resumes from a savepoint: every sink abandons what followed it.

    Args:
        others: the savepoints of the job.
        force: whether the job may have left the savepoint's place.

    Raises:
        StateRefused: if the job has left the savepoint's place, without `force`.
    """
    plan, manifest = claimed(plan)
    manifest = plan.settle(manifest)
    mark = savepoint.mark
    if mark is None:
        return plan  # an earlier version took it: the first checkpoint determines its place
    is_left = force and not mark.is_on(manifest.line)
    if is_left:
        manifest = plan.switch(manifest, mark.line)
    if not mark.place.is_at(manifest.at):
        manifest = plan.roll_back(manifest, mark.place, manifest.attempt, ahead=is_left)
        if mark.reached is not None:
            plan.roll_back_rows(max(mark.watermark, passed(others, manifest.line)), mark.reached)
    return plan


def passed(savepoints: Iterable[Savepoint], line: Line) -> int:
    """The latest event time (µs) that had passed in a savepoint from which the job may still resume.

    A job that resumes there does not store again the windows that had closed, so their rows must stay.
    """
    marks = (savepoint.mark for savepoint in savepoints)
    return max((mark.watermark for mark in marks if mark is not None and mark.is_on(line)), default=NEVER)


def standing_of(job: Job) -> Standing | None:
    """Where a job stands now, to be stored with a savepoint; None: it has never been launched.

    A running job may be one step ahead of a savepoint just taken, but never less far.
    """
    plan = plan_of(job, ReplayOverlay())
    manifest = plan.checkpoints.root()
    if manifest is None:
        return None
    newest = manifest.newest if manifest.checkpoints else None
    closed = plan.last_closed()
    watermark = max(NEVER if closed is None else closed, NEVER if newest is None else newest.watermark)
    reached = plan.reached(newest.source) if newest else {} if manifest.at.name == NOTHING else None
    return Standing(manifest.at.name, manifest.at.history, manifest.at.topics, watermark, reached, manifest.line)


def _refuse_half_replayed(job: Job) -> None:
    if os.path.exists(replaying(job)):
        raise StateRefused(f"{job.state}: a replay was interrupted; run `replay` to finish it, then resume the job")


def plan_of(job: Job, overlay: ReplayOverlay) -> LivePlan:
    """What a live job stores, and where."""
    return LivePlan(
        job.tables,
        job.sinks,
        checkpoint_folder(job),
        snapshots=job.spec.execution.live_shards * len(job.aggregations),
        attempts=overlay.attempts,
        has_open_range=job.source.has_open_range,
        lateness_is_fixed=job.source.lateness_is_fixed,
        waiting={
            output.table: Waiting(microseconds(a.spec.allowed_lateness), a.spec.window.longest)
            for a in job.aggregations
            for output in a.outputs
        },
        reached=job.source.reached,
        retention={table: seconds(stays) for table, stays in job.spec.retention.items()},
    )


def _place(plan: LivePlan, manifest: Manifest | None, savepoint: Savepoint) -> Place:
    """The place of the launch that a savepoint belongs to, with its topics."""
    if savepoint.began is not None:
        return Place(**savepoint.began)
    for checkpoint in manifest.checkpoints if manifest else ():
        if checkpoint.name == savepoint.start:
            return checkpoint.place
    return Place(savepoint.start, plan.positions())


def claimed(plan: LivePlan, *, anew: bool = False) -> tuple[LivePlan, Manifest]:
    """The plan after `LivePlan.claimed`, with an id of its own."""
    return plan.claimed(uuid.uuid4().hex, anew=anew)


def _following(job: Job, *, drain: bool = False) -> Following:
    control = f"{job.state}/control"
    with suppress(FileNotFoundError):
        ask(control, "")
    keep_every = seconds(job.spec.execution.checkpoint)
    windows = tuple((a.spec.window, microseconds(a.spec.allowed_lateness)) for a in job.aggregations)
    return Following(control, drain, keep_every=keep_every, windows=windows)

"""Starts a job on a cluster: checks what must hold before, submits it, and waits until it is seen to work."""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import click

from dataflow.commands.options import say_of
from dataflow.errors import JobFailed, Refused
from dataflow.execution.bounded import check_sinks, refuse_read_once
from dataflow.execution.checkpoints import checkpoint_folder, identity
from dataflow.execution.submission import Savepoint, Submission, is_running, now, recorded
from dataflow.job.plan import Job
from transforms.errors import NotShared
from transforms.specification import Seconds, seconds
from transforms.storage.checkpoint.folder import fits
from transforms.storage.checkpoint.history import NOTHING
from transforms.storage.live.plan import LivePlan

if TYPE_CHECKING:
    from dataflow.graph import LiveRun
    from runners.flink import FlinkTarget

HOLD_SECONDS: Final = Seconds(5.0)
"""How long the source keeps a bundle open when no window waits: each resume costs Flink 2.65 KB of state for ever."""

PAUSE_SECONDS: Final = Seconds(1.5)
"""How long Flink waits after a tick before it resumes the source: it advances the watermark only between bundles. It
truncates the remaining time to whole seconds, so it waits for one."""

MOST_WITHOUT_TICK: Final = 128
"""The most portions without a tick: each tick ends a bundle."""

LIFE_SECONDS: Final = 60.0
"""How long a running job may take to keep its first checkpoint, in addition to the checkpoint interval."""

LEASE_SECONDS: Final = 5.0
"""How long a worker may have been stopped and still write: Flink gives up on one that is silent for
`heartbeat.timeout`, by default 50 s."""


@dataclass(frozen=True)
class Start:
    """How a job is started: the job, the cluster, and where it resumes.

    Args:
        force: whether an abandoned savepoint is allowed.
        from_nothing: whether it starts from nothing, whatever its state and its tables hold.
    """

    job: Job
    flags: tuple[str, ...]
    settings: tuple[str, ...]
    savepoint: Savepoint | None = None
    force: bool = False
    from_nothing: bool = False


def submit(start: Start, *, wait: bool, drain: bool = False) -> None:
    """Submits a job, waits until it runs, and records it; a failure leaves neither a job nor a record."""
    from dataflow.execution.restore import launch, rejoin, rolled_back_to
    from runners import flink, flink_jar
    from transforms.collection.control import STOP, ask

    job, savepoint, say = start.job, start.savepoint, say_of(start.job.spec.job)
    began = time.monotonic()
    _check(job)
    parallelism = flink.parallelism_of(start.flags)
    target = target_of(start.flags)
    for note in flink.notes_of(target):
        say(note)
    before = Submission.read(job.state)
    run = launch(job, say, drain=drain, anew=start.from_nothing) if savepoint is None else rejoin(job, savepoint)
    if savepoint is not None:
        labels = _labels(start, run)
        refuse_other_state(job, savepoint.identity, savepoint.labels, labels)
        # From here, the job stands at the savepoint, whether or not the submission succeeds.
        others = before.savepoints if before else ()
        run = replace(run, plan=rolled_back_to(run.plan, savepoint, others, force=start.force))
    proto, options = _built(start, run)
    record = _record(start, run.plan, before, flink.new_id(), target, flink_jar.names_of(proto))
    kept = _newest(job)
    if drain:
        ask(run.following.control, STOP)
    with recorded(job.state, record):
        try:
            flink.submit(proto, options, target, record.job, parallelism, savepoint.path if savepoint else None)
            _wait_until_it_runs(record, start.flags)
            say(f"runs as {record.job}, parallelism {parallelism}, {time.monotonic() - began:.1f} s after the command")
            awaits = drain or (wait and _must_checkpoint(start))
            if awaits:
                _await_first_checkpoint(job, record, kept)
            if drain:  # the sources of a job on Flink never end, even after their last record
                _cancel(record)
            elif awaits:
                say(f"its first checkpoint is kept, {time.monotonic() - began:.1f} s after the command")
        except BaseException:
            _cancel(record)
            raise


def _wait_until_it_runs(record: Submission, flags: Sequence[str]) -> None:
    from runners import flink
    from runners.flink_rest import Flink, FlinkJobFailed

    try:
        Flink(record.cluster).wait_until_it_runs(record.job, flink.RUNNING_SECONDS)
    except FlinkJobFailed as error:
        raise type(error)(f"{error}; its Python runs in {flink.environment_of(flags)}") from None


def _record(
    start: Start, plan: LivePlan, before: Submission | None, job: str, target: "FlinkTarget", labels: Iterable[str]
) -> Submission:
    """What the state keeps of a submission."""
    from runners import flink

    # After a start from nothing, which emptied the tables, no savepoint fits them.
    fits = start.savepoint or plan.start.name != NOTHING
    return Submission(
        cluster=target.flink.address,
        job=job,
        jar=str(target.jar.path),
        parallelism=flink.parallelism_of(start.flags),
        submitted=now(),
        labels=list(labels),
        identity=identity(start.job),
        start=plan.start.name,
        settings=start.settings,
        flags=start.flags,
        before=[*before.before, before.job] if before else [],
        savepoints=before.savepoints if before and fits else [],
        launch=plan.launch,
        began=asdict(plan.start),
    )


def drain_job(job: Job, record: Submission) -> None:
    """Closes all windows of a job that is not running: starts it once more, only to do this."""
    submit(Start(job, tuple(record.flags), tuple(record.settings)), wait=False, drain=True)


def refuse_other_state(job: Job, was: Mapping[str, str], labels: Sequence[str], are: Sequence[str]) -> None:
    """Refuses a job that a savepoint does not fit.

    Raises:
        Refused: says what differs, and what to do.
    """
    identities = identity(job)
    other = sorted(part for part in {*was, *identities} if not fits(was, part, identities.get(part)))
    if other:
        raise Refused(
            f"the running job's state is incompatible: `{other[0]}` has changed; stop that job with `flink stop`, and"
            " submit this one with another `state` and other sinks"
        )
    differ = sorted(set(labels).symmetric_difference(are))
    if differ:
        raise Refused(
            f"a savepoint of the running job does not fit this graph: only one of them has {differ[0]}; `flink compact`"
            " resumes from the job's own checkpoint, which does not depend on the graph"
        )


def _check(job: Job) -> None:
    refuse_read_once(job.source)
    job.refuse_overwriting()
    check_sinks(job)


def target_of(flags: Sequence[str], own: int = 0) -> "FlinkTarget":
    """The cluster that flags name, checked for their job; an image on this machine is checked too."""
    from containers.engine import EngineError
    from containers.image import mismatch
    from runners import flink

    if image := flink.image_of(flags):
        with suppress(EngineError):  # the image is on the cluster's machines, and cannot be checked here
            if why := mismatch(image):
                raise Refused(f"flink: {why}")
    return flink.target_of(flags, flink.parallelism_of(flags), own=own)


def labels_of(start: Start) -> list[str]:
    """The transforms of the graph that would be submitted to resume from a savepoint."""
    from dataflow.execution.restore import rejoin

    return _labels(start, rejoin(start.job))


def _labels(start: Start, run: "LiveRun") -> list[str]:
    from runners import flink_jar

    return list(flink_jar.names_of(_built(start, run)[0]))


def _built(start: Start, run: "LiveRun") -> tuple[Any, Any]:
    """The graph of a run, and its options."""
    from dataflow.graph import build_live
    from runners import flink

    pipeline = flink.pipeline(start.flags, start.job.spec.job, endless=True)
    patient = replace(run.following, hold=HOLD_SECONDS, pause=PAUSE_SECONDS, most_without_tick=MOST_WITHOUT_TICK)
    leased = replace(run.plan, lease=LEASE_SECONDS)
    build_live(pipeline, start.job, replace(run, following=patient, plan=leased))
    return flink.proto_of(pipeline), pipeline._options


def _newest(job: Job) -> tuple[str, int]:
    """The newest checkpoint: its history, and its name."""
    manifest = checkpoint_folder(job).read(taken_back=True)
    return (manifest.newest.history, manifest.newest.name) if manifest and manifest.checkpoints else ("", NOTHING)


def _must_checkpoint(start: Start) -> bool:
    """Whether the job must write a checkpoint, even if no record arrives."""
    if start.savepoint is None:
        return True
    manifest = checkpoint_folder(start.job).read(taken_back=True)
    return manifest is None or manifest.taken_back or start.job.source.unread(manifest.newest) > 0


def _await_first_checkpoint(job: Job, record: Submission, before: tuple[str, int]) -> None:
    """Waits until a job's first checkpoint is in its folder: then everything works, including the sinks.

    Raises:
        JobFailed: if there is no checkpoint in time, or the job ended.
    """
    from runners.flink_rest import Flink

    flink = Flink(record.cluster)
    patience = LIFE_SECONDS + seconds(job.spec.execution.checkpoint)
    deadline = time.monotonic() + patience
    while _newest(job) == before:
        if not is_running(record):
            raise JobFailed(flink.why(record.job, "no longer running"))
        failed = flink.failure(record.job)
        if failed is not None and failed[1].startswith(NotShared.__name__):
            raise JobFailed(flink.why(record.job, "running without the launch's state folder"))
        if time.monotonic() > deadline:
            raise JobFailed(flink.why(record.job, f"running, and has kept no checkpoint for {patience:.0f} s"))
        time.sleep(0.2)


def _cancel(record: Submission) -> None:
    """Cancels a job, if the cluster answers."""
    from runners.flink_rest import Flink, FlinkError, NoSuchJob

    try:
        Flink(record.cluster).cancel(record.job, 30)
    except NoSuchJob:
        return
    except FlinkError as error:
        click.echo(f"warning: job {record.job} may still run on {record.cluster}: {error}", err=True)

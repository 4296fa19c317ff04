"""`flink submit`, `resume`, `rescale`, `upgrade`, `compact`: what starts a job on a cluster."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import click

from dataflow.checkpoints import checkpoint_folder, identity
from dataflow.command_line import say_of
from dataflow.commands.flink_state import cancel, placed, stop_at_savepoint, submitted, told_of_flink
from dataflow.commands.load import load_job
from dataflow.errors import Refused, UsageError
from dataflow.job import Job
from dataflow.run import JobFailed, check_sinks, held, quieten
from dataflow.submission import Savepoint, Submission, is_running, now, recorded, refuse_while_it_runs
from transforms.specification import microseconds

HOLD_SECONDS: Final = 5.0
"""How long the source stays in one call when no window waits: each call costs Flink 2.65 KB of state, for ever."""

PAUSE_SECONDS: Final = 1.5
"""How long Flink shall wait for the next call behind a tick: it passes the watermark on only while there is none. It
cuts what is left of this to whole seconds, so it waits for one."""

MOST_UNTOLD: Final = 128
"""Portions that may go by without a tick: each tick is the end of a call."""

LIFE_SECONDS: Final = 60.0
"""How long a job that runs may take to keep its first checkpoint, besides the pace of checkpoints."""

NOTHING: Final = -1


@dataclass(frozen=True)
class Start:
    """How a job is started: what it is, where, and what it goes on from."""

    job: Job
    flags: tuple[str, ...]
    settings: tuple[str, ...]
    savepoint: Savepoint | None = None


def submit_job(path: str, settings: Sequence[str], flags: Sequence[str], *, wait: bool) -> int:
    """Submits a job: an endless one is left to the cluster, one that ends is waited for."""
    quieten()
    job = load_job(path, settings)
    if not job.spec.is_endless:
        return _run_bounded(job, path, settings, flags)
    with told_of_flink(), held(job.state):
        refuse_while_it_runs(job.state)
        _launch(Start(job, tuple(flags), tuple(settings)), wait=wait)
    return 0


def _run_bounded(job: Job, path: str, settings: Sequence[str], flags: Sequence[str]) -> int:
    from dataflow.commands.run import run_job

    return run_job(path, settings, ["--runner=FlinkRunner", f"--job_name={job.spec.job}", *flags])


def resume_job(
    path: str,
    settings: Sequence[str],
    flags: Sequence[str],
    *,
    savepoint: str | None,
    from_checkpoint: bool,
    wait: bool,
) -> int:
    """Starts a job that does not run from a savepoint of the cluster's, or from its own checkpoint."""
    if (savepoint is None) != from_checkpoint:
        raise UsageError("resume needs one of --from SAVEPOINT and --from-checkpoint")
    quieten()
    with told_of_flink():
        start = _again(path, settings, flags)
        with held(start.job.state):
            refuse_while_it_runs(start.job.state)
            if from_checkpoint:
                if checkpoint_folder(start.job).read() is None:
                    raise UsageError(f"{start.job.state} holds no checkpoint: `flink submit` begins anew")
                _launch(start, wait=wait)
            else:
                record = Submission.read(start.job.state)
                known = record.savepoint(savepoint or "") if record else None
                if known is None:
                    raise Refused(
                        f"{savepoint} is no savepoint of this job"
                        + (": it has " + ", ".join(entry.path for entry in record.savepoints) if record else "")
                    )
                _launch(replace(start, savepoint=known), wait=wait)
    return 0


def rescale_job(path: str, parallelism: int, settings: Sequence[str], flags: Sequence[str], *, wait: bool) -> int:
    """Stops a job with a savepoint and starts it from there with another parallelism."""
    with _opened(path, settings, [*flags, f"--parallelism={parallelism}"]) as start:
        _restart(start, wait=wait)
    return 0


def upgrade_job(path: str, settings: Sequence[str], flags: Sequence[str], *, wait: bool) -> int:
    """Starts a job again as it is now: new code, a new image, a new job file.

    It goes on from a savepoint; with new statistics from its own checkpoint, which they join.
    """
    from dataflow.upgrade import new_figures

    with _opened(path, settings, flags) as start:
        if new_figures(start.job):
            _start_anew(start, wait=wait, takes_up=True)
        else:
            _restart(start, wait=wait)
    return 0


def compact_job(path: str, settings: Sequence[str], flags: Sequence[str], *, wait: bool) -> int:
    """Starts a job anew from its own last checkpoint: the cluster's state begins anew."""
    with _opened(path, settings, flags) as start:
        placed(start.job)
        _start_anew(start, wait=wait)
    return 0


@contextmanager
def _opened(path: str, settings: Sequence[str], flags: Sequence[str]) -> Iterator[Start]:
    """A job that was submitted, held against other commands."""
    quieten()
    with told_of_flink():
        start = _again(path, settings, flags)
        with held(start.job.state):
            yield start


def _restart(start: Start, *, wait: bool) -> None:
    """Stops a job at a savepoint and starts it from there. Everything that can be refused is, before it is stopped."""
    at = placed(start.job)
    check_sinks(start.job)
    target = _target(start.flags, own=at.record.parallelism)
    refuse_other_state(start.job, at.record.identity, at.record.labels, _labels(start, at.record.start))
    say_of(start.job.spec.job)(f"stopping at a savepoint; {target.flink.address} has room for what comes")
    record = stop_at_savepoint(start.job, at)
    with _standing("at its savepoint: `flink resume --from latest`"):
        _launch(replace(start, savepoint=record.savepoints[-1]), wait=wait)


def _start_anew(start: Start, *, wait: bool, takes_up: bool = False) -> None:
    """Ends a job and starts it from its own last checkpoint, which new statistics may join before.

    Everything that can be refused is, before it is stopped.
    """
    from dataflow.launch import place_to_go_on
    from dataflow.upgrade import upgrade

    job, record, folder = start.job, submitted(start.job), checkpoint_folder(start.job)
    manifest = folder.of_any_job() if takes_up else folder.read()
    if manifest is None:
        raise Refused(f"{job.state} holds no checkpoint yet")
    place_to_go_on(job, manifest)
    check_sinks(job)
    runs = is_running(record)
    _target(start.flags, own=record.parallelism if runs else 0)
    if runs:
        cancel(job, placed(job))
    again = "`flink upgrade`" if takes_up else "`flink resume --from-checkpoint`"
    with _standing(f"at its own checkpoint: {again}"):
        if takes_up:
            upgrade(job, say_of(job.spec.job))
        _launch(start, wait=wait)


@contextmanager
def _standing(where: str) -> Iterator[None]:
    """Says of a failure where the job stands now, and what goes on from there."""
    try:
        yield
    except Exception:
        click.echo(f"note: the job stands {where} goes on", err=True)
        raise


def drain_job(job: Job, record: Submission) -> None:
    """Closes all windows of a job that does not run: it is started once more, to do nothing else."""
    _launch(Start(job, tuple(record.flags), tuple(record.settings)), wait=False, drain=True)


def refuse_other_state(job: Job, was: Any, labels: Sequence[str], are: Sequence[str]) -> None:
    """Refuses a job that a savepoint does not fit.

    Raises:
        Refused: with what differs, and what to do.
    """
    identities = identity(job)
    other = sorted(part for part in {*was, *identities} if was.get(part) != identities.get(part))
    if other:
        raise Refused(
            f"the running job's state does not fit this one, whose `{other[0]}` is another: stop it with `flink stop`,"
            " and submit this one with another `state` and other sinks"
        )
    differ = sorted(set(labels).symmetric_difference(are))
    if differ:
        raise Refused(
            f"a savepoint of the running job does not fit this graph, whose {differ[0]} is not in both: `flink compact`"
            " goes on from the job's own checkpoint, which has no graph"
        )


def _again(path: str, settings: Sequence[str], flags: Sequence[str]) -> Start:
    """A job as it was submitted, with what is said now instead."""
    job = load_job(path, settings)
    record = submitted(job)
    every = tuple(dict.fromkeys((*record.settings, *settings)))
    merged = _merged(record.flags, flags)
    return Start(load_job(path, every) if every != tuple(settings) else job, merged, every)


def _merged(before: Sequence[str], flags: Sequence[str]) -> tuple[str, ...]:
    """Flags of a submission, with those in place of which there are new ones left out."""
    given = {flag.partition("=")[0] for flag in flags}
    return (*(flag for flag in before if flag.partition("=")[0] not in given), *flags)


def _target(flags: Sequence[str], own: int = 0) -> Any:
    """The cluster that flags name, fit for a job of theirs; an image that can be looked at here fits, too."""
    from containers.engine import EngineError
    from containers.image import mismatch
    from runners import flink

    if image := flink.image_of(flags):
        with suppress(EngineError):  # it lies where the cluster's machines are, and nobody here can say
            if why := mismatch(image):
                raise Refused(f"flink: {why}")
    return flink.target_of(flags, flink.parallelism_of(flags), own=own)


def _labels(start: Start, began: int) -> list[str]:
    """The transforms of the graph as it would be submitted."""
    from dataflow.launch import rejoin
    from runners import flink, flink_jar

    return list(flink_jar.names_of(flink.proto_of(_built(start, rejoin(start.job, began)))))


def _built(start: Start, run: Any) -> Any:
    from dataflow.graph import build_live
    from runners import flink

    pipeline = flink.pipeline(start.flags, start.job.spec.job, endless=True)
    patient = replace(run.following, hold=HOLD_SECONDS, pause=PAUSE_SECONDS, most_untold=MOST_UNTOLD)
    build_live(pipeline, start.job, replace(run, following=patient))
    return pipeline


def _launch(start: Start, *, wait: bool, drain: bool = False) -> None:
    """Submits a job, sees it run, and records it; a failure leaves neither a job nor a record."""
    from dataflow.launch import claimed, launch, rejoin
    from runners import flink, flink_jar
    from runners.flink_rest import Flink, FlinkJobFailed
    from transforms.collection.control import STOP, ask

    job, savepoint, say = start.job, start.savepoint, say_of(start.job.spec.job)
    began = time.monotonic()
    check_sinks(job)
    parallelism = flink.parallelism_of(start.flags)
    target = _target(start.flags)
    for note in flink.notes_of(target):
        say(note)
    before = Submission.read(job.state)
    if savepoint is None:
        run = launch(job, say, drain=drain)
    else:
        run = rejoin(job, savepoint.start)
        run = replace(run, plan=claimed(run.plan))
    pipeline = _built(start, run)
    proto = flink.proto_of(pipeline)
    labels = list(flink_jar.names_of(proto))
    if savepoint is not None:
        refuse_other_state(job, savepoint.identity, savepoint.labels, labels)
    record = Submission(
        cluster=target.flink.address,
        job=flink.new_id(),
        jar=str(target.jar.path),
        parallelism=parallelism,
        submitted=now(),
        labels=labels,
        identity=identity(job),
        start=run.plan.start.name,
        settings=start.settings,
        flags=start.flags,
        before=[*before.before, before.job] if before else [],
        # Behind a beginning from nothing, which emptied the tables, no savepoint fits them.
        savepoints=before.savepoints if before and (savepoint or run.plan.start.name != NOTHING) else [],
    )
    kept = _newest(job)
    if drain:
        ask(run.following.control, STOP)
    with recorded(job.state, record):
        try:
            flink.submit(
                proto, pipeline._options, target, record.job, parallelism, savepoint.path if savepoint else None
            )
            try:
                Flink(record.cluster).wait_until_it_runs(record.job, flink.RUNNING_SECONDS)
            except FlinkJobFailed as error:
                raise FlinkJobFailed(f"{error}; its Python runs in {flink.environment_of(start.flags)}") from None
            say(f"runs as {record.job}, parallelism {parallelism}, {time.monotonic() - began:.1f} s after the command")
            if drain:
                # The sources of a job on Flink never end, though nothing comes from them any more.
                _see_it_live(job, record, kept)
                _cancel(record)
            elif wait and _owes(start):
                _see_it_live(job, record, kept)
                say(f"its first checkpoint is kept, {time.monotonic() - began:.1f} s after the command")
        except BaseException:
            _cancel(record)
            raise


def _newest(job: Job) -> int:
    manifest = checkpoint_folder(job).read()
    return manifest.newest.name if manifest else NOTHING


def _owes(start: Start) -> bool:
    """Whether a checkpoint must come, even if no record does."""
    if start.savepoint is None:
        return True
    from dataflow.source import source_of

    manifest = checkpoint_folder(start.job).read()
    return manifest is None or source_of(start.job).span()[1] > int(manifest.newest.source["position"])


def _see_it_live(job: Job, record: Submission, before: int) -> None:
    """Waits until a job's first checkpoint is in its folder: everything works as far as the sinks.

    Raises:
        JobFailed: if there is none in time, or the job ended.
    """
    from runners.flink_rest import Flink

    seconds = LIFE_SECONDS + microseconds(job.spec.execution.checkpoint) / 1e6
    deadline = time.monotonic() + seconds
    while _newest(job) == before:
        if not is_running(record):
            raise JobFailed(Flink(record.cluster).why(record.job, "over"))
        if time.monotonic() > deadline:
            why = Flink(record.cluster).why(record.job, f"running, and has kept no checkpoint for {seconds:.0f} s")
            raise JobFailed(f"{why}; is {job.state} the same folder for its workers?")
        time.sleep(0.2)


def _cancel(record: Submission) -> None:
    """Leaves no job behind, if the cluster can be told."""
    from runners.flink_rest import Flink, FlinkError, NoSuchJob

    try:
        Flink(record.cluster).cancel(record.job, 30)
    except NoSuchJob:
        return
    except FlinkError as error:
        click.echo(f"warning: job {record.job} may still run on {record.cluster}: {error}", err=True)

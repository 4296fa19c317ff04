"""`flink submit`, `resume`, `rescale`, `upgrade`, `compact`: what starts a job on a cluster."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import click

from dataflow.commands.flink.start import Start, labels_of, refuse_other_state, submit, target_of
from dataflow.commands.flink.state import cancel, complete, flink_failures, placed, stop_at_savepoint, submitted
from dataflow.commands.load import load_job
from dataflow.commands.options import say_of
from dataflow.errors import Refused, UsageError
from dataflow.execution.bounded import check_sinks, held, quieten
from dataflow.execution.checkpoints import checkpoint_folder
from dataflow.execution.submission import Savepoint, is_running, refuse_while_it_runs
from dataflow.job.plan import Job


def submit_job(
    path: str, settings: Sequence[str], flags: Sequence[str], *, wait: bool, from_nothing: bool = False
) -> int:
    """Submits a job: leaves an endless one to the cluster, and waits for one that ends."""
    quieten()
    job = load_job(path, settings)
    if not job.spec.is_endless:
        return _run_bounded(job, path, settings, flags)
    with flink_failures(), held(job.state):
        refuse_while_it_runs(job.state)
        submit(Start(job, tuple(flags), tuple(settings), from_nothing=from_nothing), wait=wait)
    return 0


def _run_bounded(job: Job, path: str, settings: Sequence[str], flags: Sequence[str]) -> int:
    from dataflow.commands.run import run_job

    return run_job(path, settings, ["--runner=FlinkRunner", f"--job_name={job.spec.job}", *flags])


def resume_job(
    path: str,
    settings: Sequence[str],
    flags: Sequence[str],
    savepoint: str | None,
    *,
    from_checkpoint: bool,
    force: bool,
    wait: bool,
) -> int:
    """Starts a job that is not running from a savepoint of the cluster, or from its own checkpoint.

    Args:
        force: whether an abandoned savepoint is allowed: one that the job has left for an older one.
    """
    if (savepoint is None) != from_checkpoint:
        raise UsageError("resume needs one of --from SAVEPOINT and --from-checkpoint")
    quieten()
    with flink_failures():
        start = _again(path, settings, flags)
        with held(start.job.state):
            refuse_while_it_runs(start.job.state)
            if savepoint is None:
                if checkpoint_folder(start.job).read() is None:
                    raise UsageError(f"{start.job.state} holds no checkpoint: `flink submit` starts from nothing")
                submit(start, wait=wait)
            else:
                known = _known(start.job, savepoint, force=force)
                submit(replace(start, savepoint=known, force=force), wait=wait)
    return 0


def _known(job: Job, named: str, *, force: bool) -> Savepoint:
    """A savepoint of a job by name; says which later savepoints the job abandons.

    Raises:
        Refused: if it is not a savepoint of this job, or the job has abandoned it.
    """
    record, say = complete(job), say_of(job.spec.job)
    root = checkpoint_folder(job).root()
    line = root.line if root is not None else ()
    found = record.savepoint(named, line)
    if found is None:
        left = ", ".join(
            f"{entry.path} (abandoned)" if entry.is_abandoned(line) else entry.path for entry in record.savepoints
        )
        raise Refused(f"{named} is not a savepoint of this job, which has {left or 'none'}")
    if found.is_abandoned(line):
        if not force:
            raise Refused(
                f"{found.path}: the job has abandoned this savepoint: it resumed from an older one, and later rows were"
                " removed from its tables. `--force-history` resumes from it nevertheless, and the tables lack what"
                " was removed; with `--from latest` or `--from-checkpoint` nothing is missing"
            )
        say("the tables lack what this savepoint's history stored after the job abandoned it: `verify` shows it")
        return found
    later = [entry for entry in record.savepoints if entry.is_after(found) and not entry.is_abandoned(line)]
    if later:
        say(f"abandons what came after {found.path}, with these savepoints: {', '.join(e.path for e in later)}")
    return found


def rescale_job(path: str, parallelism: int, settings: Sequence[str], flags: Sequence[str], *, wait: bool) -> int:
    """Stops a job with a savepoint and restarts it from there with another parallelism."""
    with _opened(path, settings, [*flags, f"--parallelism={parallelism}"]) as start:
        _restart(start, wait=wait)
    return 0


def upgrade_job(path: str, settings: Sequence[str], flags: Sequence[str], *, wait: bool) -> int:
    """Restarts a job in its new version: new code, a new image, a new job file.

    It resumes from a savepoint; with new statistics from its own checkpoint, to which these are added.
    """
    from dataflow.execution.upgrade import new_figures

    with _opened(path, settings, flags) as start:
        if new_figures(start.job):
            _restart_from_checkpoint(start, wait=wait, upgrades=True)
        else:
            _restart(start, wait=wait)
    return 0


def compact_job(path: str, settings: Sequence[str], flags: Sequence[str], *, wait: bool) -> int:
    """Restarts a job from its own last checkpoint, with new state in the cluster."""
    with _opened(path, settings, flags) as start:
        placed(start.job)
        _restart_from_checkpoint(start, wait=wait)
    return 0


@contextmanager
def _opened(path: str, settings: Sequence[str], flags: Sequence[str]) -> Iterator[Start]:
    """A job that was submitted, locked against other commands."""
    quieten()
    with flink_failures():
        start = _again(path, settings, flags)
        with held(start.job.state):
            yield start


def _restart(start: Start, *, wait: bool) -> None:
    """Stops a job at a savepoint and restarts it from there; checks everything that may be refused first."""
    at = placed(start.job)
    check_sinks(start.job)
    target = target_of(start.flags, own=at.record.parallelism)
    refuse_other_state(start.job, at.record.identity, at.record.labels, labels_of(start))
    say_of(start.job.spec.job)(f"stopping at a savepoint; {target.flink.address} has room for the new job")
    record = stop_at_savepoint(start.job, at)
    with _standing("at its savepoint: `flink resume --from latest`"):
        submit(replace(start, savepoint=record.savepoints[-1]), wait=wait)


def _restart_from_checkpoint(start: Start, *, wait: bool, upgrades: bool = False) -> None:
    """Ends a job and restarts it from its own last checkpoint, to which new statistics may be added first.

    Checks everything that may be refused before it ends the job.
    """
    from dataflow.execution.restore import resume_cursor
    from dataflow.execution.upgrade import upgrade

    job, record, folder = start.job, submitted(start.job), checkpoint_folder(start.job)
    manifest = folder.of_any_job() if upgrades else folder.read()
    if manifest is None:
        raise Refused(f"{job.state} holds no checkpoint yet")
    resume_cursor(job, manifest)
    check_sinks(job)
    runs = is_running(record)
    target_of(start.flags, own=record.parallelism if runs else 0)
    if runs:
        cancel(job, placed(job))
    again = "`flink upgrade`" if upgrades else "`flink resume --from-checkpoint`"
    with _standing(f"at its own checkpoint: {again}"):
        if upgrades:
            upgrade(job, say_of(job.spec.job))
        submit(start, wait=wait)


@contextmanager
def _standing(where: str) -> Iterator[None]:
    """After a failure, says where the job stands now, and which command resumes it."""
    try:
        yield
    except Exception:
        click.echo(f"note: the job stands {where} resumes it", err=True)
        raise


def _again(path: str, settings: Sequence[str], flags: Sequence[str]) -> Start:
    """A job as it was submitted, with the settings and flags that are now given instead."""
    job = load_job(path, settings)
    record = submitted(job)
    every = tuple(dict.fromkeys((*record.settings, *settings)))
    merged = _merged(record.flags, flags)
    return Start(load_job(path, every) if every != tuple(settings) else job, merged, every)


def _merged(before: Sequence[str], flags: Sequence[str]) -> tuple[str, ...]:
    """The flags of a submission, without those that are now given, and then these."""
    given = {flag.partition("=")[0] for flag in flags}
    return (*(flag for flag in before if flag.partition("=")[0] not in given), *flags)

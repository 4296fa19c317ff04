"""`flink submit`, `resume`, `rescale`, `upgrade`, `compact`: what starts a job on a cluster."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import click

from dataflow.commands.flink.start import Start, labels_of, refuse_other_state, submit, target_of
from dataflow.commands.flink.state import cancel, complete, placed, stop_at_savepoint, submitted, told_of_flink
from dataflow.commands.load import load_job
from dataflow.commands.options import say_of
from dataflow.errors import Refused, UsageError
from dataflow.execution.bounded import check_sinks, held, quieten
from dataflow.execution.checkpoints import checkpoint_folder
from dataflow.execution.submission import Savepoint, is_running, refuse_while_it_runs
from dataflow.job.plan import Job


def submit_job(path: str, settings: Sequence[str], flags: Sequence[str], *, wait: bool, anew: bool = False) -> int:
    """Submits a job: an endless one is left to the cluster, one that ends is waited for."""
    quieten()
    job = load_job(path, settings)
    if not job.spec.is_endless:
        return _run_bounded(job, path, settings, flags)
    with told_of_flink(), held(job.state):
        refuse_while_it_runs(job.state)
        submit(Start(job, tuple(flags), tuple(settings), anew=anew), wait=wait)
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
    """Starts a job that does not run from a savepoint of the cluster's, or from its own checkpoint.

    Args:
        force: whether the savepoint may be one that the job has left for an older one.
    """
    if (savepoint is None) != from_checkpoint:
        raise UsageError("resume needs one of --from SAVEPOINT and --from-checkpoint")
    quieten()
    with told_of_flink():
        start = _again(path, settings, flags)
        with held(start.job.state):
            refuse_while_it_runs(start.job.state)
            if savepoint is None:
                if checkpoint_folder(start.job).read() is None:
                    raise UsageError(f"{start.job.state} holds no checkpoint: `flink submit` begins anew")
                submit(start, wait=wait)
            else:
                known = _known(start.job, savepoint, force=force)
                submit(replace(start, savepoint=known, force=force), wait=wait)
    return 0


def _known(job: Job, named: str, *, force: bool) -> Savepoint:
    """A savepoint of a job, by its name; says which others the job leaves with it.

    Raises:
        Refused: if it is none of this job, or the job has left it.
    """
    record, say = complete(job), say_of(job.spec.job)
    root = checkpoint_folder(job).root()
    line = root.line if root is not None else ()
    found = record.savepoint(named, line)
    if found is None:
        left = ", ".join(
            f"{entry.path} (abandoned)" if entry.is_abandoned(line) else entry.path for entry in record.savepoints
        )
        raise Refused(f"{named} is no savepoint of this job: it has {left or 'none'}")
    if found.is_abandoned(line):
        if not force:
            raise Refused(
                f"{found.path}: the job has left this savepoint: it resumed from an older one, and what followed was"
                " taken out of its tables. `--force-history` resumes from it all the same, and the tables lack what"
                " was taken out; `--from latest` and `--from-checkpoint` lack nothing"
            )
        say("the tables lack what this savepoint's history stored after the job left it: `verify` shows what")
        return found
    later = [entry for entry in record.savepoints if entry.is_after(found) and not entry.is_abandoned(line)]
    if later:
        say(f"abandons what came after {found.path}, with these savepoints: {', '.join(e.path for e in later)}")
    return found


def rescale_job(path: str, parallelism: int, settings: Sequence[str], flags: Sequence[str], *, wait: bool) -> int:
    """Stops a job with a savepoint and starts it from there with another parallelism."""
    with _opened(path, settings, [*flags, f"--parallelism={parallelism}"]) as start:
        _restart(start, wait=wait)
    return 0


def upgrade_job(path: str, settings: Sequence[str], flags: Sequence[str], *, wait: bool) -> int:
    """Starts a job again as it is now: new code, a new image, a new job file.

    It goes on from a savepoint; with new statistics from its own checkpoint, which they join.
    """
    from dataflow.execution.upgrade import new_figures

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
    target = target_of(start.flags, own=at.record.parallelism)
    refuse_other_state(start.job, at.record.identity, at.record.labels, labels_of(start))
    say_of(start.job.spec.job)(f"stopping at a savepoint; {target.flink.address} has room for what comes")
    record = stop_at_savepoint(start.job, at)
    with _standing("at its savepoint: `flink resume --from latest`"):
        submit(replace(start, savepoint=record.savepoints[-1]), wait=wait)


def _start_anew(start: Start, *, wait: bool, takes_up: bool = False) -> None:
    """Ends a job and starts it from its own last checkpoint, which new statistics may join before.

    Everything that can be refused is, before it is stopped.
    """
    from dataflow.execution.restore import place_to_go_on
    from dataflow.execution.upgrade import upgrade

    job, record, folder = start.job, submitted(start.job), checkpoint_folder(start.job)
    manifest = folder.of_any_job() if takes_up else folder.read()
    if manifest is None:
        raise Refused(f"{job.state} holds no checkpoint yet")
    place_to_go_on(job, manifest)
    check_sinks(job)
    runs = is_running(record)
    target_of(start.flags, own=record.parallelism if runs else 0)
    if runs:
        cancel(job, placed(job))
    again = "`flink upgrade`" if takes_up else "`flink resume --from-checkpoint`"
    with _standing(f"at its own checkpoint: {again}"):
        if takes_up:
            upgrade(job, say_of(job.spec.job))
        submit(start, wait=wait)


@contextmanager
def _standing(where: str) -> Iterator[None]:
    """Says of a failure where the job stands now, and what goes on from there."""
    try:
        yield
    except Exception:
        click.echo(f"note: the job stands {where} goes on", err=True)
        raise


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

"""`run`: a job from its file to its report."""

import difflib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from dataflow import interrupt
from dataflow.commands.load import load_job
from dataflow.commands.options import say_of
from dataflow.errors import Refused, UsageError
from dataflow.execution.bounded import Ran, execute, quieten, refuse_unseen
from dataflow.execution.live import LiveFlags
from dataflow.execution.stored import places
from dataflow.job.plan import Job
from transforms.process.progress import TALLY
from transforms.storage.publish import DEAD_LETTERS, LEDGER, Outcome

TOO_MANY_DEAD = 3
_OURS = ("--streaming", "--to-end", "--drain", "--serve", "--upgrade", "--begin-anew", "--set")


def run_job(path: str, settings: Sequence[str], flags: Sequence[str]) -> int:
    """Runs a job to its end and tells how it ended.

    Returns:
        The exit code: 0, or 3 when too many records were dead.
    """
    job = _load(path, settings, flags)
    _refuse_live_state(job)
    return run_planned(job, flags)


def run_job_live(path: str, settings: Sequence[str], flags: Sequence[str], live: LiveFlags) -> int:
    """Runs a job until it is told to stop, or all of its log is read."""
    job = _load(path, settings, flags)
    if not job.spec.is_endless:
        raise UsageError("--streaming needs a source without an end, and `files` end")
    if live.serve is not None:
        from dataflow.page.server import parse_address

        parse_address(live.serve)
    from runners import flink

    if flink.is_cluster(flags):
        from dataflow.commands.flink.submit import submit_job

        if live != LiveFlags(begin_anew=live.begin_anew):
            raise UsageError(
                "--drain, --to-end, --serve and --upgrade are for jobs of this machine: see `flink --help`"
            )
        interrupt.end_at_sigterm()
        return submit_job(path, settings, flags, wait=True, anew=live.begin_anew)
    return run_live(job, flags, live)


def _load(path: str, settings: Sequence[str], flags: Sequence[str]) -> Job:
    quieten()
    for before, word in zip(("", *flags), flags, strict=False):
        # A word behind `--flag` may be its value; any other is a second job, or a slip.
        if not word.startswith("-") and (not before.startswith("-") or "=" in before):
            raise UsageError(f"a run has one job; what is {word}?")
        mistyped = difflib.get_close_matches(word.partition("=")[0], _OURS, 1, 0.8)
        if mistyped:
            raise UsageError(f"{word}: did you mean {mistyped[0]}?")
    return load_job(path, settings)


def _refuse_live_state(job: Job) -> None:
    from transforms.storage.checkpoint.folder import CheckpointFolder

    if CheckpointFolder(job.state).root() is not None:
        raise UsageError(
            f"{job.state} is that of a job which runs live: go on with --streaming; `verify` runs its log as a batch;"
            " or give this run another `state` and other sinks"
        )


def run_live(job: Job, flags: Sequence[str], live: LiveFlags) -> int:
    """Runs a planned job live, and writes its report when it ends."""
    from dataflow.execution.live import follow
    from dataflow.source.waiting import wait_for_source
    from runners import doctor
    from transforms.time.event_time import as_text

    refuse_unseen(job, flags)

    say = say_of(job.spec.job)
    try:
        doctor.diagnose(flags, endless=True)
    except ValueError as error:
        raise Refused(f"runner: {error}") from None
    if not live.to_end:  # there is no end yet to go to
        wait_for_source(job, say)
    with _progress(job.spec.job):
        ended = follow(job, flags, live, say=say)
    _tell_book(job)
    if job.spec.report:
        from dataflow.commands.report import render_stored

        render_stored(job, job.spec.report, ended.ran)
    if ended.drained:
        say("drained: every window is closed")
    else:
        say(f"stopped at chunk {ended.chunk:,}, event time {as_text(ended.watermark)}; the next start resumes there")
    return 0


def _tell_book(job: Job) -> None:
    from dataflow.execution.checkpoints import checkpoint_folder
    from dataflow.execution.stored import sums

    manifest = checkpoint_folder(job).read()
    known = manifest.newest.totals if manifest is not None else None
    click.echo(f"  ledger        {_sum(known or sums(job))}")


def _sum(book: Mapping[str, int]) -> str:
    """What became of the records read, as a sum."""
    ends = ("accepted", "filtered", "dead", "late", "duplicate")
    parts = " + ".join(f"{name} {book[name]:,}" for name in ends if book[name])
    return f"read {book['read']:,} = {parts or 0}"


def run_planned(job: Job, flags: Sequence[str], part: Any = None) -> int:
    """Runs a planned job, or a part of its log, writes its report and tells how it ended."""
    with _progress(job.spec.job):
        ran = execute(job, flags, part)
    outcome = Outcome.read(job.state)
    if outcome is None:
        raise AssertionError("a run ended without an outcome")
    if ran.status != "published":
        _tell_refusal(job, outcome)
        return TOO_MANY_DEAD
    if job.spec.report:
        from dataflow.commands.report import render_stored

        render_stored(job, job.spec.report, ran)
    _tell(job, outcome, ran)
    return 0


@contextmanager
def _progress(name: str) -> Iterator[None]:
    """Shows rows, rows a second and dead letters while a job runs on a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    done = threading.Event()
    started = time.monotonic()

    def line() -> str:
        seconds = max(time.monotonic() - started, 1e-3)
        return f"{name}: {TALLY.read:,} records, {TALLY.read / seconds:,.0f} a second, {TALLY.dead:,} dead letters"

    with console.status(line()) as status:

        def show() -> None:
            while not done.wait(0.2):
                status.update(line())

        thread = threading.Thread(target=show, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _tell(job: Job, outcome: Outcome, ran: Ran) -> None:
    book = outcome.ledger
    rate = book["read"] / max(ran.seconds, 1e-9)
    click.echo(
        f"{job.spec.job}: {book['read']:,} records in {ran.seconds:.1f} s ({rate:,.0f} a second) on {ran.runner}"
    )
    click.echo(f"  ledger        {_sum(book)}")
    if not book["read"]:
        click.echo("  no record was read: the tables are empty")
    for reason, count in sorted(outcome.reasons.items(), key=lambda entry: -entry[1]):
        click.echo(f"  dead letters  {reason} {count:,}")
    width = max(len(name) for name in job.tables)
    for name in job.tables:
        if name != LEDGER:
            click.echo(f"  {name:{width}}  {outcome.rows[name]:>9,} rows")
    for place in places(job):
        click.echo(f"  in            {place}")
    if job.spec.report:
        click.echo(f"  report        {job.spec.report}")


def _tell_refusal(job: Job, outcome: Outcome) -> None:
    book, limit = outcome.ledger, job.spec.dead_letters.fail_above
    share = book["dead"] / book["read"]
    click.echo(
        f"error: {book['dead']:,} of {book['read']:,} records are dead letters ({share:.1%}; dead_letters.fail_above is"
        f" {limit:.1%}); nothing was published, the tables of the run before are whole",
        err=True,
    )
    for reason, count in sorted(outcome.reasons.items(), key=lambda entry: -entry[1]):
        click.echo(f"  {reason} {count:,}", err=True)
    index = list(job.tables).index(DEAD_LETTERS)
    click.echo(f"  to look at them: {job.state}/staging-{outcome.run}/{index}", err=True)

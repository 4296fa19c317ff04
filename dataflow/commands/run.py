"""`run`: runs a bounded job from its file to its report."""

import difflib
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import click

from dataflow.commands.load import load_job
from dataflow.errors import UsageError
from dataflow.execution.bounded import Ran, execute, quieten
from dataflow.execution.part import Part
from dataflow.execution.stored import places
from dataflow.job.plan import Job
from transforms.process.progress import Bulletin, Tally
from transforms.storage.publish import Outcome, Plan
from transforms.storage.tables import DEAD_LETTERS, LEDGER

TOO_MANY_DEAD = 3
_OURS = ("--streaming", "--to-end", "--drain", "--serve", "--upgrade", "--begin-anew", "--set")


def run_job(path: str, settings: Sequence[str], flags: Sequence[str]) -> int:
    """Runs a job to its end and prints the outcome.

    Returns:
        The exit code: 0, or 3 when too many records were dead.
    """
    job = load_for_run(path, settings, flags)
    _refuse_live_state(job)
    return run_planned(job, flags)


def load_for_run(path: str, settings: Sequence[str], flags: Sequence[str]) -> Job:
    """The job of a file; the words after the file must be flags.

    Raises:
        UsageError: if a word is not a flag.
    """
    quieten()
    for before, word in zip(("", *flags), flags, strict=False):
        # A word after `--flag` may be its value; any other is a second job, or a mistake.
        if not word.startswith("-") and (not before.startswith("-") or "=" in before):
            raise UsageError(f"a run takes one job; what is {word}?")
        mistyped = difflib.get_close_matches(word.partition("=")[0], _OURS, 1, 0.8)
        if mistyped:
            raise UsageError(f"{word}: did you mean {mistyped[0]}?")
    return load_job(path, settings)


def _refuse_live_state(job: Job) -> None:
    from transforms.storage.checkpoint.folder import CheckpointFolder

    if CheckpointFolder(job.state).root() is not None:
        raise UsageError(
            f"{job.state} belongs to a live job: resume it with --streaming, check it against its source with `verify`,"
            " or give this run another `state` and other sinks"
        )


def sum_of(book: Mapping[str, int]) -> str:
    """What became of the records read, as a sum."""
    ends = ("accepted", "filtered", "dead", "late", "duplicate")
    parts = " + ".join(f"{name} {book[name]:,}" for name in ends if book[name])
    return f"read {book['read']:,} = {parts or 0}"


def run_planned(job: Job, flags: Sequence[str], part: Part | None = None) -> int:
    """Runs a planned job, or a part of its source, writes its report and prints the outcome."""
    bulletin = Bulletin()
    with progress(job.spec.job, bulletin.tally):
        ran = execute(job, flags, part, bulletin)
    outcome = Outcome.read(job.state)
    if outcome is None:
        raise AssertionError("a run ended without an outcome")
    if ran.status != "published":
        _print_refusal(job, outcome)
        return TOO_MANY_DEAD
    if job.spec.report:
        from dataflow.commands.report import render_stored

        render_stored(job, job.spec.report, ran)
    _print_outcome(job, outcome, ran)
    return 0


@contextmanager
def progress(name: str, tally: Tally) -> Iterator[None]:
    """Shows rows, rows a second and dead letters while a job runs on a terminal."""
    # Looked at first, because the import takes a fifth of a second.
    if sys.stderr is None or sys.stderr.closed or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    console = Console(stderr=True)
    done = threading.Event()
    started = time.monotonic()

    def line() -> str:
        seconds = max(time.monotonic() - started, 1e-3)
        return f"{name}: {tally.read:,} records, {tally.read / seconds:,.0f} a second, {tally.dead:,} dead letters"

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


def _print_outcome(job: Job, outcome: Outcome, ran: Ran) -> None:
    book = outcome.ledger
    rate = book["read"] / max(ran.seconds, 1e-9)
    click.echo(
        f"{job.spec.job}: {book['read']:,} records in {ran.seconds:.1f} s ({rate:,.0f} a second) on {ran.runner}"
    )
    click.echo(f"  ledger        {sum_of(book)}")
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


def _print_refusal(job: Job, outcome: Outcome) -> None:
    book, limit = outcome.ledger, job.spec.dead_letters.fail_above
    share = book["dead"] / book["read"]
    click.echo(
        f"error: {book['dead']:,} of {book['read']:,} records are dead letters ({share:.1%}; dead_letters.fail_above is"
        f" {limit:.1%}); nothing was published, and the tables of the last run are unchanged",
        err=True,
    )
    for reason, count in sorted(outcome.reasons.items(), key=lambda entry: -entry[1]):
        click.echo(f"  {reason} {count:,}", err=True)
    staged = Plan(outcome.run, job.state, job.tables, job.sinks).staging(DEAD_LETTERS)
    click.echo(f"  to look at them: {staged}", err=True)

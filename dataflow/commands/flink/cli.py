"""The command line of `flink`: options and help only; other modules do the work."""

from collections.abc import Sequence
from typing import Any

import click

from dataflow.commands.options import JOB, PASS_ON, SET, InOrder, leave

_FLINK = click.option(
    "--flink",
    "address",
    metavar="HOST:PORT",
    envvar="STREAMGAUGE_FLINK",
    help="The cluster's REST API.  [default: localhost:8081]",
)
_PARALLELISM = click.option("--parallelism", type=int, metavar="N", help="Slots to use.  [default: 1]")
_NO_WAIT = click.option("--no-wait", is_flag=True, help="Does not wait for the job's first checkpoint.")
_FOLDER = click.option("--to", "folder", metavar="URI", help="Where to put it; by default where the cluster says.")


@click.group(cls=InOrder)
def flink() -> None:
    """Runs jobs on a Flink cluster: submit, watch, stop, resume, rescale, upgrade. Unknown flags go to Beam."""


def _flags(args: Sequence[str], address: str | None, parallelism: int | None) -> list[str]:
    flags = [f"--parallelism={parallelism}"] if parallelism is not None else []
    return [*([f"--flink_master={address}"] if address else []), *flags, *joined(args)]


def joined(args: Sequence[str]) -> list[str]:
    """Flags in one word each, so that a later one can replace an earlier one.

    >>> joined(["--environment_type", "DOCKER", "--x=1", "--streaming"])
    ['--environment_type=DOCKER', '--x=1', '--streaming']
    """
    flags: list[str] = []
    for word in args:
        if word.startswith("-"):
            flags.append(word)
        elif flags and flags[-1].startswith("--") and "=" not in flags[-1]:
            flags[-1] += f"={word}"
        else:
            raise click.UsageError(f"the command takes one job; what is {word}?")
    return flags


@flink.command(context_settings=PASS_ON)
@JOB
@SET
@_FLINK
@_PARALLELISM
@_NO_WAIT
@click.option("--begin-anew", is_flag=True, help="Empties the tables and starts from nothing.")
@click.pass_context
def submit(
    ctx: click.Context, /, job: str, settings: Sequence[str], no_wait: bool, begin_anew: bool, **where: Any
) -> None:
    """Submits a job: leaves an endless one to the cluster, and waits for one that ends."""
    from dataflow.commands.flink.submit import submit_job

    flags = _flags(ctx.args, **where) if where["address"] else _flags(ctx.args, "localhost:8081", where["parallelism"])
    leave(submit_job(job, settings, flags, wait=not no_wait, from_nothing=begin_anew))


@flink.command()
@JOB
@SET
def status(job: str, settings: Sequence[str]) -> None:
    """Prints the state of a job, its checkpoints, lag, restarts and last failure."""
    from dataflow.commands.flink.state import show_status

    leave(show_status(job, settings))


@flink.command("list")
@_FLINK
def list_(address: str | None) -> None:
    """Lists every job of a cluster."""
    from dataflow.commands.flink.state import list_jobs

    leave(list_jobs(address or "localhost:8081"))


@flink.command()
@JOB
@SET
@_FOLDER
def savepoint(job: str, settings: Sequence[str], folder: str | None) -> None:
    """Takes a savepoint of a job, which keeps running."""
    from dataflow.commands.flink.state import take_savepoint

    leave(take_savepoint(job, settings, folder))


@flink.command()
@JOB
@SET
@_FOLDER
@click.option("--drain", is_flag=True, help="Closes all open windows instead; the job cannot resume afterwards.")
def stop(job: str, settings: Sequence[str], folder: str | None, drain: bool) -> None:
    """Stops a job with a savepoint."""
    from dataflow.commands.flink.state import stop_job

    leave(stop_job(job, settings, folder, drain=drain))


@flink.command()
@JOB
@SET
def cancel(job: str, settings: Sequence[str]) -> None:
    """Ends a job at once; it can resume from its own last checkpoint."""
    from dataflow.commands.flink.state import cancel_job

    leave(cancel_job(job, settings))


@flink.command(context_settings=PASS_ON)
@JOB
@SET
@_FLINK
@_PARALLELISM
@_NO_WAIT
@click.option("--from", "savepoint", metavar="SAVEPOINT", help="A savepoint of this job, or `latest`.")
@click.option("--from-checkpoint", is_flag=True, help="The job's own checkpoint, in its state folder.")
@click.option("--force-history", is_flag=True, help="Allows a savepoint that the job has abandoned for an older one.")
@click.pass_context
def resume(
    ctx: click.Context,
    /,
    job: str,
    settings: Sequence[str],
    savepoint: str | None,
    from_checkpoint: bool,
    force_history: bool,
    no_wait: bool,
    **where: Any,
) -> None:
    """Starts a job that is not running as it was submitted before, on the same or another cluster."""
    from dataflow.commands.flink.submit import resume_job

    flags = _flags(ctx.args, **where)
    force, wait = force_history, not no_wait
    leave(resume_job(job, settings, flags, savepoint, from_checkpoint=from_checkpoint, force=force, wait=wait))


@flink.command(context_settings=PASS_ON)
@JOB
@click.argument("parallelism", type=int, metavar="N")
@SET
@_NO_WAIT
@click.pass_context
def rescale(ctx: click.Context, job: str, parallelism: int, settings: Sequence[str], no_wait: bool) -> None:
    """Stops a job with a savepoint and restarts it from there with another parallelism."""
    from dataflow.commands.flink.submit import rescale_job

    leave(rescale_job(job, parallelism, settings, joined(ctx.args), wait=not no_wait))


@flink.command(context_settings=PASS_ON)
@JOB
@SET
@_NO_WAIT
@click.pass_context
def upgrade(ctx: click.Context, job: str, settings: Sequence[str], no_wait: bool) -> None:
    """Restarts a job in its new version: new code, image or job file, including new statistics."""
    from dataflow.commands.flink.submit import upgrade_job

    leave(upgrade_job(job, settings, joined(ctx.args), wait=not no_wait))


@flink.command(context_settings=PASS_ON)
@JOB
@SET
@_NO_WAIT
@click.pass_context
def compact(ctx: click.Context, job: str, settings: Sequence[str], no_wait: bool) -> None:
    """Restarts a job from its own last checkpoint, with new state in the cluster."""
    from dataflow.commands.flink.submit import compact_job

    leave(compact_job(job, settings, joined(ctx.args), wait=not no_wait))

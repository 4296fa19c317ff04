"""The command line: `python -m dataflow.main COMMAND …`, also installed as `streamgauge`.

Nothing heavy is imported before a command runs: `--help` answers at once. Every failure that a user can cause or
meet ends in one clear message and an exit code: 1 the job failed, 2 the job file, command line or input is
wrong, 3 too many dead letters, 130 interrupted.
"""

import atexit
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from dataflow import __version__, interrupt
from dataflow.commands.flink.cli import flink
from dataflow.commands.image.cli import image
from dataflow.commands.options import JOB, PASS_ON, SET, InOrder, leave

FAILED, WRONG, TOO_MANY_DEAD = 1, 2, 3


@click.group(cls=InOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="streamgauge")
def cli() -> None:
    """Keyed, windowed statistics and models over event streams, at Arrow speed on Apache Beam."""


@cli.command()
@click.argument("files", metavar="FILE…", nargs=-1, required=True)
@click.option("--job", "name", metavar="NAME", help="The job's name; by default that of the first file.")
@click.option("-o", "--output", metavar="PATH", help="Writes the job file there instead of to the terminal.")
def init(files: tuple[str, ...], name: str | None, output: str | None) -> None:
    """Looks at data and writes a job file to start from."""
    from dataflow.commands.init import write_job_file

    write_job_file(files, name, output)


@cli.command(context_settings=PASS_ON)
@JOB
@SET
@click.option("--streaming", is_flag=True, help="Reads an endless source until SIGTERM or Ctrl-C.")
@click.option("--drain", is_flag=True, help="With --streaming: closes all open windows at the end.")
@click.option("--upgrade", is_flag=True, help="With --streaming: adds statistics that are new in the job file.")
@click.option("--begin-anew", is_flag=True, help="With --streaming: empties the tables and starts from nothing.")
@click.option("--to-end", is_flag=True, help="With --streaming: stops once all that the source holds is read.")
@click.option("--serve", metavar="HOST:PORT", help="With --streaming: a page, /metrics, /healthz and /readyz there.")
@click.pass_context
def run(
    ctx: click.Context,
    job: str,
    settings: tuple[str, ...],
    streaming: bool,
    drain: bool,
    upgrade: bool,
    begin_anew: bool,
    to_end: bool,
    serve: str | None,
) -> None:
    """Runs a job: reads, counts, publishes, reports. Flags that are not ours go to Beam."""
    if streaming:
        interrupt.leave_at_sigterm()  # the next imports take seconds

    from dataflow.commands.run import run_job
    from dataflow.commands.run_live import run_job_live
    from dataflow.execution.live import LiveFlags

    if not streaming and (drain or to_end or serve or upgrade or begin_anew):
        raise click.UsageError("--drain, --to-end, --serve, --upgrade and --begin-anew go with --streaming")
    if streaming:
        leave(run_job_live(job, settings, ctx.args, LiveFlags(drain, to_end, serve, upgrade, begin_anew)))
    else:
        leave(run_job(job, settings, ctx.args))


@cli.command(context_settings=PASS_ON)
@JOB
@SET
@click.pass_context
def check(ctx: click.Context, job: str, settings: tuple[str, ...]) -> None:
    """The doctor: is the job valid, can its input be read, are its sinks reachable, what would run it?"""
    from dataflow.commands.check import check_job

    leave(check_job(job, settings, ctx.args))


@cli.command()
@JOB
@SET
@click.option("--svg", metavar="FILE", help="Draws the graph into a file.")
def plan(job: str, settings: tuple[str, ...], svg: str | None) -> None:
    """Shows the graph, the output tables with their columns, and an estimate of state."""
    from dataflow.commands.plan import show_plan

    show_plan(job, settings, svg)


@cli.command()
@JOB
@SET
@click.option("-o", "--output", metavar="PATH", help="Where to; by default the job file's `report`.")
def report(job: str, settings: tuple[str, ...], output: str | None) -> None:
    """Renders the report from the stored tables."""
    from dataflow.commands.report import write_report

    write_report(job, settings, output)


@cli.command(context_settings=PASS_ON)
@JOB
@click.argument("repaired", metavar="[REPAIRED.jsonl]", required=False)
@SET
@click.option("--export", metavar="FILE", help="Writes the dead letters as JSON lines to repair, and runs nothing.")
@click.pass_context
def replay(ctx: click.Context, job: str, repaired: str | None, settings: tuple[str, ...], export: str | None) -> None:
    """Tries dead letters again, once: as they are, or with the payloads of a repaired export."""
    from dataflow.commands.replay import replay_job

    if repaired is not None and repaired.startswith("--"):
        ctx.args.insert(0, repaired)
        repaired = None
    leave(replay_job(job, repaired, settings, ctx.args, export))


@cli.command(context_settings=PASS_ON)
@JOB
@SET
@click.pass_context
def rebuild(ctx: click.Context, job: str, settings: tuple[str, ...]) -> None:
    """Makes the tables of a stopped live job again: from its source, or from a sink that still has them."""
    from dataflow.commands.replay import rebuild_job

    leave(rebuild_job(job, settings, ctx.args))


@cli.command()
@click.option("--log", required=True, metavar="DIR", help="The folder of the log; it is made if it is missing.")
@click.option("--inspect", "look", is_flag=True, help="Shows what the log holds and whether it is whole, and ends.")
@click.option("--repair", is_flag=True, help="Makes a damaged log whole without what cannot be read, and ends.")
@click.option("--forget-reader", metavar="NAME", help="Keeps nothing more for a reader that is gone, and ends.")
@click.option("--host", metavar="HOST", help="The address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="0 is any free one.  [default: 8080]")
@click.option("--token-env", metavar="NAME", help="The environment variable of the token that clients must give.")
@click.option("--keep", metavar="TIME", help="How long chunks stay after every reader has passed.  [default: 1h]")
@click.option("--max-log-bytes", metavar="SIZE", help="Clients wait while the log is larger.  [default: none]")
@click.option("--max-line", metavar="SIZE", help="The longest line, at most 64MiB.  [default: 1MiB]")
@click.option("--max-connections", type=int, help="The most connections; more are refused.  [default: 4096]")
@click.option("--max-in-flight", metavar="SIZE", help="The most bytes received and not yet durable.  [default: 64MiB]")
@click.option("--idle-timeout", metavar="TIME", help="Ends a connection that sends nothing so long.  [default: 10m]")
@click.option("--line-timeout", metavar="TIME", help="Ends one whose line is not complete in time.  [default: 30s]")
def collect(
    log: str, look: bool, repair: bool, forget_reader: str | None, token_env: str | None, **limits: object
) -> None:
    """Takes records over TCP into a log, and answers OK when they are durable. Ctrl-C ends it, with exit code 0."""
    from dataflow.commands import collect as command
    from dataflow.commands import log as its_log

    if look + repair + (forget_reader is not None) > 1:
        raise click.UsageError("give only one of --inspect, --repair and --forget-reader")
    if look:
        leave(its_log.inspect(log))
    elif repair:
        its_log.repair(log)
    elif forget_reader is not None:
        its_log.forget_reader(log, forget_reader)
    else:
        command.collect(log, token_env, limits)


@cli.command()
@click.argument("files", metavar="FILE…", nargs=-1, required=True)
@click.option("--to", metavar="HOST:PORT", default="127.0.0.1:8080", show_default=True, help="The collector.")
@click.option("--source", metavar="NAME", help="The session's name; by default the names of the files.")
@click.option("--token-env", metavar="NAME", help="The environment variable of the collector's token.")
@click.option("--rate", type=float, metavar="ROWS", help="Sends so many rows a second.")
@click.option("--speed-up", type=float, metavar="X", help="Sends at the pace of the event times, X times as fast.")
@click.option("--event-time", metavar="COLUMN", help="The column of the event time.")
@click.option("--unit", type=click.Choice(["s", "ms", "us", "ns"]), help="What a number in it counts; else ISO 8601.")
@click.option("--shift-to-now", is_flag=True, help="Moves event times so that the first record's is now.")
@click.option("--last-line", is_flag=True, help="Sends a last line that no newline ends, too.")
@click.option(
    "--give-up-after", metavar="TIME", default="5m", show_default=True, help="How long to try without a collector."
)
def send(files: tuple[str, ...], **options: object) -> None:
    """Sends files to a collector, each record once; a repeated call resumes where the last one stopped."""
    from dataflow.commands.send import send_files

    send_files(files, **options)  # type: ignore[arg-type]  # Click gives what the options above say


@cli.command(context_settings=PASS_ON)
@JOB
@SET
@click.pass_context
def verify(ctx: click.Context, job: str, settings: tuple[str, ...]) -> None:
    """Reads a live job's source again as a batch and compares every table with the stored ones."""
    from dataflow.commands.verify import verify_job

    leave(verify_job(job, settings, ctx.args))


cli.add_command(image)
cli.add_command(flink)


@cli.command()
def schema() -> None:
    """Prints the JSON schema of the job file."""
    from dataflow.commands.schema import print_schema

    print_schema()


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a command and ends the process with its exit code."""
    out = sys.stdout
    given = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        interrupt.listen()
    try:
        # Outside its standalone mode, Click returns the code of an Exit.
        code = cli.main(args=_as_launched(given), prog_name="streamgauge", standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        code = WRONG
    except (click.Abort, KeyboardInterrupt):
        what = "what was acknowledged is safe" if given[:1] == ["send"] else "the tables are whole"
        click.echo(f"\nInterrupted: {what}, and the next run does what this one did not.", err=True)
        code = interrupt.INTERRUPTED
    except SystemExit:
        # Click replaces the stream when a reader, such as `head`, closes the pipe. Our own code never calls exit.
        code = 0 if sys.stdout is not out else FAILED
    except Exception as error:  # noqa: BLE001  # the one place that turns failures into exit codes
        code = _print_failure(error)
    code = _flush(code)
    if arguments is None:
        _leave(code)
    sys.exit(code)


def _as_launched(arguments: list[str]) -> list[str]:
    """Beam's launchers call a job without a sub-command: `--job=JOB --runner=…`."""
    for index, argument in enumerate(arguments):
        if argument in cli.commands:
            break
        if argument.startswith("--job="):
            return ["run", argument.removeprefix("--job="), *arguments[:index], *arguments[index + 1 :]]
        if argument == "--job" and index + 1 < len(arguments):
            return ["run", arguments[index + 1], *arguments[:index], *arguments[index + 2 :]]
    return arguments


def _print_failure(error: Exception) -> int:
    """Prints a failure and returns its exit code; a bug is raised, so that its traceback shows."""
    from dataflow.errors import exit_code

    code, text = exit_code(error), str(error)
    if code is None and isinstance(error, OSError) and error.strerror:
        code, text = FAILED, f"{error.filename or 'standard output'}: {error.strerror}"
    if code is None:
        raise error
    for line in text.splitlines():
        click.echo(f"error: {line}", err=True)
    return code


def _flush(code: int) -> int:
    """Flushes the output; returns the exit code, which becomes FAILED if that fails."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError as error:
            # The reader of the output may have closed the pipe; the interpreter must not flush again at its exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if not isinstance(error, BrokenPipeError):
                click.echo(f"error: standard output: {error.strerror}", err=True)
                return code or FAILED
    return code


def _leave(code: int) -> NoReturn:
    """Ends the process at once: threads of libraries may still run, and C++ aborts if it is torn down under them."""
    if code != interrupt.INTERRUPTED:
        atexit._run_exitfuncs()
    os._exit(code)


if __name__ == "__main__":
    main()

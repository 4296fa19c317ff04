"""`run --streaming`: runs a job until it is asked to stop, here or on a cluster."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import click

from dataflow import interrupt
from dataflow.commands.options import say_of
from dataflow.commands.run import load_for_run, progress, sum_of
from dataflow.errors import Refused, UsageError, WrongFlags
from dataflow.execution.bounded import refuse_unseen
from dataflow.execution.live import LiveFlags
from dataflow.job.plan import Job
from transforms.process.progress import Bulletin


def run_job_live(path: str, settings: Sequence[str], flags: Sequence[str], live: LiveFlags) -> int:
    """Runs a job until it is asked to stop, or has read its whole source."""
    job = load_for_run(path, settings, flags)
    if not job.spec.is_endless:
        raise UsageError(f"--streaming needs an endless source, and `{job.source.kind}` has an end")
    if live.serve is not None:
        from dataflow.page.server import parse_address

        parse_address(live.serve)
    from runners import flink

    try:
        is_on_cluster = flink.is_cluster(flags)
    except ValueError as error:
        raise WrongFlags([str(error)]) from None
    if is_on_cluster:
        from dataflow.commands.flink.submit import submit_job

        if live != LiveFlags(begin_anew=live.begin_anew):
            raise UsageError(
                "--drain, --to-end, --serve and --upgrade are for jobs on this machine: see `flink --help`"
            )
        interrupt.end_at_sigterm()
        return submit_job(path, settings, flags, wait=True, from_nothing=live.begin_anew)
    return run_live(job, flags, live)


def run_live(job: Job, flags: Sequence[str], live: LiveFlags) -> int:
    """Runs a planned job live, and writes its report when it ends."""
    from dataflow.execution.live import follow
    from dataflow.execution.waiting import wait_for_source
    from runners import doctor
    from transforms.time.event_time import as_text

    refuse_unseen(job, flags)

    say = say_of(job.spec.job)
    try:
        doctor.diagnose(flags, endless=True)
    except ValueError as error:
        raise Refused(f"runner: {error}") from None
    if not live.to_end:  # without a source there is no end to read to
        wait_for_source(job, say)
    bulletin = Bulletin()
    page = nullcontext() if live.serve is None else _page(job, live.serve, live, say, bulletin)
    with progress(job.spec.job, bulletin.tally):
        ended = follow(job, flags, live, say=say, page=page, bulletin=bulletin)
    _print_ledger(job)
    if job.spec.report:
        from dataflow.commands.report import render_stored

        render_stored(job, job.spec.report, ended.ran)
    if ended.drained:
        say("drained: every window is closed")
    else:
        say(f"stopped at event time {as_text(ended.watermark)}; the next start resumes there")
    return 0


def _page(
    job: Job, serve: str, live: LiveFlags, say: Callable[[str], None], bulletin: Bulletin
) -> AbstractContextManager[Any]:
    from dataflow.page.server import serving

    return serving(job, serve, say, bulletin, from_nothing=live.begin_anew)


def _print_ledger(job: Job) -> None:
    from dataflow.execution.stored import sums

    click.echo(f"  ledger        {sum_of(sums(job))}")

"""`check`: checks a job without running anything."""

from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version

import click

from dataflow.commands.load import load_job
from dataflow.errors import Refused
from dataflow.execution.bounded import check_sinks, quieten, refuse_read_once, refuse_unseen
from dataflow.execution.checkpoints import checkpoint_folder
from dataflow.execution.stored import places
from dataflow.job.paths import paths
from dataflow.job.plan import Job
from transforms.errors import SinkError
from transforms.location import is_local


def check_job(path: str, settings: Sequence[str], flags: Sequence[str]) -> int:
    """Checks everything that can fail before a record is read.

    Raises:
        JobFileError, SourceError, Refused: says what is wrong.
    """
    quieten()
    job = load_job(path, settings)
    refuse_unseen(job, flags)
    click.echo(f"job       {job.spec.job}: {len(job.steps)} steps, {len(job.aggregations)} aggregations, valid")
    job.refuse_overwriting()
    click.echo(f"source    {job.source.holds()}, readable")
    try:
        check_sinks(job)
    except SinkError as error:
        raise Refused(f"sinks: {error}") from None
    for place in places(job):
        click.echo(f"sink      {place}, reachable")
    _print_runner(job, flags)
    click.echo(
        f"versions  apache-beam {version('apache-beam')}, pyarrow {version('pyarrow')}, duckdb {version('duckdb')}"
    )
    return 0


def _print_runner(job: Job, flags: Sequence[str]) -> None:
    """Prints the runner that will execute the job, and the checkpoint from which a live job resumes."""
    from runners import doctor, flink
    from runners.flags import runner_named

    is_live = job.spec.is_endless
    try:
        if flink.is_cluster(flags):
            refuse_read_once(job.source)
        diagnosis = doctor.diagnose(flags, endless=is_live)
    except ValueError as error:
        raise Refused(f"runner: {error}") from None
    click.echo(f"runner    {'with --streaming: ' if is_live else ''}{diagnosis.runner}")
    for note in diagnosis.notes:
        click.echo(f"          {note}")
    if flink.is_cluster(flags) or str(runner_named(flags)).lower() == "flinkrunner":
        shared = [named for named in paths(job.spec) if named.shared and is_local(named.text)]
        note = job.source.on_cluster()
        local = ", ".join(dict.fromkeys(named.text for named in shared if not (note and named.field[0] == "source")))
        click.echo(f"          these must be the same files and folders on every machine of the cluster: {local}")
        if note:
            click.echo(f"          {note}")
    if is_live:
        manifest = checkpoint_folder(job).read()
        if manifest is not None:
            taken = datetime.fromtimestamp(manifest.newest.taken, timezone.utc)
            click.echo(f"state     resumes from the checkpoint of {taken:%Y-%m-%d %H:%M:%S} UTC")

"""`check`: the doctor. Nothing runs."""

from collections.abc import Sequence
from importlib.metadata import version

import click

from dataflow.commands.load import load_job
from dataflow.errors import Refused
from dataflow.job import Job
from dataflow.run import check_sinks, quieten
from dataflow.stored import places
from transforms.storage.error import SinkError


def check_job(path: str, settings: Sequence[str], flags: Sequence[str]) -> int:
    """Looks at everything that can go wrong before a record is read.

    Raises:
        JobFileError, SourceError, Refused: with what is wrong.
    """
    quieten()
    job = load_job(path, settings)
    click.echo(f"job       {job.spec.job}: {len(job.steps)} steps, {len(job.aggregations)} aggregations, valid")
    click.echo(f"source    {_source(job)}, readable")
    try:
        check_sinks(job)
    except SinkError as error:
        raise Refused(f"sinks: {error}") from None
    for place in places(job):
        click.echo(f"sink      {place}, reachable")
    from runners import doctor

    try:
        diagnosis = doctor.diagnose(flags, endless=job.spec.source.log is not None)
    except ValueError as error:
        raise Refused(f"runner: {error}") from None
    click.echo(f"runner    {diagnosis.runner}")
    for note in diagnosis.notes:
        click.echo(f"          {note}")
    click.echo(
        f"versions  apache-beam {version('apache-beam')}, pyarrow {version('pyarrow')}, duckdb {version('duckdb')}"
    )
    return 0


def _source(job: Job) -> str:
    if job.spec.source.log is not None:
        extent = job.log_extent()
        return f"log {job.log.path}, records {extent.first_position:,} to {extent.end_position:,}"
    ranges = job.ranges()
    files = {part.source for part in ranges}
    return f"{len(files):,} files in {len(ranges):,} ranges"

"""`plan`: shows what a job will do before it runs."""

from collections.abc import Sequence
from pathlib import Path

import click
import pyarrow as pa

from dataflow.commands.load import load_job
from dataflow.errors import UsageError
from dataflow.execution.stored import places
from dataflow.job.picture import draw
from dataflow.job.plan import Job
from dataflow.job.plugins import described
from transforms.model.kind import model_of
from transforms.specification import format_duration
from transforms.time.zone import database_version

_BYTES_OF_LIST = 400
"""Bytes of a sketch or a set of values of a typical group: some thirty bins or values of 12 bytes."""


def show_plan(path: str, settings: Sequence[str], svg: str | None) -> None:
    """Prints the graph, the tables and an estimate of the state; optionally draws the graph."""
    job = load_job(path, settings)
    click.echo(graph_text(job))
    click.echo("\ntables")
    for name, table in job.tables.items():
        click.echo(f"  {name}  (key: {', '.join(table.key)})")
        for field in table.schema:
            click.echo(f"    {field.name:32} {_type_name(field.type)}")
    click.echo("\nstate")
    for line in state_estimate(job):
        click.echo(f"  {line}")
    if svg is not None:
        try:
            Path(svg).write_text(draw(job), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{svg}: {error.strerror}") from None
        click.echo(f"\n{svg}")


def graph_text(job: Job) -> str:
    """The graph, with a line per stage."""
    record = job.spec.record
    lines = [f"{job.spec.job}", *(f"  plugin      {plugin}" for plugin in described(job.spec.plugins))]
    lines.append(f"  read        {job.source.title()}")
    clock = record.event_time.unit or "iso8601"
    lines.append(f"              event time {record.event_time.column} ({clock}), {len(job.schema.columns)} columns")
    lines.append(f"              time zones of the IANA database {database_version()}")
    lines += [f"  preprocess  {step.name}" for step in job.steps]
    for aggregation in job.aggregations:
        spec = aggregation.spec
        key = ", ".join(spec.key) or "one global key"
        lines.append(
            f"  aggregate   {spec.name}: by {key}, windows of {spec.window}, {job.spec.execution.bounded_shards} shards"
        )
        lines += [f"              model {name}: {model_of(model).words}" for name, model in spec.models.items()]
    lines += [f"  store       {place}" for place in places(job)]
    if job.spec.retention:
        stays = (f"{table} {format_duration(duration)}" for table, duration in job.spec.retention.items())
        lines.append(f"  retention   {', '.join(stays)}")
    if job.spec.report:
        lines.append(f"  report      {job.spec.report}")
    return "\n".join(lines)


def state_estimate(job: Job) -> list[str]:
    """The state of each aggregation per key and slice, and the number of slices kept per key."""
    lines = []
    for aggregation in job.aggregations:
        size = sum(_width(field.type) for field in aggregation.summary.schema)
        overlap = aggregation.spec.window.slices_per_window
        lines.append(
            f"{aggregation.spec.name}: about {size:,} bytes per key and slice; a window has {overlap:,} slice"
            f"{'s' if overlap > 1 else ''}; 100,000 keys over one window: {size * overlap * 100_000 / 1e6:,.0f} MB"
        )
    return lines


def _width(kind: pa.DataType) -> int:
    if pa.types.is_fixed_size_list(kind):
        return 8 * int(kind.list_size)
    if pa.types.is_list(kind):
        return _BYTES_OF_LIST
    return 20 if pa.types.is_string(kind) else 8


def _type_name(kind: pa.DataType) -> str:
    return str(kind).replace("timestamp[us, tz=UTC]", "timestamp").replace("double", "float64")

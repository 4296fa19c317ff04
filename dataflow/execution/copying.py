"""Tables of a live job that one sink has lost, made again from another that holds them whole."""

from contextlib import suppress
from dataclasses import replace

import click
import pyarrow as pa

from dataflow.errors import UsageError
from dataflow.execution.checkpoints import carried_in
from dataflow.execution.overlay import ReplayOverlay
from dataflow.execution.restore import claimed, plan_of
from dataflow.execution.stored import read_stored, rows_between
from dataflow.execution.submission import forget_savepoints
from dataflow.job.plan import Job
from transforms.errors import SinkError
from transforms.record import ledger
from transforms.storage import sql
from transforms.storage.checkpoint.manifest import Manifest
from transforms.storage.live.plan import LivePlan
from transforms.storage.parquet import growing as parquet_log
from transforms.storage.publish import LEDGER, Target, sql_table
from transforms.time.tick import content_of


def copy_tables(job: Job) -> None:
    """Copies each table that a sink has lost from a sink that holds it whole; nothing can go back to before it.

    Raises:
        UsageError: if a table is whole in no sink.
        SinkError: if a sink cannot be written.
    """
    plan, manifest = claimed(plan_of(job, ReplayOverlay.read(job.state)))
    files = plan.adopted(manifest)
    manifest = plan.checkpoints.commit(manifest, replace(manifest, files=files))
    for target in plan.folders:
        with suppress(SinkError):  # what was committed and not shown is not lost
            plan.show_folder(manifest, str(target.folder), manifest.attempt)
    lost = [target for target in job.targets if _whole(plan, manifest, target) is None]
    if not lost:
        click.echo(f"{job.spec.job}: every table is whole")
        return
    files = dict(manifest.files)
    rows = {target.table: _from_another(job, plan, manifest, target.table) for target in lost}
    for target in lost:
        table, found = plan.tables[target.table], rows[target.table]
        if target.folder is not None:
            files[target.folder] = _into_folder(plan, manifest, target, found)
        else:
            fence = sql.Fence(plan.owner, plan.number, plan.number, takes=True, begins=True)
            sql.publish(str(target.url), {sql_table(table): found.to_batches()}, replace=True, fence=fence)
    newest = manifest.newest
    plan.replaced(manifest, newest, None, files, newest.totals, newest.reasons, expired=manifest.expired)
    forget_savepoints(job.state)
    for target in lost:
        click.echo(f"  rebuilt       {target.table} in {target.folder or 'its database'}, from another sink")


def _into_folder(plan: LivePlan, manifest: Manifest, target: Target, rows: pa.Table) -> list[str]:
    """Writes the rows of a table beside its folder's live files."""
    folder, table, newest = str(target.folder), plan.tables[target.table], manifest.newest
    growing = [content_of(batch) for batch in carried_in(plan.checkpoints.load(newest))]
    names: list[str] = []
    if target.table == LEDGER and growing:
        book = ledger.merge(growing)
        names = parquet_log.put_tail(folder, table, book, newest.name, manifest.attempt)
        rows = rows.join(pa.table(book.select(list(ledger.KEY))), list(ledger.KEY), join_type="left anti")
        rows = rows.select(table.schema.names).cast(table.schema)
    batches = rows.combine_chunks().to_batches()
    return [*parquet_log.append(folder, table, batches, newest.name, manifest.attempt), *names]


def _from_another(job: Job, plan: LivePlan, manifest: Manifest, name: str) -> pa.Table:
    """The rows of a table that the newest checkpoint knows: a database may hold what came after, and comes again."""
    for target in job.targets:
        if target.table == name and (rows := _whole(plan, manifest, target)) is not None:
            return rows_between(job, name, rows, None, manifest.newest)
    raise UsageError(
        f"{name} is whole in no sink, and the source does not hold the job's first records any more: restore a sink, or"
        " let `run --streaming --begin-anew` begin with what the source still holds"
    )


def _whole(plan: LivePlan, manifest: Manifest, target: Target) -> pa.Table | None:
    """The rows of a table in a sink; None: the sink has lost some, or all."""
    table = plan.tables[target.table]
    try:
        if target.folder is not None:
            return parquet_log.read(target.folder, manifest.files[target.folder], table.schema)
        if not sql.is_there(str(target.url), sql_table(table)):
            return None
        return read_stored(table, target)
    except SinkError:
        return None

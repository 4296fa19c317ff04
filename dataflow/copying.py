"""Tables of a live job that one sink has lost, made again from another that holds them whole."""

from collections.abc import Sequence

import click
import pyarrow as pa

from dataflow.checkpoints import carried_in
from dataflow.errors import UsageError
from dataflow.job import Job
from dataflow.launch import claimed, plan_of
from dataflow.overlay import ReplayOverlay
from dataflow.stored import read_stored
from dataflow.submission import forget_savepoints
from transforms import ledger
from transforms.storage import parquet_log, sql
from transforms.storage.error import SinkError
from transforms.storage.live_plan import LivePlan
from transforms.storage.manifest import Manifest
from transforms.storage.publish import DEAD_LETTERS, LEDGER, Target, sql_table


def copy_tables(job: Job) -> None:
    """Copies each table that a sink has lost from a sink that holds it whole; nothing can go back to before it.

    Raises:
        UsageError: if a table is whole in no sink.
        SinkError: if a sink cannot be written.
    """
    plan, manifest = claimed(plan_of(job, ReplayOverlay.read(job.state)))
    lost = [target for target in job.targets if _whole(plan, manifest, target) is None]
    if not lost:
        click.echo(f"{job.spec.job}: every table is whole")
        return
    files = {folder: list(names) for folder, names in manifest.files.items()}
    rows = {target.table: _from_another(plan, manifest, job.targets, target.table) for target in lost}
    for target in lost:
        table, found = plan.tables[target.table], rows[target.table]
        if target.folder is not None:
            files[target.folder] = _into_folder(plan, manifest, target, found)
        else:
            fence = sql.Fence(plan.owner, plan.number, plan.number, takes=True, begins=True)
            sql.publish(str(target.url), {sql_table(table): found.to_batches()}, replace=True, fence=fence)
    newest = manifest.newest
    plan.replaced(manifest, newest, None, files, newest.totals, newest.reasons)
    forget_savepoints(job.state)
    for target in lost:
        click.echo(f"  rebuilt       {target.table} in {target.folder or 'its database'}, from another sink")


def _into_folder(plan: LivePlan, manifest: Manifest, target: Target, rows: pa.Table) -> list[str]:
    """Writes the final rows of a table beside its folder's live files."""
    folder, table, tick = str(target.folder), plan.tables[target.table], manifest.newest.name
    if target.table == LEDGER and plan.grows and carried_in(plan.checkpoints.load(manifest.newest)):
        done, growing = ledger.divide(ledger.merge(rows.to_batches()))
        names = parquet_log.append(folder, table, [done], tick, manifest.attempt)
        return [*names, *parquet_log.put_tail(folder, table, growing, tick, manifest.attempt)]
    if target.table not in (DEAD_LETTERS, LEDGER):
        rows = rows.filter(rows["final"])
    return parquet_log.append(folder, table, rows.combine_chunks().to_batches(), tick, manifest.attempt)


def _from_another(plan: LivePlan, manifest: Manifest, targets: Sequence[Target], name: str) -> pa.Table:
    for target in targets:
        if target.table == name and (rows := _whole(plan, manifest, target)) is not None:
            return rows
    raise UsageError(
        f"{name} is whole in no sink, and the source does not hold the job's first records any more: restore a sink, or"
        " let `run --streaming --begin-anew` begin with what the source still holds"
    )


def _whole(plan: LivePlan, manifest: Manifest, target: Target) -> pa.Table | None:
    """The rows of a table in a sink; None: the sink has lost some, or all."""
    table = plan.tables[target.table]
    try:
        if target.folder is not None:
            return parquet_log.read(target.folder, manifest.files.get(target.folder, []), table.schema)
        if not sql.is_there(str(target.url), sql_table(table)):
            return None
        return read_stored(table, target)
    except SinkError:
        return None

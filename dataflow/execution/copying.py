"""Rebuilds the tables that a sink of a live job has lost, from a sink that still has them whole."""

from contextlib import suppress
from dataclasses import replace

import pyarrow as pa

from dataflow.errors import UsageError
from dataflow.execution.checkpoints import carried_in
from dataflow.execution.overlay import ReplayOverlay
from dataflow.execution.restore import claimed, plan_of
from dataflow.execution.stored import rows_between, sinks_with
from dataflow.execution.submission import forget_savepoints
from dataflow.job.plan import Job
from transforms.errors import SinkError
from transforms.record import ledger
from transforms.storage.checkpoint.manifest import Manifest
from transforms.storage.sink import Sink, Stored
from transforms.time.tick import content_of


def copy_tables(job: Job) -> list[tuple[Sink, str]]:
    """Copies each table that a sink has lost from a sink that holds it whole; then no older checkpoint remains.

    Returns:
        The tables that were rebuilt, each with its sink.

    Raises:
        UsageError: if a table is whole in no sink.
        SinkError: if a sink cannot be written.
    """
    plan, manifest = claimed(plan_of(job, ReplayOverlay.read(job.state)))
    manifest = plan.checkpoints.commit(manifest, replace(manifest, files=plan.adopted(manifest)))
    for sink in job.sinks:
        for folder in sink.folders:
            with suppress(SinkError):  # files that are committed but not yet shown are not lost
                sink.show({folder: manifest.files[folder]}, plan.showing(manifest, manifest.attempt))
    lost = [(sink, names) for sink in job.sinks if sink.reads_back and (names := _lost(sink, manifest))]
    if not lost:
        return []
    rows = {name: _from_another(job, manifest, name) for _, names in lost for name in names}
    newest, files = manifest.newest, dict(manifest.files)
    carried = [content_of(batch) for batch in carried_in(plan.checkpoints.load(newest))]
    stored = Stored(newest.name, manifest.attempt, {}, ledger.merge(carried) if carried else None)
    for sink, names in lost:
        files |= plan.restore_tables(sink, {name: rows[name] for name in names}, stored)
    plan.replaced(manifest, newest, None, files, newest.totals, newest.reasons, expired=manifest.expired)
    forget_savepoints(job.state)
    return [(sink, name) for sink, names in lost for name in names]


def _lost(sink: Sink, manifest: Manifest) -> list[str]:
    """The tables of which a sink has lost some rows, or all."""
    return [name for name in sink.tables if sink.whole(name, manifest.files) is None]


def _from_another(job: Job, manifest: Manifest, name: str) -> pa.Table:
    """The rows of a table up to the newest checkpoint: later rows in a sink will come again."""
    for sink in sinks_with(job, name):
        if (rows := sink.whole(name, manifest.files)) is not None:
            return rows_between(job, name, rows, None, manifest.newest)
    lacks = "no longer holds the job's first records" if job.source.replays else "can be read only once"
    raise UsageError(
        f"{name} is whole in no sink, and the {job.source.describe()} {lacks}: restore a sink, or"
        " let `run --streaming --begin-anew` begin with what the source still holds"
    )

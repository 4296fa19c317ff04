"""Stored tables, read back from where a job put them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataflow.execution.checkpoints import checkpoint_folder
from dataflow.job.plan import Job
from transforms.collection.source import Source
from transforms.record import ledger
from transforms.specification import microseconds
from transforms.storage.checkpoint.expiry import Mark
from transforms.storage.checkpoint.manifest import Checkpoint
from transforms.storage.live.plan import reached_in
from transforms.storage.sink import Sink
from transforms.storage.tables import LEDGER, POSITIONS


def read_table(job: Job, name: str) -> pa.Table:
    """A table from the first sink that can be read; empty if nothing was published yet.

    Raises:
        SinkError: if it cannot be read.
    """
    return next(sinks_with(job, name)).read(name)


def sinks_with(job: Job, table: str) -> Iterator[Sink]:
    """The sinks from which a table can be read, in the order of the job file."""
    return (sink for sink in job.sinks if sink.reads_back and table in sink.tables)


def sums(job: Job) -> Mapping[str, int]:
    """The sums of the ledger's columns since the job's beginning.

    Raises:
        SinkError: if the ledger cannot be read.
    """
    newest = newest_of(job)
    if newest is not None and newest.totals is not None:
        return newest.totals
    return ledger.totals(read_table(job, LEDGER))


def newest_of(job: Job) -> Checkpoint | None:
    """The newest checkpoint of a job; None: it has none."""
    manifest = checkpoint_folder(job).of_any_job() if job.spec.is_endless else None
    return manifest.newest if manifest is not None and manifest.checkpoints else None


def rows_between(job: Job, name: str, rows: pa.Table, before: Checkpoint | None, after: Checkpoint) -> pa.Table:
    """The rows of a table that one checkpoint has and an earlier one did not have.

    For windows, these are the final rows that had closed; for dead letters and the ledger, the rows of records that had
    been read.

    Args:
        before: the earlier checkpoint; None: all rows that `after` has.
    """
    if name in POSITIONS:
        return inside(job.source, rows, POSITIONS[name], before, after)
    rows = rows.filter(rows["final"])
    if before is not None:
        rows = _closed_after(job, name, rows, before.watermark)
    if after.drained:
        return rows
    return rows.filter(pc.less_equal(rows["window_end"].cast(pa.int64()), after.watermark - _lateness(job, name)))


def not_expired(job: Job, name: str, rows: pa.Table, mark: Mark | None) -> pa.Table:
    """The final rows of a table that were stored after a mark; None: all."""
    if mark is None:
        return rows
    if name in POSITIONS:
        return not_read(rows, POSITIONS[name], reached_in(mark, name))
    return _closed_after(job, name, rows, mark.watermark)


def inside(source: Source, rows: pa.Table, column: str, before: Checkpoint | None, after: Checkpoint) -> pa.Table:
    """The dead letters or ledger rows of records that were read between two checkpoints.

    Args:
        column: the column that holds positions.
        before: None: from the source's beginning.
    """
    rows = not_read(rows, column, source.reached(before.source) if before is not None else {})
    return rows.filter(pa.array(rows[column].to_numpy() < _bounds(rows, source.reached(after.source))))


def not_read(rows: pa.Table, column: str, reached: Mapping[str, int]) -> pa.Table:
    """The dead letters or ledger rows of records that had not yet been read at a place.

    Args:
        column: the column that holds positions.
        reached: for each source, the first position that had not been read.
    """
    return rows.filter(pa.array(rows[column].to_numpy() >= _bounds(rows, reached)))


def _bounds(rows: pa.Table, reached: Mapping[str, int]) -> Any:
    """The first unread position of each row's source."""
    sources = pa.chunked_array(rows["source"]).combine_chunks().dictionary_encode()
    bounds = np.array([reached.get(source, 0) for source in sources.dictionary.to_pylist()], np.int64)
    return bounds[sources.indices.to_numpy(zero_copy_only=False)]


def _closed_after(job: Job, name: str, rows: pa.Table, watermark: int) -> pa.Table:
    """The rows of windows that had not closed at a watermark."""
    return rows.filter(pc.greater(rows["window_end"].cast(pa.int64()), watermark - _lateness(job, name)))


def _lateness(job: Job, table: str) -> int:
    spec = next(a.spec for a in job.aggregations if table in {output.table for output in a.outputs})
    return microseconds(spec.allowed_lateness)


def places(job: Job) -> list[str]:
    """Where the tables of a job are, without secrets."""
    return list(dict.fromkeys(place for sink in job.sinks for place in sink.places()))

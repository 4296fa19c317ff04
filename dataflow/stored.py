"""Stored tables, read back from where a job put them."""

import pyarrow as pa
import pyarrow.compute as pc

from dataflow.job import Job
from transforms.specification import microseconds
from transforms.storage import parquet, sql
from transforms.storage.error import SinkError
from transforms.storage.manifest import Checkpoint
from transforms.storage.publish import DEAD_LETTERS, LEDGER, Target, sql_table
from transforms.storage.sql.database import parsed
from transforms.storage.sql.error import shown
from transforms.storage.staging import Table


def read_table(job: Job, name: str) -> pa.Table:
    """A table as the first sink that has it holds it; empty where nothing was published yet.

    Raises:
        SinkError: if it cannot be read.
    """
    return read_target(job, next(target for target in job.targets if target.table == name))


def read_target(job: Job, target: Target) -> pa.Table:
    """A table as one sink holds it.

    Raises:
        SinkError: if it cannot be read.
    """
    return read_stored(job.tables[target.table], target)


def read_stored(table: Table, target: Target) -> pa.Table:
    """A table as one sink holds it.

    Raises:
        SinkError: if it cannot be read.
    """
    if target.folder is not None:
        return parquet.read(target.folder, table.schema)
    try:
        return sql.read(str(target.url), sql_table(table))
    except sql.SqlSinkError as error:
        raise SinkError(str(error)) from None


def rows_between(job: Job, name: str, rows: pa.Table, before: Checkpoint | None, after: Checkpoint) -> pa.Table:
    """Of a table's rows, those that one checkpoint knows and an earlier one did not.

    Of windows these are the final ones that had closed; of dead letters and the ledger those of records that were
    read.

    Args:
        before: None: all that `after` knows.
    """
    if name in (DEAD_LETTERS, LEDGER):
        from dataflow.source import source_of
        from dataflow.source.live import inside

        column = "position" if name == DEAD_LETTERS else "first_position"
        return inside(source_of(job), rows, column, before, after)
    spec = next(a.spec for a in job.aggregations if name in {output.table for output in a.outputs})
    lateness = microseconds(spec.allowed_lateness)
    rows = rows.filter(rows["final"])
    ends = rows["window_end"].cast(pa.int64())
    if before is not None:
        rows = rows.filter(pc.greater(ends, before.watermark - lateness))
        ends = rows["window_end"].cast(pa.int64())
    return rows if after.drained else rows.filter(pc.less_equal(ends, after.watermark - lateness))


def places(job: Job) -> list[str]:
    """Where the tables of a job lie, without secrets."""
    found = []
    for target in job.targets:
        if target.url is not None:
            found.append(shown(parsed(target.url)))
        elif target.folder is not None:
            found.append(target.folder if target.table == DEAD_LETTERS else target.folder.rsplit("/", 1)[0])
    found += [f"kafka {sink.target.brokers}, topics {sink.target.topic}" for sink in job.topics]
    return list(dict.fromkeys(found))

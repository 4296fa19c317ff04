"""Publishes into a SQLite file at bulk speed: Arrow goes into a staging file, one statement brings it over.

The Arrow driver (ADBC) has a SQLite library of its own, and two libraries of one process must not open the same
file: closing it in one drops the other's locks (sqlite.org/howtocorrupt.html, 2.2.1). So ADBC sees the staging file
only, and the published file belongs to Python's sqlite3, on one connection, in one transaction.

Readers are locked out for the moment of the commit only, as long as a publication changes less than SPILL_BYTES.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa

from transforms.storage.sink import Fence
from transforms.storage.sql.database import LOCK_PATIENCE, missing_driver
from transforms.storage.sql.error import Refusal, reason, translated
from transforms.storage.sql.fence import guard_all
from transforms.storage.sql.registry import claim
from transforms.storage.sql.stored_form import chunked, to_stored
from transforms.storage.sql.table import SqlTable
from transforms.storage.sql.upsert import upsert

STAGING: Final = "streamgauge_staging"
SPILL_BYTES: Final = 256 << 20
PAGE_BYTES: Final = 4_096  # SQLite's default since 3.12


def publish(
    engine: sa.Engine, tables: Mapping[SqlTable, Iterable[pa.RecordBatch]], *, replace: bool, fence: Fence | None = None
) -> dict[str, int]:
    """`publish` of this package for SQLite."""
    written: dict[str, int] = {}
    with staging_folder() as folder, engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")  # BEGIN and COMMIT are ours
        connection.exec_driver_sql("PRAGMA schema_version")  # a file that cannot be read says so before the work
        file = Path(folder) / "staging.db"
        for number, (table, batches) in enumerate(tables.items()):
            with translated(engine.url, table.name):
                stage(file, number, table, batches)
        begin(connection, file)
        guard_all(connection, tables, fence, replace=replace)
        for number, table in enumerate(tables):
            with translated(engine.url, table.name):
                target = claim(connection, table, replace=replace, begins=fence is None or fence.begins)
                if replace:
                    connection.execute(sa.delete(target))
                statement = upsert(table, target, in_key_order(table, number), engine.dialect)
                written[table.name] = connection.execute(statement).rowcount
        busy_timeout(connection, LOCK_PATIENCE)
        connection.exec_driver_sql("COMMIT")
    return written


def staging_folder() -> TemporaryDirectory[str]:
    """A folder for the staging file, where TMPDIR says."""
    try:
        return TemporaryDirectory(prefix="streamgauge-sql-")
    except OSError as error:
        raise Refusal(f"no folder to stage the rows in: {error.strerror}") from None


def begin(connection: sa.Connection, staging: Path) -> None:
    """Begins the transaction, with the staged tables attached."""
    connection.exec_driver_sql(f"ATTACH DATABASE ? AS {STAGING}", (str(staging),))
    connection.exec_driver_sql("PRAGMA threads = 2")  # sorting is half of the work
    connection.exec_driver_sql(f"PRAGMA main.cache_spill = {SPILL_BYTES // PAGE_BYTES}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    # Writing changed pages early needs readers gone. Waiting for that at every page could go on for ever; without
    # patience SQLite keeps the pages in memory, and only the commit waits.
    busy_timeout(connection, timedelta(0))


def busy_timeout(connection: sa.Connection, patience: timedelta) -> None:
    """Sets how long SQLite waits for other connections."""
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {patience // timedelta(milliseconds=1)}")


def stage(file: Path, number: int, table: SqlTable, batches: Iterable[pa.RecordBatch]) -> None:
    """Writes the rows into a staging table of `file`."""
    try:
        from adbc_driver_sqlite import dbapi
    except ImportError:
        raise missing_driver("adbc_driver_sqlite") from None
    keys = [f"c{place}" for place in range(len(table.schema))]
    try:
        with dbapi.connect(str(file), autocommit=True) as connection, connection.cursor() as cursor:
            for pragma in ("journal_mode", "synchronous"):  # nobody will want this file after a crash
                cursor.execute(f"PRAGMA {pragma} = OFF").fetchall()
            cursor.execute(f"CREATE TABLE t{number} ({', '.join(keys)})")
            for batch in chunked(table, batches):
                columns = pa.record_batch(to_stored(batch, timestamps_as_text=True), keys)
                cursor.adbc_ingest(f"t{number}", columns, mode="append")
    except dbapi.Error as error:
        raise Refusal(f"the rows cannot be staged in {file.parent.parent}: {reason(error)}") from None


def in_key_order(table: SqlTable, number: int) -> sa.Select[Any]:
    """The staged rows by key: filling a table in the order of its index is twice as fast.

    Rows of one key keep the order they came in, and ON CONFLICT takes them one after the other.
    """
    keys = [f"c{place}" for place in range(len(table.schema))]
    staged = sa.table(f"t{number}", *(sa.column(key) for key in keys), schema=STAGING)
    order = [staged.c[f"c{place}"] for place in table.key_places]
    # Without a WHERE, SQLite's parser takes ON CONFLICT for the ON of a join (sqlite.org/lang_upsert.html).
    return sa.select(*staged.c).where(sa.true()).order_by(*order, sa.literal_column("rowid"))

"""Publishes into a SQLite file at bulk speed: Arrow data goes into a staging file, and one statement moves it over.

The Arrow driver (ADBC) has its own SQLite library, and two libraries of one process must not open the same file:
closing it in one drops the other's locks (sqlite.org/howtocorrupt.html, 2.2.1). So ADBC opens only the staging file,
and Python's sqlite3 writes the published file, on one connection, in one transaction.

If a publication changes less than SPILL_BYTES, readers are locked out only during the commit.
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
        connection.exec_driver_sql("PRAGMA schema_version")  # an unreadable file fails before the work
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
    """A folder for the staging file, in TMPDIR."""
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
    # To write changed pages early, SQLite must lock readers out, and could wait for that at every page. With a
    # timeout of 0 it keeps the pages in memory, and only the commit waits.
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
            for pragma in ("journal_mode", "synchronous"):  # this file is worthless after a crash
                cursor.execute(f"PRAGMA {pragma} = OFF").fetchall()
            cursor.execute(f"CREATE TABLE t{number} ({', '.join(keys)})")
            for batch in chunked(table, batches):
                columns = pa.record_batch(to_stored(batch, timestamps_as_text=True), keys)
                cursor.adbc_ingest(f"t{number}", columns, mode="append")
    except dbapi.Error as error:
        raise Refusal(f"the rows cannot be staged in {file.parent.parent}: {reason(error)}") from None


def in_key_order(table: SqlTable, number: int) -> sa.Select[Any]:
    """The staged rows by key: filling a table in the order of its index is twice as fast.

    Rows of one key keep their order, and ON CONFLICT takes them one by one.
    """
    keys = [f"c{place}" for place in range(len(table.schema))]
    staged = sa.table(f"t{number}", *(sa.column(key) for key in keys), schema=STAGING)
    order = [staged.c[f"c{place}"] for place in table.key_places]
    # Without a WHERE, SQLite's parser reads ON CONFLICT as the ON of a join (sqlite.org/lang_upsert.html).
    return sa.select(*staged.c).where(sa.true()).order_by(*order, sa.literal_column("rowid"))

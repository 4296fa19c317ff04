"""The SQL sink's three verbs: check, publish, read."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from transforms.storage.sink import Fence, Known
from transforms.storage.sql import deletion, postgresql, sqlite
from transforms.storage.sql import fence as fence_of
from transforms.storage.sql.database import CONNECT_PATIENCE, is_missing, open_engine, parsed, schema_of, sqlite_file
from transforms.storage.sql.definition import define, present_columns
from transforms.storage.sql.error import Refusal, translated
from transforms.storage.sql.fence import guard_all
from transforms.storage.sql.registry import refuse_foreign
from transforms.storage.sql.stored_form import from_stored
from transforms.storage.sql.table import SqlTable

FETCH_ROWS: Final = 50_000

T = TypeVar("T")


def check(url: str, tables: Iterable[SqlTable] = ()) -> None:
    """Returns if the database can be reached and written to; changes nothing.

    Args:
        tables: the tables to be published; none of them may be a table that Streamgauge did not make.

    Waits for about five seconds at most, with the drivers of PostgreSQL and SQLite.

    Raises:
        SqlSinkError: if it cannot.
    """
    parts = parsed(url)
    file = sqlite_file(parts)
    with translated(parts):
        if file is not None:
            there = next(path for path in (file, *file.parents) if not is_missing(path))
            if there != file and not there.is_dir():
                raise Refusal(f"{there} is not a folder")
            for path in {there, file.parent if there == file else there}:  # SQLite writes its journal next to the file
                if not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
                    raise Refusal(f"{path} cannot be written to")
            if there != file:  # connecting would create it
                return
        with open_engine(parts, lock_patience=CONNECT_PATIENCE).connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA schema_version")
            connection.execute(sa.select(1))
            if connection.dialect.name == "postgresql":
                creates = sa.func.has_schema_privilege(sa.func.current_schema(), "CREATE")
                schema = schema_of(parts)
                is_new = schema and connection.scalar(sa.select(sa.func.to_regnamespace(schema))) is None
                if is_new:
                    creates = sa.func.has_database_privilege(sa.func.current_database(), "CREATE")
                if not connection.scalar(sa.select(creates)):
                    if is_new:
                        raise Refusal(f"permission denied: {parts.username} may not create schemas in this database")
                    raise Refusal(
                        f"permission denied: {parts.username} may not create tables in the schema that"
                        " search_path names first"
                    )
            for table in tables:
                with translated(parts, table.name):
                    refuse_foreign(connection, table)


def publish(
    url: str, tables: Mapping[SqlTable, Iterable[pa.RecordBatch]], *, replace: bool, fence: Fence | None = None
) -> dict[str, int]:
    """Writes all tables in one transaction: afterwards all of them are as requested, or all are unchanged.

    Running it twice with the same rows leaves the same tables. Missing tables are created; readers see the old rows
    until the end.

    Args:
        url: a SQLAlchemy url of PostgreSQL 15 or newer, or of a SQLite file, whose missing folders are created.
        tables: the rows of each table, taken once, batch by batch, before the tables are touched. Rows of one key
            count as if they were upserted one after the other. Strings hold no U+0000, floats no NaN.
        replace: true: a table holds exactly these rows afterwards, and one that was published with other columns is
            made again. False: rows are upserted by their key, and a row with `final` = true is never replaced by
            one without.
        fence: which launch of a live job writes; None: a bounded run does.

    Returns:
        The rows written to each table; provisional rows kept out by a final one are not counted, and several rows
        of one key count at least once.

    Raises:
        SqlOvertaken: if another launch has taken over; nothing was written.
        SqlTableGone: if a table that the live job wrote no longer exists; nothing was written.
        SqlSinkError: if nothing was written, with the reason. What the iterables raise passes unchanged, and then
            nothing was written either.
    """
    parts = parsed(url)
    with translated(parts):
        names = [table.name.lower() if parts.get_backend_name() == "sqlite" else table.name for table in tables]
        if len(set(names)) != len(names):
            raise Refusal(f"tables must have different names, they are {', '.join(sorted(names))}")
        file = sqlite_file(parts)
        if file is not None:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise Refusal(f"the folder {file.parent} cannot be made: {error.strerror}") from None
        engine = open_engine(parts)
        if engine.dialect.name == "postgresql":
            return postgresql.publish(engine, tables, replace=replace, fence=fence)
        return sqlite.publish(engine, tables, replace=replace, fence=fence)


def retract(url: str, tables: Mapping[SqlTable, Sequence[pa.RecordBatch]], fence: Fence) -> None:
    """Deletes from tables the provisional rows whose place windows have taken, in one transaction.

    Args:
        tables: for each table, the windows by the columns of its key.

    Raises:
        SqlSinkError: if it fails, with the reason; nothing has changed.
    """
    _take_out(deletion.retract, url, tables, fence)


def roll_back(url: str, tables: Mapping[SqlTable, Known], fence: Fence) -> None:
    """Deletes from tables what a live job has stored after a place, in one transaction.

    Raises:
        SqlSinkError: if it fails, with the reason; nothing has changed.
    """
    _take_out(deletion.roll_back, url, tables, fence)


def expire(url: str, tables: Mapping[SqlTable, Known], fence: Fence) -> None:
    """Deletes from tables what a live job had stored up to a place, in one transaction.

    Raises:
        SqlSinkError: if it fails, with the reason; nothing has changed.
    """
    _take_out(deletion.expire, url, tables, fence)


def _take_out(
    action: Callable[[sa.Connection, SqlTable, T], None], url: str, tables: Mapping[SqlTable, T], fence: Fence
) -> None:
    parts = parsed(url)
    with translated(parts), _transaction(parts) as connection:
        if connection.dialect.name == "postgresql":
            postgresql.lock(connection, tables)
        guard_all(connection, tables, fence)
        for table, what in tables.items():
            action(connection, table, what)


def last_closed(url: str, tables: Iterable[SqlTable]) -> int | None:
    """The end (µs) of the last final window of tables; None: there is none.

    Raises:
        SqlSinkError: if the database cannot be read.
    """
    with _reading(url) as connection:
        if connection is None:
            return None
        there = [table for table in tables if present_columns(connection, define(table, connection.dialect))]
        ends = [deletion.last_closed(connection, table) for table in there]
    return max((end for end in ends if end is not None), default=None)


def full(url: str, tables: Iterable[SqlTable], owner: str | None) -> list[str]:
    """The tables with rows that do not belong to the live job with the state `owner`.

    Raises:
        SqlSinkError: if the database cannot be read.
    """
    with _reading(url) as connection:
        if connection is None:
            return []
        return [table.name for table in tables if fence_of.full(connection, table, owner)]


def is_there(url: str, table: SqlTable) -> bool:
    """Whether a database has a table.

    Raises:
        SqlSinkError: if the database cannot be read.
    """
    with _reading(url, table.name) as connection:
        return connection is not None and present_columns(connection, define(table, connection.dialect)) is not None


@contextmanager
def _reading(url: str, table: str | None = None) -> Iterator[sa.Connection | None]:
    """A connection for reading; None: the SQLite file does not exist, and a connection would make it."""
    parts = parsed(url)
    file = sqlite_file(parts)
    if file is not None and is_missing(file):
        yield None
        return
    with translated(parts, table), open_engine(parts).connect() as connection:
        yield connection


@contextmanager
def _transaction(url: sa.URL) -> Iterator[sa.Connection]:
    engine = open_engine(url)
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":  # Python's sqlite3 would begin only at the first change
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


def read(url: str, table: SqlTable) -> pa.Table:
    """The rows of a table, in the types of `table.schema`, ordered by key, nulls last.

    The order is that of Arrow (text by code point), so it is the same for every database. Other columns of the
    table are left out.

    Returns:
        No rows if there is no such table.

    Raises:
        SqlSinkError: if the database cannot be read, or the table lacks a column.
    """
    with _reading(url, table.name) as connection:
        if connection is None:
            return table.schema.empty_table()
        source = define(table, connection.dialect)
        present = present_columns(connection, source)
        if present is None:
            return table.schema.empty_table()
        missing = [name for name in table.schema.names if name not in present]
        if missing:
            raise Refusal(f"the table lacks the columns {', '.join(missing)}")
        if connection.dialect.name == "postgresql":  # Python's years end at 9999, and zones reach beyond
            connection.exec_driver_sql("SET TIME ZONE 'UTC'")
        rows = connection.execution_options(yield_per=FETCH_ROWS).execute(sa.select(*source.c))
        batches = [batch_of(part, table.schema) for part in rows.partitions()]
    return in_key_order(pa.Table.from_batches(batches, table.schema), table)


def batch_of(rows: Sequence[sa.Row[Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Rows of the driver as Arrow."""
    columns = zip(*rows, strict=True)
    return pa.record_batch(
        [from_stored(values, type_) for values, type_ in zip(columns, schema.types, strict=True)], schema=schema
    )


def in_key_order(rows: pa.Table, table: SqlTable) -> pa.Table:
    """The rows ordered by key."""
    # By place, because Arrow reads some names (".a", "[0]") as paths.
    key = {f"k{number}": rows.column(place) for number, place in enumerate(table.key_places)}
    return rows.take(pc.sort_indices(pa.table(key), sort_keys=[(name, "ascending") for name in key]))

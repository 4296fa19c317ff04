"""Publishes into any database that SQLAlchemy knows, row by row: correct, not fast.

A row is deleted by its key and inserted again, so nothing is asked of the database's unique indexes or of its
dialect of upsert. All rows go in one transaction; a database that commits at CREATE TABLE (MySQL, Oracle) keeps
new, empty tables when a publication fails, and a table whose layout changed may be empty until the next one.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from transforms.storage.sql.definition import key_columns
from transforms.storage.sql.error import translated
from transforms.storage.sql.fence import Fence, guard_all
from transforms.storage.sql.registry import claim
from transforms.storage.sql.stored_form import chunked, to_stored
from transforms.storage.sql.table import SqlTable

Row = dict[str, Any]
Nulls = tuple[bool, ...]


def publish(
    engine: sa.Engine, tables: Mapping[SqlTable, Iterable[pa.RecordBatch]], *, replace: bool, fence: Fence | None = None
) -> dict[str, int]:
    """`publish` of this package for any dialect."""
    written: dict[str, int] = {}
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":  # Python's sqlite3 would commit every CREATE and DROP
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        guard_all(connection, tables, fence, replace=replace)
        targets: dict[SqlTable, sa.Table] = {}
        for table in tables:  # before any row: where CREATE TABLE commits, it must not commit rows
            with translated(engine.url, table.name):
                targets[table] = claim(connection, table, replace=replace)
        for table, batches in tables.items():
            with translated(engine.url, table.name):
                if replace:
                    connection.execute(sa.delete(targets[table]))
                written[table.name] = sum(
                    write(connection, table, targets[table], rows)
                    for rows in row_chunks(table, batches, engine.dialect)
                )
    return written


def row_chunks(table: SqlTable, batches: Iterable[pa.RecordBatch], dialect: sa.Dialect) -> Iterable[list[Row]]:
    """The rows as drivers want them, by the columns' keys c0, c1, …"""
    keys = [f"c{place}" for place in range(len(table.schema))]
    for batch in chunked(table, batches):
        columns = to_stored(batch, timestamps_as_text=dialect.name == "sqlite")
        rows = zip(*(column.to_pylist() for column in columns), strict=True)
        yield [dict(zip(keys, row, strict=True)) for row in rows]


def write(connection: sa.Connection, table: SqlTable, target: sa.Table, rows: list[Row]) -> int:
    """Upserts the rows in their order, a final one never replaced by a provisional one; returns how many it wrote."""
    final = None if table.final_place is None else f"c{table.final_place}"
    key = [column.key for column in key_columns(table, target)]
    standing: dict[tuple[Any, ...], Row] = {}
    written = 0
    for row in rows:
        place = tuple(row[name] for name in key)
        if final is not None and not row[final] and is_final(connection, target, standing.get(place), row, key, final):
            continue
        standing[place] = row
        written += 1
    by_nulls: dict[Nulls, list[Row]] = {}
    for row in standing.values():
        by_nulls.setdefault(tuple(row[name] is None for name in key), []).append(row)
    for nulls, alike in by_nulls.items():
        connection.execute(sa.delete(target).where(same_key(target, key, nulls)), [parameters(row) for row in alike])
    if standing:
        connection.execute(
            sa.insert(target).values({c.key: sa.bindparam(f"p_{c.key}", type_=c.type) for c in target.c}),
            [parameters(row) for row in standing.values()],
        )
    return written


def is_final(
    connection: sa.Connection, target: sa.Table, ahead: Row | None, row: Row, key: list[str], final: str
) -> bool:
    """Whether a final row stands for the row's key: in what is about to be written, else in the table."""
    if ahead is not None:
        return bool(ahead[final])
    nulls = tuple(row[name] is None for name in key)
    query = sa.select(target.c[final]).where(same_key(target, key, nulls))
    return bool(connection.scalar(query, parameters(row)))


def same_key(target: sa.Table, key: list[str], nulls: Nulls) -> sa.ColumnElement[bool]:
    """The condition that a row has the key of the parameters, which are null where `nulls` says so."""
    return sa.and_(
        *(
            target.c[name].is_(None) if null else target.c[name] == sa.bindparam(f"p_{name}", type_=target.c[name].type)
            for name, null in zip(key, nulls, strict=True)
        )
    )


def parameters(row: Row) -> Row:
    """The row for bind parameters: SQLAlchemy keeps the columns' own names for itself."""
    return {f"p_{name}": value for name, value in row.items()}

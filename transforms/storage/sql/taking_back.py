"""Deletes rows of a live job from a database: those stored after a place, to roll back; those up to it, to expire."""

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa

from transforms.storage.sink import Known
from transforms.storage.sql.definition import define, present_columns
from transforms.storage.sql.error import GONE, Gone
from transforms.storage.sql.stored_form import EARLIEST, LATEST, from_stored, stored_column
from transforms.storage.sql.table import TIMESTAMP, SqlTable

_TIME: Final = pa.field("time", TIMESTAMP)


def roll_back(connection: sa.Connection, table: SqlTable, known: Known) -> None:
    """Deletes the rows of a table that were stored after a place.

    Windows that had closed there stay, and so do provisional windows that had ended.

    Raises:
        Gone: if the table does not exist.
    """
    target, columns = _columns_of(connection, table)
    if known.position:
        connection.execute(sa.delete(target).where(sa.not_(_had_been_read(columns, known))))
        return
    start, end, final = (columns[name] for name in ("window_start", "window_end", "final"))
    closed = _time(known.watermark - known.lateness, connection.dialect)
    ended = _time(known.watermark, connection.dialect)
    stays = sa.or_(
        sa.and_(final, end <= closed),
        sa.and_(sa.not_(final), end > closed, end <= ended),
    )
    goes = sa.delete(target).where(sa.not_(stays))
    if known.longest is not None:
        # No window that starts earlier was open there; the key's index finds the later ones.
        earliest = _time(known.watermark - known.lateness - known.longest, connection.dialect)
        goes = goes.where(start >= earliest)
    connection.execute(goes)


def expire(connection: sa.Connection, table: SqlTable, known: Known) -> None:
    """Deletes the rows of a table that were stored up to a place.

    Raises:
        Gone: if the table does not exist.
    """
    target, columns = _columns_of(connection, table)
    if known.position:
        expires = _had_been_read(columns, known)
    else:
        closed = _time(known.watermark - known.lateness, connection.dialect)
        expires = sa.and_(columns["final"], columns["window_end"] <= closed)
    connection.execute(sa.delete(target).where(expires))


def _columns_of(connection: sa.Connection, table: SqlTable) -> tuple[sa.Table, dict[str, sa.Column[Any]]]:
    """An existing table, and its columns by name.

    Raises:
        Gone: if it does not exist.
    """
    target = define(table, connection.dialect)
    if present_columns(connection, target) is None:
        raise Gone(GONE)
    return target, {column.name: column for column in target.c}


def _had_been_read(columns: Mapping[str, sa.Column[Any]], known: Known) -> sa.ColumnElement[bool]:
    source, position = columns["source"], columns[known.position]
    read = [sa.and_(source == name, position < first) for name, first in known.reached.items()]
    return sa.or_(sa.false(), *read)


def last_closed(connection: sa.Connection, table: SqlTable) -> int | None:
    """The end (µs) of the last final window of a table; None: there is none."""
    target = define(table, connection.dialect)
    columns = {column.name: column for column in target.c}
    end = connection.scalar(sa.select(sa.func.max(columns["window_end"])).where(columns["final"]))
    if end is None:
        return None
    return int(from_stored([end], TIMESTAMP).cast(pa.int64())[0].as_py())


def _time(micros: int, dialect: sa.Dialect) -> Any:
    """A time in the database's form, limited to the years that it can hold."""
    moment = pa.array([min(max(micros, EARLIEST), LATEST)], pa.int64()).cast(TIMESTAMP)
    return stored_column(moment, _TIME, dialect.name == "sqlite")[0].as_py()

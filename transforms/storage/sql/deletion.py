"""Deletes rows of a live job from a database.

These are those stored after a place, to roll back; those up to it, to expire; and provisional rows whose place windows
have taken, to retract.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa

from transforms.storage.sink import Known
from transforms.storage.sql.definition import define, present_columns, sql_type
from transforms.storage.sql.error import GONE, Gone
from transforms.storage.sql.stored_form import EARLIEST, LATEST, from_stored, stored_column, to_stored
from transforms.storage.sql.table import TIMESTAMP, SqlTable

_RETRACTED: Final = "streamgauge_retracted"
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


def retract(connection: sa.Connection, table: SqlTable, windows: Iterable[pa.RecordBatch]) -> None:
    """Deletes the provisional rows of a table that lie within windows of their key, but not these windows' own rows.

    Raises:
        Gone: if the table does not exist.
    """
    target, columns = _columns_of(connection, table)
    staged = _staged(connection, table, windows)
    if staged is None:
        return
    start, end, *key = ((columns[name], staged.c[f"c{place}"]) for place, name in enumerate(table.key))
    is_of_the_key = [stored.is_not_distinct_from(given) for stored, given in key]
    if connection.dialect.name == "postgresql":  # for a fast join it needs an equality, and its null equals nothing
        texts = ((sa.func.coalesce(sa.cast(each, sa.Text), "") for each in pair) for pair in key)
        is_of_the_key += [stored == given for stored, given in texts]
    is_within = [start[0] >= start[1], end[0] <= end[1], sa.or_(start[0] != start[1], end[0] != end[1])]
    overtaken = sa.select(sa.literal(1)).select_from(staged).where(*is_of_the_key, *is_within).correlate(target)
    # The key's index limits the search to rows that start no earlier.
    earliest = sa.select(sa.func.min(start[1])).scalar_subquery()
    is_provisional = sa.not_(sa.func.coalesce(columns["final"], sa.false()))
    connection.execute(sa.delete(target).where(start[0] >= earliest, is_provisional, sa.exists(overtaken)))
    staged.drop(connection)


def _staged(connection: sa.Connection, table: SqlTable, windows: Iterable[pa.RecordBatch]) -> sa.Table | None:
    """The keys of windows in a temporary table with the columns c0, c1 …; None: there are none."""
    dialect, schema = connection.dialect, pa.schema([table.schema.field(name) for name in table.key])
    is_sqlite = dialect.name == "sqlite"
    names = [f"c{place}" for place in range(len(schema))]
    rows: list[dict[str, Any]] = []
    for batch in windows:
        keys = pa.record_batch([batch[name] for name in table.key], schema)
        stored = (column.to_pylist() for column in to_stored(keys, timestamps_as_text=is_sqlite))
        rows += [dict(zip(names, row, strict=True)) for row in zip(*stored, strict=True)]
    if not rows:
        return None
    columns = [sa.Column(name, sql_type(field.type, dialect)) for name, field in zip(names, schema, strict=True)]
    own = "temp" if is_sqlite else "pg_temp"
    staged = sa.Table(_RETRACTED, sa.MetaData(), *columns, schema=own, prefixes=["TEMPORARY"])
    staged.create(connection)
    connection.execute(sa.insert(staged), rows)
    return staged


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

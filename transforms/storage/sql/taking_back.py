"""What a live job stored after a place is taken out of a database's tables, when the job goes back to that place."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa

from transforms.storage.sql.definition import define, present_columns
from transforms.storage.sql.error import GONE, Gone
from transforms.storage.sql.stored_form import EARLIEST, LATEST, from_stored, stored_column
from transforms.storage.sql.table import TIMESTAMP, SqlTable

_TIME: Final = pa.field("time", TIMESTAMP)


@dataclass(frozen=True, slots=True)
class After:
    """The rows of a table that are stored after a place.

    Args:
        watermark: of windows: up to where event time had passed there (µs).
        lateness: how long (µs) they wait for late records.
        longest: how long (µs) they are at most.
        position: of records: the column that holds their positions; empty: the table is of windows.
        reached: of records: the position of the first of each source that had not been read.
    """

    watermark: int = 0
    lateness: int = 0
    longest: int = 0
    position: str = ""
    reached: Mapping[str, int] = field(default_factory=dict)


def take_back(connection: sa.Connection, table: SqlTable, after: After) -> None:
    """Deletes the rows of a table that were stored after a place.

    Of windows, those stay that had closed there, and provisional ones that had ended.

    Raises:
        Gone: if the table is not there.
    """
    target = define(table, connection.dialect)
    if present_columns(connection, target) is None:
        raise Gone(GONE)
    columns = {column.name: column for column in target.c}
    if after.position:
        source, position = columns["source"], columns[after.position]
        had_been_read = [sa.and_(source == name, position < first) for name, first in after.reached.items()]
        connection.execute(sa.delete(target).where(sa.not_(sa.or_(sa.false(), *had_been_read))))
        return
    start, end, final = (columns[name] for name in ("window_start", "window_end", "final"))
    closed = _time(after.watermark - after.lateness, connection.dialect)
    ended = _time(after.watermark, connection.dialect)
    stays = sa.or_(
        sa.and_(final, end <= closed),
        sa.and_(sa.not_(final), end > closed, end <= ended),
    )
    # No window that starts before this was open there: the key's index finds the others.
    earliest = _time(after.watermark - after.lateness - after.longest, connection.dialect)
    connection.execute(sa.delete(target).where(start >= earliest, sa.not_(stays)))


def last_closed(connection: sa.Connection, table: SqlTable) -> int | None:
    """The end (µs) of the last window of a table that is final; None: there is none."""
    target = define(table, connection.dialect)
    columns = {column.name: column for column in target.c}
    end = connection.scalar(sa.select(sa.func.max(columns["window_end"])).where(columns["final"]))
    if end is None:
        return None
    return int(from_stored([end], TIMESTAMP).cast(pa.int64())[0].as_py())


def _time(micros: int, dialect: sa.Dialect) -> Any:
    """A moment as the database holds it, within the years that it can hold."""
    moment = pa.array([min(max(micros, EARLIEST), LATEST)], pa.int64()).cast(TIMESTAMP)
    return stored_column(moment, _TIME, dialect.name == "sqlite")[0].as_py()

"""Which tables a database cannot hold side by side, told from the url alone: nothing is connected to."""

from collections.abc import Iterable, Iterator
from typing import Final

import sqlalchemy as sa

from transforms.storage.sql.database import parsed
from transforms.storage.sql.definition import define
from transforms.storage.sql.error import Refusal, SqlSinkError
from transforms.storage.sql.table import SqlTable

NAMED_BY_SQLITE: Final = "sqlite_"
"""Tables whose names begin so are SQLite's own (sqlite.org/lang_createtable.html)."""


def misfits(url: str, tables: Iterable[SqlTable]) -> Iterator[tuple[str, str]]:
    """The tables that the database of `url` would refuse, each with the reason; none if the url is no good itself."""
    try:
        parts = parsed(url)
        dialect = parts.get_dialect()()
    except (SqlSinkError, sa.exc.SQLAlchemyError, ImportError):
        return  # a bad url, or a missing driver, is told elsewhere
    folds = parts.get_backend_name() == "sqlite"  # it compares names without regard to case, ASCII letters only
    taken: dict[str, str] = {}
    for table in tables:
        name = table.name.lower() if folds else table.name
        if name in taken:
            yield table.name, f"the table {table.name} differs from {taken[name]} in nothing but case"
        taken.setdefault(name, table.name)
        if folds and name.startswith(NAMED_BY_SQLITE):
            yield table.name, f"the table {table.name} cannot be in SQLite, whose own begin with {NAMED_BY_SQLITE}"
        columns: dict[str, str] = {}
        for column in table.schema.names if folds else ():
            if columns.setdefault(column.lower(), column) != column:
                alike = f"{column} and {columns[column.lower()]}"
                yield table.name, f"the table {table.name} would have the columns {alike}, which differ only in case"
        try:
            define(table, dialect)
        except Refusal as error:
            yield table.name, str(error)

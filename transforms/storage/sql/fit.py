"""What a database cannot do, determined from the url alone, without a connection."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import sqlalchemy as sa

from transforms.errors import SqlSinkError
from transforms.location import identity
from transforms.storage.sql.database import in_schema, open_engine, parsed
from transforms.storage.sql.definition import define
from transforms.storage.sql.error import Refusal
from transforms.storage.sql.table import SqlTable, is_list

NAMED_BY_SQLITE: Final = "sqlite_"
"""Tables whose names begin so are SQLite's own (sqlite.org/lang_createtable.html)."""


POSTGRESQL_PORT: Final = 5432
POSTGRESQL_ROW_BYTES: Final = 8_160
"""The bytes of a page for one row; a long value takes 18 of them and is stored elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a database, and how it compares names.

    Args:
        columns: the most columns of a table.
        key: the most columns of an index.
        reserved: columns that every table already has.
        folds: whether names that differ only in the case of ASCII letters are the same.
    """

    name: str
    columns: int
    key: int
    reserved: frozenset[str] = frozenset()
    folds: bool = False


LIMITS: Final = {
    "postgresql": Limits(
        name="PostgreSQL",
        columns=1_599,  # a table may have 1,600 (postgresql.org/docs/current/limits.html), and staging needs one
        key=32,
        reserved=frozenset({"ctid", "tableoid", "xmin", "xmax", "cmin", "cmax"}),
    ),
    "sqlite": Limits(name="SQLite", columns=2_000, key=2_000, folds=True),  # sqlite.org/limits.html
}
"""The databases that are tested to compare values as we do; any other is refused by name."""


def unusable(url: str) -> str | None:
    """Why no table could be published to a url; None: it may be possible."""
    try:
        parts = parsed(url)
        backend = parts.get_backend_name()
        if backend == "sqlite" and parts.host:
            return f"has two slashes before the path; SQLite's urls have three: sqlite:///{parts.host}"
        if backend == "sqlite" and "uri" in parts.query:
            return "must not have the option uri: write the path of the file, as in sqlite:///figures.db"
        if backend == "sqlite" and parts.database in (None, "", ":memory:"):
            return "is a database in memory, which ends with the run: write sqlite:///figures.db"
        open_engine(parts)
    except SqlSinkError as error:
        return str(error)
    return None


def unusable_schema(url: str, schema: str) -> str | None:
    """Why a schema of a url cannot hold tables; None: it may be possible."""
    if schema.startswith("pg_"):
        return "begins with pg_, as those of PostgreSQL itself do"
    try:
        in_schema(url, schema)
    except ValueError as error:
        return str(error)
    return None


def file_of(url: str) -> str | None:
    """The path in a SQLite url, as it is written; None: it has none."""
    try:
        parts = parsed(url)
    except SqlSinkError:
        return None
    if parts.get_backend_name() != "sqlite" or "uri" in parts.query or parts.database in (None, "", ":memory:"):
        return None
    return str(parts.database)


def place_of(url: str) -> Hashable | None:
    """A value that is equal for all urls of one database, however they are spelt; None: it is not such a url."""
    try:
        parts = parsed(url)
    except SqlSinkError:
        return None
    if (file := file_of(url)) is not None:
        return identity(file)
    host, port = parts.host or "", parts.port or POSTGRESQL_PORT
    where = tuple(sorted((name, value) for name, value in parts.query.items() if name in ("options", "host", "port")))
    return parts.get_backend_name(), "127.0.0.1" if host == "localhost" else host.lower(), port, parts.database, where


def misfits(url: str, tables: Iterable[SqlTable]) -> Iterator[tuple[str, str]]:
    """The tables that the database of `url` would refuse, each with the reason; none if the url itself is wrong."""
    try:
        parts = parsed(url)
        dialect = parts.get_dialect()()
    except (SqlSinkError, sa.exc.SQLAlchemyError, ImportError):
        return  # a bad url, or a missing driver, is reported elsewhere
    limits = LIMITS.get(parts.get_backend_name())
    if limits is None:
        return
    taken: dict[str, str] = {}
    for table in tables:
        name = table.name.lower() if limits.folds else table.name
        if name in taken:
            yield table.name, f"the table {table.name} differs from {taken[name]} only in case"
        taken.setdefault(name, table.name)
        if limits.name == "SQLite" and name.startswith(NAMED_BY_SQLITE):
            yield table.name, f"the table {table.name} cannot be in SQLite, whose own begin with {NAMED_BY_SQLITE}"
        yield from ((table.name, sentence) for sentence in _too_much(table, limits))
        try:
            define(table, dialect)
        except Refusal as error:
            yield table.name, str(error)


def _too_much(table: SqlTable, limits: Limits) -> Iterator[str]:
    names: Sequence[str] = table.schema.names
    columns: dict[str, str] = {}
    for column in names if limits.folds else ():
        if columns.setdefault(column.lower(), column) != column:
            alike = f"{column} and {columns[column.lower()]}"
            yield f"the table {table.name} would have the columns {alike}, which differ only in case"
    for column in sorted(limits.reserved.intersection(names)):
        yield f"the table {table.name} would have the column {column}, which every table of {limits.name} has already"
    if len(names) > limits.columns:
        yield f"the table {table.name} would have {len(names):,} columns; {limits.name} keeps {limits.columns:,}"
    elif limits.name == "PostgreSQL" and (size := _row_bytes(table.schema.types)) > POSTGRESQL_ROW_BYTES:
        yield (
            f"a row of the table {table.name} may have {size:,} bytes in {len(names):,} columns;"
            f" {limits.name} keeps {POSTGRESQL_ROW_BYTES:,}"
        )
    if len(table.key) > limits.key:
        yield f"the table {table.name} would have a key of {len(table.key)} columns; {limits.name} keeps {limits.key}"


def _row_bytes(types: Sequence[pa.DataType]) -> int:
    """The bytes of a PostgreSQL row with values of the greatest size."""
    size = 0
    for kind in types:
        if kind == pa.bool_():
            size += 1
        elif is_list(kind) or kind in (pa.string(), pa.binary()):
            size += 18
        else:
            size = -(-size // 8) * 8 + 8
    head = 23 + -(-len(types) // 8)  # a single null among the values needs a bit for each column
    return -(-head // 8) * 8 + size

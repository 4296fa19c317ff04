"""A table in the terms of one database: column types, and the expressions of its unique index.

A unique index treats two nulls as different, so the key's index is built so that nulls are equal, and nothing else is
equal to a null.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA
from sqlalchemy.sql.elements import Grouping

from transforms.storage.sql.error import Refusal
from transforms.storage.sql.table import TIMESTAMP, SqlTable, is_list

# PostgreSQL refuses index rows above 2,704 bytes (a third of a page, nbtree); the rest is for fixed-width columns.
POSTGRESQL_INDEX_BYTES: Final = 2_400
DIGEST_BYTES: Final = 64
POSTGRESQL_NAME_BYTES: Final = 63


def define(table: SqlTable, dialect: sa.Dialect) -> sa.Table:
    """The table as SQLAlchemy knows it, with its key's index; columns have the keys c0, c1, … in schema order.

    Names are always quoted; bind parameters and staging columns use the keys, so no name reaches a driver's
    parameter syntax.

    Raises:
        Refusal: for names that the database would truncate.
    """
    check_names(table, dialect)
    target = sa.Table(
        sa.quoted_name(table.name, quote=True),
        sa.MetaData(),
        *(
            sa.Column(
                sa.quoted_name(field.name, quote=True),
                sql_type(field.type, dialect),
                key=f"c{place}",
                nullable=field.nullable,
                primary_key=False,
            )
            for place, field in enumerate(table.schema)
        ),
    )
    parts = [
        in_byte_order(part) if dialect.name == "postgresql" else part for part in key_index(table, target, dialect)
    ]
    name = "streamgauge_key_" + hashlib.sha256(table.name.encode()).hexdigest()[:16]
    sa.Index(name, *parts, unique=True, postgresql_nulls_not_distinct=True)
    return target


def present_columns(connection: sa.Connection, target: sa.Table) -> list[str] | None:
    """The columns of the database's table of this name; None: there is no such table."""
    if not sa.inspect(connection).has_table(target.name):
        return None
    nothing: sa.Select[Any] = sa.select(sa.literal_column("*")).select_from(target).where(sa.false())
    # SQLAlchemy shortens "a.b" to "b" for the sake of SQLite before 3.10.
    return list(connection.execute(nothing, execution_options={"sqlite_raw_colnames": True}).keys())


def check_names(table: SqlTable, dialect: sa.Dialect) -> None:
    """Raises Refusal for a name that is longer than the database keeps: PostgreSQL would truncate it silently."""
    limit = dialect.max_identifier_length
    for name in (table.name, *table.schema.names):
        if dialect.name == "postgresql" and len(name.encode()) > POSTGRESQL_NAME_BYTES:
            raise Refusal(f"the name {name!r} has {len(name.encode())} bytes, PostgreSQL keeps {POSTGRESQL_NAME_BYTES}")
        if len(name) > limit:
            raise Refusal(f"the name {name!r} has {len(name)} characters, {dialect.name} keeps {limit}")


def sql_type(type_: pa.DataType, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
    """The column type for an Arrow type."""
    if type_ == pa.int64():
        return sa.BigInteger()
    if type_ == pa.float64():
        return sa.Double()
    if type_ == pa.bool_():
        return sa.Boolean()
    if type_ == pa.binary():
        return sa.LargeBinary()
    if type_ == TIMESTAMP and dialect.name != "sqlite":
        return sa.DateTime(timezone=True)
    assert type_ in (pa.string(), TIMESTAMP) or is_list(type_), type_
    return sa.Text()


def key_columns(table: SqlTable, target: sa.Table) -> list[sa.Column[Any]]:
    """The key's columns, in the key's order."""
    return [target.c[f"c{place}"] for place in table.key_places]


def key_index(table: SqlTable, target: sa.Table, dialect: sa.Dialect) -> Sequence[sa.ColumnElement[Any]]:
    """The expressions of the key's index, which ON CONFLICT has to name."""
    columns = key_columns(table, target)
    if dialect.name == "sqlite":
        return [without_null(column) if column.nullable else column for column in columns]
    long = [column for column in columns if isinstance(column.type, (sa.Text, sa.LargeBinary))]
    return [shortened(column, POSTGRESQL_INDEX_BYTES // len(long)) if column in long else column for column in columns]


def without_null(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """For SQLite: the column, with a value of another storage class for null.

    SQLite never holds values of two storage classes equal, so the empty blob differs from every text and number,
    and the empty text from every blob.
    """
    other = "''" if isinstance(column.type, sa.LargeBinary) else "x''"
    return sa.func.ifnull(column, sa.literal_column(other))


def shortened(column: sa.Column[Any], budget: int) -> sa.ColumnElement[Any]:
    """For PostgreSQL: the column if it is short, else its beginning and its SHA-256, so that any key fits an index.

    A shortened value is longer than any unshortened one, so the two are never equal. Null stays null.
    """
    most: sa.ColumnElement[int] = sa.literal_column(
        str(max((budget - DIGEST_BYTES) // 4, 1))
    )  # a character may take four bytes
    short = sa.func.octet_length(column) <= most
    if isinstance(column.type, sa.LargeBinary):
        digested = sa.func.substr(column, sa.literal_column("1"), most).op("||")(sa.func.sha256(column))
        return Grouping(sa.case((short, column), else_=digested))
    # A text's cast to bytea reads backslashes as escapes; convert_to() is not immutable, so not for an index.
    backslash = sa.func.chr(sa.literal_column("92"))
    data = sa.cast(sa.func.replace(column, backslash, backslash.op("||")(backslash)), BYTEA)
    digest = sa.func.encode(sa.func.sha256(data), sa.literal_column("'hex'"))
    text = sa.case((short, column), else_=sa.func.left(column, most).op("||")(digest))
    return Grouping(text)


def in_byte_order(part: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A part of PostgreSQL's index, text in byte order: it is faster, and no upgrade of a collation breaks the index.

    ON CONFLICT must not name the order: PostgreSQL would take it as part of the expression and find no index.
    """
    return Grouping(sa.collate(part, "C")) if isinstance(part.type, sa.Text) else part

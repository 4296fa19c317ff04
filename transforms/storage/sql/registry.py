"""The tables of a database that are ours: a small table, `streamgauge_tables`, holds the layout of each.

A job whose statistics changed makes tables with other columns; a running job that statistics join adds columns to its
tables. Only a table that is recorded here, and still has the recorded columns, may be dropped for that; any other table
is not ours.
"""

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from transforms.storage.sql.definition import define, present_columns
from transforms.storage.sql.error import GONE, Gone, Refusal
from transforms.storage.sql.table import REGISTRY, SqlTable


def registry() -> sa.Table:
    """The table of our tables."""
    return sa.Table(
        REGISTRY,
        sa.MetaData(),
        sa.Column("name", sa.Unicode(255), primary_key=True),
        sa.Column("layout", sa.Text, nullable=False),
    )


def layout_of(table: SqlTable) -> str:
    """Everything that determines how the table is made, as text that can be compared."""
    columns = [[field.name, str(field.type), field.nullable] for field in table.schema]
    return json.dumps({"columns": columns, "key": table.key}, ensure_ascii=False)


def words(layout: str) -> str:
    """A layout in the words of a message."""
    parts = json.loads(layout)
    columns = [f"{name} {type_}" + ("" if nullable else " not null") for name, type_, nullable in parts["columns"]]
    return f"the key {', '.join(parts['key'])} and the columns {', '.join(columns)}"


def grown_layout(known: str, wanted: str) -> str | None:
    """A layout with missing columns added at the end; None: the layouts differ in more than these."""
    before, after = json.loads(known), json.loads(wanted)
    missing = [column for column in after["columns"] if column not in before["columns"]]
    columns = [*before["columns"], *missing]
    if before["key"] != after["key"] or sorted(columns) != sorted(after["columns"]):
        return None
    if not all(nullable for _, _, nullable in missing):
        return None
    return json.dumps({"columns": columns, "key": before["key"]}, ensure_ascii=False)


def is_on_its_way(present: list[str], known: str, grown: str | None) -> bool:
    """Whether a table has the columns of a layout, and possibly some of the columns that are being added.

    In databases where ALTER TABLE commits, a process that is killed after it leaves such a table.
    """
    columns = [name for name, *_ in json.loads(known)["columns"]]
    coming = [name for name, *_ in json.loads(grown)["columns"]][len(columns) :] if grown else []
    return present[: len(columns)] == columns and present[len(columns) :] == coming[: len(present) - len(columns)]


class AddColumn(sa.schema.ExecutableDDLElement):
    """ALTER TABLE … ADD, for which SQLAlchemy has no element."""

    inherit_cache = False

    def __init__(self, table: sa.Table, column: sa.Column[Any]):
        self.table = table
        self.column = column


@compiles(AddColumn)
def _add_column(element: AddColumn, compiler: Any, **_: Any) -> str:
    table = compiler.preparer.format_table(element.table)
    return f"ALTER TABLE {table} ADD {compiler.get_column_specification(element.column)}"


def refuse_foreign(connection: sa.Connection, table: SqlTable) -> None:
    """Raises Refusal if a table of that name exists and is not ours; changes nothing."""
    present = present_columns(connection, define(table, connection.dialect))
    if present is not None:
        has_registry = sa.inspect(connection).has_table(REGISTRY)
        ours = registry()
        layout = sa.select(ours.c.layout).where(ours.c.name == table.name)
        known = connection.scalar(layout) if has_registry else None
        _refuse_unless_ours(present, known, grown_layout(known, layout_of(table)) if known else None)


def _refuse_unless_ours(present: list[str], known: str | None, grown: str | None) -> None:
    if known is None or not is_on_its_way(present, known, grown):
        raise Refusal(
            f"a table of this name exists and was not made by Streamgauge (its columns are {', '.join(present)});"
            " it is left as it is: rename it, or give the aggregation another name"
        )


def claim(connection: sa.Connection, table: SqlTable, *, replace: bool, begins: bool = True) -> sa.Table:
    """The table in the database, made if it is missing, and made again if its layout changed and `replace`.

    A table that is not replaced gets the columns that it lacks, if these may be null and nothing else differs.

    Args:
        begins: whether it may be missing.

    Raises:
        Gone: if it is missing and must not be.
        Refusal: if a table of that name is not ours, or has another layout and `replace` is false.
    """
    target = define(table, connection.dialect)
    ours = registry()
    ours.create(connection, checkfirst=True)
    mine = ours.c.name == table.name
    known = connection.scalar(sa.select(ours.c.layout).where(mine))
    wanted = layout_of(table)
    present = present_columns(connection, target)
    if present is None and not begins:
        raise Gone(GONE)
    if present is not None:
        grown = grown_layout(known, wanted) if known else None
        _refuse_unless_ours(present, known, grown)
        if grown == known:
            return target
        if grown is not None and not replace:
            for column in target.columns:
                if column.name not in present:
                    connection.execute(AddColumn(target, column))
            connection.execute(sa.update(ours).where(mine).values(layout=grown))
            return target
        if not replace:
            raise Refusal(
                f"the table was made by another version of the job: it has {words(str(known))}, and should now have"
                f" {words(wanted)}; drop it, or publish the whole job again"
            )
        target.drop(connection)
    target.create(connection)
    connection.execute(sa.delete(ours).where(mine))
    connection.execute(sa.insert(ours).values(name=table.name, layout=wanted))
    return target

"""Which tables of a database are ours: a small table, `streamgauge_tables`, holds the layout of each.

A job whose statistics changed makes tables of other columns, and one that was given more of them while it runs adds
columns to the tables that it has. Only a table that is written down here, and still has the columns written down, may
be dropped for that; any other table belongs to somebody else.
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
    """All that decides how the table is made, as text that can be compared."""
    columns = [[field.name, str(field.type), field.nullable] for field in table.schema]
    return json.dumps({"columns": columns, "key": table.key}, ensure_ascii=False)


def words(layout: str) -> str:
    """A layout as one reads it in a message."""
    parts = json.loads(layout)
    columns = [f"{name} {type_}" + ("" if nullable else " not null") for name, type_, nullable in parts["columns"]]
    return f"the key {', '.join(parts['key'])} and the columns {', '.join(columns)}"


def grown_layout(known: str, wanted: str) -> str | None:
    """A layout with the columns that it lacks added behind the others; None: it differs in more than these."""
    before, after = json.loads(known), json.loads(wanted)
    missing = [column for column in after["columns"] if column not in before["columns"]]
    columns = [*before["columns"], *missing]
    if before["key"] != after["key"] or sorted(columns) != sorted(after["columns"]):
        return None
    if not all(nullable for _, _, nullable in missing):
        return None
    return json.dumps({"columns": columns, "key": before["key"]}, ensure_ascii=False)


def is_on_its_way(present: list[str], known: str, grown: str | None) -> bool:
    """Whether a table has the columns of a layout, or some of those already that are being added to it.

    Where ALTER TABLE commits, a process that is killed behind it leaves such a table.
    """
    columns = [name for name, *_ in json.loads(known)["columns"]]
    coming = [name for name, *_ in json.loads(grown)["columns"]][len(columns) :] if grown else []
    return present[: len(columns)] == columns and present[len(columns) :] == coming[: len(present) - len(columns)]


class AddColumn(sa.schema.ExecutableDDLElement):
    """ALTER TABLE … ADD, which SQLAlchemy has no element for."""

    inherit_cache = False

    def __init__(self, table: sa.Table, column: sa.Column[Any]):
        self.table = table
        self.column = column


@compiles(AddColumn)
def _add_column(element: AddColumn, compiler: Any, **_: Any) -> str:
    table = compiler.preparer.format_table(element.table)
    return f"ALTER TABLE {table} ADD {compiler.get_column_specification(element.column)}"


def refuse_foreign(connection: sa.Connection, table: SqlTable) -> None:
    """Raises Refusal if a table of that name is there and is not ours; changes nothing."""
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
            f"a table of this name is there and was not made by Streamgauge (its columns are {', '.join(present)});"
            " it is left as it is: rename it, or give the aggregation another name"
        )


def claim(connection: sa.Connection, table: SqlTable, *, replace: bool, begins: bool = True) -> sa.Table:
    """The table in the database, made if it is missing, and made again if its layout changed and `replace`.

    To a table that is not replaced, columns are added that may be null, if they are all that it lacks.

    Args:
        begins: whether it may be missing.

    Raises:
        Gone: when it is missing and must not be.
        Refusal: when a table of that name is not ours, or is of another layout and `replace` is false.
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
                f"the table was made by another version of the job: it has {words(str(known))}, and is now to have"
                f" {words(wanted)}; drop it, or publish the whole job again"
            )
        target.drop(connection)
    target.create(connection)
    connection.execute(sa.delete(ours).where(mine))
    connection.execute(sa.insert(ours).values(name=table.name, layout=wanted))
    return target

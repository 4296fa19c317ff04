"""Which tables of a database are ours: a small table, `streamgauge_tables`, holds the layout of each.

A job whose statistics changed makes tables of other columns. Only a table that is written down here, and still
has the columns written down, may be dropped for that; any other table belongs to somebody else.
"""

import json

import sqlalchemy as sa

from transforms.storage.sql.definition import define
from transforms.storage.sql.error import Refusal
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


def claim(connection: sa.Connection, table: SqlTable, *, replace: bool) -> sa.Table:
    """The table in the database, made if it is missing, and made again if its layout changed and `replace`.

    Raises:
        Refusal: when a table of that name is not ours, or is of another layout and `replace` is false.
    """
    target = define(table, connection.dialect)
    ours = registry()
    ours.create(connection, checkfirst=True)
    mine = ours.c.name == table.name
    known = connection.scalar(sa.select(ours.c.layout).where(mine))
    wanted = layout_of(table)
    inspector = sa.inspect(connection)
    if inspector.has_table(target.name):
        present = [column["name"] for column in inspector.get_columns(target.name)]
        if known is None or present != [name for name, *_ in json.loads(known)["columns"]]:
            raise Refusal(
                f"a table of this name is there and was not made by Streamgauge (its columns are {', '.join(present)});"
                " it is left as it is: rename it, or give the aggregation another name"
            )
        if known == wanted:
            return target
        if not replace:
            raise Refusal(
                f"the table was made by another version of the job, as {known}, and is now to be {wanted};"
                " drop it, or publish the whole job again"
            )
        target.drop(connection)
    target.create(connection)
    connection.execute(sa.delete(ours).where(mine))
    connection.execute(sa.insert(ours).values(name=table.name, layout=wanted))
    return target

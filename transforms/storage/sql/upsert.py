"""One statement that moves staged rows into their table, for databases that have INSERT … ON CONFLICT.

A staging table has the columns c0, c1, … of the target in the same order, so drivers never see the names.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Insert as PostgresqlInsert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert

from transforms.storage.sql.definition import key_index
from transforms.storage.sql.table import SqlTable


def upsert(
    table: SqlTable, target: sa.Table, chosen: sa.Select[Any], dialect: sa.Dialect
) -> PostgresqlInsert | SqliteInsert:
    """Inserts the chosen rows; a row of the same key is replaced, unless it is final and the new one is not."""
    insert = (SqliteInsert if dialect.name == "sqlite" else PostgresqlInsert)(target)
    # A table of only keys sets a column to its own value, so that the row counts as written.
    values = [column.key for column in target.c if column.name not in table.key] or [f"c{table.key_places[0]}"]
    rows = insert.from_select([column.key for column in target.c], chosen).execution_options(preserve_rowcount=True)
    conflict = list(key_index(table, target, dialect))
    where = None
    if table.final_place is not None:
        final = f"c{table.final_place}"
        where = sa.or_(
            sa.func.coalesce(insert.excluded[final], sa.false()),
            sa.not_(sa.func.coalesce(target.c[final], sa.false())),
        )
    return rows.on_conflict_do_update(
        index_elements=conflict, set_={key: insert.excluded[key] for key in values}, where=where
    )

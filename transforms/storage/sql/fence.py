"""The right to write a live job's tables: the table `streamgauge_writers` records it, and every transaction checks it.

A launch takes the tables; then every transaction of an earlier launch is refused, however long it was stopped. The
check and the rows are in one transaction, for which other transactions on the same tables wait.
"""

from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa

from transforms.storage.sink import Fence
from transforms.storage.sql.definition import define, present_columns
from transforms.storage.sql.error import Gone, Overtaken, translated
from transforms.storage.sql.table import WRITERS, SqlTable

_OF_ANOTHER: Final = "another job, or this job with another state, has begun it"
_OF_ANOTHER_LAUNCH: Final = "another launch of this job has taken it over"


def writers() -> sa.Table:
    """The table of writers."""
    return sa.Table(
        WRITERS,
        sa.MetaData(),
        sa.Column("name", sa.Unicode(255), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("launch", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
    )


def guard_all(
    connection: sa.Connection, tables: Iterable[SqlTable], fence: Fence | None, *, replace: bool = False
) -> None:
    """Returns if the tables may be written; takes them if the fence says so. Call it within the transaction.

    Without a fence, a bounded run writes: the tables that it replaces no longer belong to a live job.

    Raises:
        SqlOvertaken: if another launch or attempt has taken them over.
        SqlTableGone: if the table of writers no longer exists.
    """
    if fence is None:
        if replace:
            forget(connection, tables)
        return
    ours = writers()
    if fence.takes:
        ours.create(connection, checkfirst=True)
    elif not sa.inspect(connection).has_table(WRITERS):
        raise Gone(f"the table {WRITERS} is gone, and perhaps others with it; restore it, or use `rebuild`")
    names = sorted(table.name for table in tables)
    found = connection.execute(sa.select(*ours.c).where(ours.c.name.in_(names)))
    rows = {row.name: row for row in found}
    for name in names:
        with translated(connection.engine.url, name):
            guard(connection, name, rows.get(name), fence)


def guard(connection: sa.Connection, name: str, row: Any, fence: Fence) -> None:
    """Returns if a table may be written; takes it if the fence says so.

    Args:
        row: its row in the table of writers; None: it has none.

    Raises:
        Overtaken: if another launch or attempt has taken it over.
    """
    ours = writers()
    mine = ours.c.name == name
    is_of_another = row is None or row.owner != fence.owner
    if fence.takes:
        if row is not None and is_of_another and not fence.begins:
            raise Overtaken(_OF_ANOTHER)
        if not is_of_another and row.launch > fence.launch:
            raise Overtaken(_OF_ANOTHER_LAUNCH)
        connection.execute(sa.delete(ours).where(mine))
        entry: dict[str, Any] = {"name": name, "owner": fence.owner, "launch": fence.launch}
        connection.execute(sa.insert(ours).values(**entry, attempt=fence.attempt or 0))
        return
    if is_of_another:
        raise Overtaken(_OF_ANOTHER)
    if row.launch != fence.launch or (fence.attempt is not None and row.attempt > fence.attempt):
        raise Overtaken(_OF_ANOTHER_LAUNCH)
    if fence.attempt is not None and row.attempt < fence.attempt:
        connection.execute(sa.update(ours).where(mine).values(attempt=fence.attempt))


def forget(connection: sa.Connection, tables: Iterable[SqlTable]) -> None:
    """Removes the tables from the table of writers: a bounded run has replaced them."""
    ours = writers()
    if sa.inspect(connection).has_table(WRITERS):
        connection.execute(sa.delete(ours).where(ours.c.name.in_([table.name for table in tables])))


def full(connection: sa.Connection, table: SqlTable, owner: str | None) -> bool:
    """Whether a table holds rows that do not belong to `owner`."""
    target = define(table, connection.dialect)
    if present_columns(connection, target) is None:
        return False
    ours = writers()
    if owner is not None and sa.inspect(connection).has_table(WRITERS):
        whose = connection.scalar(sa.select(ours.c.owner).where(ours.c.name == table.name))
        if whose == owner:
            return False
    return connection.execute(sa.select(sa.literal(1)).select_from(target).limit(1)).first() is not None

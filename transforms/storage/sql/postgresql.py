"""Publishes into PostgreSQL at bulk speed: COPY into temporary tables, then one statement a table, all or nothing.

The key is a unique index with NULLS NOT DISTINCT, which PostgreSQL has since version 15.
"""

import hashlib
import io
from collections.abc import Iterable, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv
import sqlalchemy as sa

from transforms.storage.sink import Fence
from transforms.storage.sql.database import IDLE_PATIENCE, LOCK_PATIENCE, schema_of
from transforms.storage.sql.definition import sql_type
from transforms.storage.sql.error import Refusal, reason, translated
from transforms.storage.sql.fence import guard_all
from transforms.storage.sql.registry import claim
from transforms.storage.sql.stored_form import chunked, to_stored
from transforms.storage.sql.table import REGISTRY, WRITERS, SqlTable
from transforms.storage.sql.upsert import upsert

OLDEST_VERSION: Final = (15,)
POSITION: Final = "position"
"""The place of a staged row in the input: of two rows of one key, the later one counts."""


def publish(
    engine: sa.Engine, tables: Mapping[SqlTable, Iterable[pa.RecordBatch]], *, replace: bool, fence: Fence | None = None
) -> dict[str, int]:
    """`publish` of this package for PostgreSQL."""
    written: dict[str, int] = {}
    with engine.begin() as connection:
        version = connection.dialect.server_version_info or OLDEST_VERSION
        if version < OLDEST_VERSION:
            raise Refusal(f"PostgreSQL 15 or newer is needed, this server is {'.'.join(map(str, version))}")
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_PATIENCE.total_seconds():.0f}s'")
        # A stopped client holds its locks no longer than this, so its successor need not wait for it.
        idle = f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_PATIENCE.total_seconds():.0f}s'"
        connection.exec_driver_sql(idle)
        make_schema(connection)
        connection.exec_driver_sql("SET LOCAL work_mem = '64MB'")  # for the sort; 4 MB would send it to disk
        staged: dict[SqlTable, sa.Table] = {}
        for number, (table, batches) in enumerate(tables.items()):
            with translated(engine.url, table.name):
                staged[table] = stage(connection, number, table, batches)
        lock(connection, tables)
        guard_all(connection, tables, fence, replace=replace)
        for table, staging in staged.items():
            with translated(engine.url, table.name):
                target = claim(connection, table, replace=replace, begins=fence is None or fence.begins)
                if replace:  # not TRUNCATE: readers see the old rows until the commit
                    connection.execute(sa.delete(target))
                statement = upsert(table, target, last_of_each_key(table, staging), engine.dialect)
                written[table.name] = connection.execute(statement).rowcount
    return written


def make_schema(connection: sa.Connection) -> None:
    """Makes the schema that the url names, if it is missing."""
    name = schema_of(connection.engine.url)
    if name is None or connection.scalar(sa.select(sa.func.to_regnamespace(name))) is not None:
        return
    _take_turns(connection, f"schema {name}")  # two first runs would both create it
    connection.execute(sa.schema.CreateSchema(name, if_not_exists=True))


def lock(connection: sa.Connection, tables: Iterable[SqlTable]) -> None:
    """Lets publications of the same tables take turns; it locks in one order, so that they cannot deadlock."""
    names = sorted(table.name for table in tables)
    ours = [name for name in (REGISTRY, WRITERS) if not sa.inspect(connection).has_table(name)]
    names = [*ours, *names]  # two first runs would both create them
    schema = connection.scalar(sa.select(sa.func.current_schema()))
    for name in names:
        _take_turns(connection, f"{schema} {name}")


def _take_turns(connection: sa.Connection, what: str) -> None:
    digest = hashlib.sha256(f"streamgauge {what}".encode()).digest()
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(int.from_bytes(digest[:8], "big", signed=True))))


def stage(connection: sa.Connection, number: int, table: SqlTable, batches: Iterable[pa.RecordBatch]) -> sa.Table:
    """Copies the rows into a temporary table that ends with the transaction."""
    staging = sa.Table(
        f"streamgauge_staging_{number}",
        sa.MetaData(),
        *(
            sa.Column(f"c{place}", staging_type(field.type, connection.dialect))
            for place, field in enumerate(table.schema)
        ),
        sa.Column(POSITION, sa.BigInteger),
        schema="pg_temp",  # so no table of the user is meant
        prefixes=["TEMPORARY"],
        postgresql_on_commit="DROP",
    )
    staging.create(connection)
    before = 0
    for batch in chunked(table, batches):
        columns = to_stored(batch, timestamps_as_text=False)
        positions = pa.array(range(before, before + batch.num_rows), pa.int64())
        before += batch.num_rows
        load(connection, staging, pa.record_batch([*columns, positions], staging.c.keys()))
    return staging


def staging_type(type_: pa.DataType, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
    """The type of a staged column; text is in byte order, which sorts faster than a collation."""
    staged = sql_type(type_, dialect)
    return sa.Text(collation="C") if isinstance(staged, sa.Text) else staged


def load(connection: sa.Connection, staging: sa.Table, batch: pa.RecordBatch) -> None:
    """Writes a batch into the staging table: by COPY with psycopg, by INSERT with other drivers."""
    if connection.dialect.driver != "psycopg":
        names = batch.schema.names
        rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
        connection.execute(sa.insert(staging), [dict(zip(names, row, strict=True)) for row in rows])
        return
    raw: Any = connection.connection.driver_connection
    copy = f"COPY {staging.schema}.{staging.name} FROM STDIN (FORMAT csv, ENCODING 'UTF8')"
    try:
        with raw.cursor() as cursor, cursor.copy(copy) as sink:
            sink.write(csv_of(batch))
    except connection.dialect.loaded_dbapi.Error as error:
        raise Refusal(reason(error)) from None


def csv_of(batch: pa.RecordBatch) -> bytes:
    """The rows as COPY reads them: all text in quotes, null as nothing at all, bytes in hexadecimal."""
    columns = [
        pa.array([None if value is None else "\\x" + value.hex() for value in column.to_pylist()], pa.string())
        if column.type == pa.binary()
        else column
        for column in batch.columns
    ]
    sink = io.BytesIO()
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed")
    pyarrow.csv.write_csv(pa.record_batch(columns, batch.schema.names), sink, options)
    return sink.getvalue()


def last_of_each_key(table: SqlTable, staging: sa.Table) -> sa.Select[Any]:
    """Of the staged rows of each key, the last final one, or else the last; ON CONFLICT accepts a key only once.

    They are in the key's order, which fills the index faster.
    """
    key = [staging.c[f"c{place}"] for place in table.key_places]
    order = [staging.c[POSITION].desc()]
    if table.final_place is not None:
        order.insert(0, sa.func.coalesce(staging.c[f"c{table.final_place}"], sa.false()).desc())
    place = sa.func.row_number().over(partition_by=key, order_by=order).label("place")
    ranked = sa.select(*staging.c, place).subquery()
    return sa.select(*(ranked.c[f"c{i}"] for i in range(len(table.schema)))).where(ranked.c.place == 1)

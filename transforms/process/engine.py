"""The embedded columnar engine: one DuckDB connection per thread, locked down.

It only evaluates expressions over Arrow data: a query can reach no file, network, extension or Python variable, and
can change no setting.
"""

import threading
from collections.abc import Mapping
from typing import Final

import duckdb
import pyarrow as pa

_ROWS: Final = 1 << 20
"""Rows per piece of a result: several pieces would have to be joined, which is a copy."""

_local = threading.local()


def connection() -> duckdb.DuckDBPyConnection:
    """This thread's connection, with UTC as its time zone; created at first use."""
    opened: duckdb.DuckDBPyConnection | None = getattr(_local, "connection", None)
    if opened is None:
        opened = _local.connection = _connect()
    return opened


def _connect() -> duckdb.DuckDBPyConnection:
    database = duckdb.connect(
        config={
            "threads": 1,  # Beam provides the parallelism; more threads here would compete with it
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
            "temp_directory": "",
        }
    )
    database.execute("SET TimeZone = 'UTC'")
    database.execute("SET enable_external_access = false")
    database.execute("SET lock_configuration = true")
    return database


def query(sql: str, tables: Mapping[str, pa.Table | pa.RecordBatch]) -> pa.RecordBatch:
    """Runs one query over the named Arrow tables and returns its whole result, rows in input order.

    Raises:
        duckdb.Error: the engine's error.
    """
    database = connection()
    for name, table in tables.items():
        database.register(name, pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table)
    try:
        result = database.sql(sql).to_arrow_table(_ROWS)
    except UnicodeDecodeError as error:
        # The engine's message quotes the value that failed, and may cut it in the middle of a character.
        raise duckdb.InvalidInputException(error.object.decode("utf-8", "replace")) from None
    finally:
        for name in tables:
            database.unregister(name)
    batches = result.combine_chunks().to_batches()
    return (
        batches[0] if batches else pa.record_batch([pa.nulls(0, f.type) for f in result.schema], schema=result.schema)
    )

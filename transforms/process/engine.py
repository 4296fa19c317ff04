"""The embedded columnar engine: one DuckDB connection a thread, locked down.

It evaluates expressions over Arrow data and nothing else: no file, network, extension or Python variable
can be reached from a query, and no setting can be changed by one.
"""

import threading
from collections.abc import Mapping
from typing import Final

import duckdb
import pyarrow as pa

_ROWS: Final = 1 << 20
"""Rows of a result that come in one piece; several would have to be joined, which is a copy."""

_local = threading.local()


def connection() -> duckdb.DuckDBPyConnection:
    """This thread's connection, whose clock is that of UTC; made at first use."""
    opened: duckdb.DuckDBPyConnection | None = getattr(_local, "connection", None)
    if opened is None:
        opened = _local.connection = _connect()
    return opened


def _connect() -> duckdb.DuckDBPyConnection:
    database = duckdb.connect(
        config={
            "threads": 1,  # Beam brings the parallelism; more threads here would fight its own
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
        duckdb.Error: what the engine says.
    """
    database = connection()
    for name, table in tables.items():
        database.register(name, pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table)
    try:
        result = database.sql(sql).to_arrow_table(_ROWS)
    except UnicodeDecodeError as error:
        # The engine quotes the value that it fails on, and may cut it in the middle of a character.
        raise duckdb.InvalidInputException(error.object.decode("utf-8", "replace")) from None
    finally:
        for name in tables:
            database.unregister(name)
    batches = result.combine_chunks().to_batches()
    return (
        batches[0] if batches else pa.record_batch([pa.nulls(0, f.type) for f in result.schema], schema=result.schema)
    )

"""A SQL sink for tests to publish to, on SQLite and on PostgreSQL."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
import sqlalchemy as sa

from tests.servers import postgres
from transforms.errors import SqlSinkError
from transforms.storage import sql
from transforms.storage.sql import SqlTable
from transforms.storage.sql.database import parsed

ANOTHER: Final = itertools.count()
PLAIN: Final = SqlTable(name="plain", key=("k",), schema=pa.schema([("k", pa.string()), ("n", pa.int64())]))


@dataclass(frozen=True)
class Sink:
    """A fresh database, and short words for what tests do with it."""

    url: str

    def publish(self, table: SqlTable, rows: list[dict[str, Any]], *, replace: bool) -> int:
        """Publishes one table in batches of two rows."""
        batches = pa.Table.from_pylist(rows, table.schema).to_batches(max_chunksize=2)
        return sql.publish(self.url, {table: batches}, replace=replace)[table.name]

    def read(self, table: SqlTable) -> list[dict[str, Any]]:
        """The rows of a table."""
        rows: list[dict[str, Any]] = sql.read(self.url, table).to_pylist()
        return rows

    def execute(self, statement: str) -> list[Any]:
        """What the database answers to a statement of its own language."""
        engine = sa.create_engine(parsed(self.url), poolclass=sa.NullPool)
        with engine.begin() as connection:
            answer = connection.exec_driver_sql(statement)
            return [tuple(row) for row in answer] if answer.returns_rows else []


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The url of a PostgreSQL cluster for all tests."""
    with postgres() as url:
        yield url


@pytest.fixture
def postgresql_url(cluster: str) -> str:
    """The url of a new, empty schema in PostgreSQL; a database of its own would cost 7 MB a test."""
    name = f"test_{next(ANOTHER)}"
    Sink(cluster).execute(f"create schema {name}")
    return f"{cluster}?options=-csearch_path%3D{name}"


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The url of a SQLite file that is not there yet, nor is its folder."""
    return f"sqlite:///{tmp_path}/out/figures.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def sink(request: pytest.FixtureRequest) -> Sink:
    """Every database."""
    return Sink(request.getfixturevalue(f"{request.param}_url"))


def message_of(call: Callable[[], object]) -> str:
    """The words of the SqlSinkError that a call raises, which has nothing chained to it."""
    with pytest.raises(SqlSinkError) as raised:
        call()
    assert raised.value.__suppress_context__
    assert raised.value.__cause__ is None
    return str(raised.value)


def plain(**rows: int) -> list[dict[str, Any]]:
    """Rows of PLAIN."""
    return [{"k": k, "n": n} for k, n in rows.items()]


def batches_of(table: SqlTable, rows: list[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    """The rows as one batch."""
    yield pa.RecordBatch.from_pylist(rows, table.schema)

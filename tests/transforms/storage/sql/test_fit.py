"""The limits of databases, known from a url, are those that the databases have."""

from bisect import bisect
from typing import Any

import pyarrow as pa
import pytest

from transforms.errors import SqlSinkError
from transforms.storage.sql import SqlTable
from transforms.storage.sql.database import in_schema, parsed, schema_of
from transforms.storage.sql.fit import LIMITS, misfits, place_of, unusable, unusable_schema

from .conftest import Sink

POSTGRES = "postgresql://app@127.0.0.1:1/figures"
SQLITE = "sqlite:///figures.db"


def wide(name: str, figures: int, type_: pa.DataType = pa.float64(), keys: int = 1) -> SqlTable:  # noqa: B008
    """A table of text keys and of figures of one type."""
    key = tuple(f"k{number}" for number in range(keys))
    fields = [(column, pa.string()) for column in key] + [(f"f{number}", type_) for number in range(figures)]
    return SqlTable(name=name, key=key, schema=pa.schema(fields))


def refused(url: str, table: SqlTable) -> list[str]:
    return [sentence for _, sentence in misfits(url, [table])]


def publish_full(sink: Sink, table: SqlTable, nulls: int) -> None:
    """Publishes a row of values of the greatest size, some of them null."""
    value = {pa.float64(): 1.5, pa.string(): "x" * 17, pa.bool_(): True}
    row: dict[str, Any] = {field.name: value[field.type] for field in table.schema}
    row |= dict.fromkeys(table.schema.names[len(table.key) : len(table.key) + nulls])
    sink.publish(table, [row], replace=True)


@pytest.mark.parametrize("type_", [pa.float64(), pa.string(), pa.bool_()], ids=str)
def test_the_widest_row_that_postgresql_is_said_to_keep_it_keeps(postgresql_url: str, type_: pa.DataType) -> None:
    sink = Sink(postgresql_url)
    most = bisect(range(1_700), False, key=lambda count: bool(refused(POSTGRES, wide("t", count, type_)))) - 1
    for nulls in (0, 1):
        publish_full(sink, wide(f"t{nulls}", most, type_), nulls)
    with pytest.raises(SqlSinkError, match=r"row is too big|at most 1600 columns"):
        publish_full(sink, wide("more", most + most // 16 + 1, type_), 0)


def test_the_limits_of_postgresql_are_those_of_the_server(postgresql_url: str) -> None:
    sink, limits = Sink(postgresql_url), LIMITS["postgresql"]
    publish_full(sink, wide("keys", 1, keys=limits.key), 0)
    more = wide("more_keys", 1, keys=limits.key + 1)
    assert refused(POSTGRES, more) == ["the table more_keys would have a key of 33 columns; PostgreSQL keeps 32"]
    with pytest.raises(SqlSinkError, match="cannot use more than 32 columns in an index"):
        publish_full(sink, more, 0)
    for number, column in enumerate(sorted(limits.reserved)):
        table = SqlTable(name=f"t{number}", key=(column,), schema=pa.schema([(column, pa.string())]))
        assert column in refused(POSTGRES, table)[0]
        with pytest.raises(SqlSinkError, match=f'column name "{column}" conflicts with a system column name'):
            sink.publish(table, [{column: "x"}], replace=True)
        other = SqlTable(
            name=f"t{number}", key=("k",), schema=pa.schema([("k", pa.string()), (column.upper(), pa.int64())])
        )
        assert refused(POSTGRES, other) == []
        sink.publish(other, [{"k": "x", column.upper(): 1}], replace=True)


def test_the_limits_of_sqlite_are_those_of_the_library(sqlite_url: str) -> None:
    sink, limits = Sink(sqlite_url), LIMITS["sqlite"]
    publish_full(sink, wide("t", limits.columns - 40, keys=40), 0)
    more = wide("more", limits.columns)
    assert refused(SQLITE, more) == ["the table more would have 2,001 columns; SQLite keeps 2,000"]
    with pytest.raises(SqlSinkError, match="too many columns"):
        publish_full(sink, more, 0)
    alike = SqlTable(name="t", key=("k",), schema=pa.schema([("k", pa.string()), ("K", pa.string())]))
    assert refused(SQLITE, alike) == ["the table t would have the columns K and k, which differ only in case"]
    assert refused(POSTGRES, alike) == []


def test_urls_of_one_database_are_one_place() -> None:
    same = [
        ("sqlite:///x.db", "sqlite+pysqlite:///./a/../x.db?timeout=5"),
        (POSTGRES, POSTGRES.replace("postgresql", "postgresql+psycopg").replace("127.0.0.1", "localhost")),
        ("postgresql://a:b@host/x", "postgresql://a:c@HOST:5432/x?connect_timeout=3"),
    ]
    for one, other in same:
        assert place_of(one) == place_of(other) is not None
    for one, other in (("sqlite:///x.db", "sqlite:///y.db"), (POSTGRES, f"{POSTGRES}?options=-csearch_path%3Dx")):
        assert place_of(one) != place_of(other)


def test_a_schema_is_part_of_the_place_and_of_postgresql_only() -> None:
    one, other = in_schema(POSTGRES, "one"), in_schema(f"{POSTGRES}?connect_timeout=3", "other")
    assert len({place_of(POSTGRES), place_of(one), place_of(other)}) == 3
    assert [schema_of(parsed(url)) for url in (POSTGRES, one, other)] == [None, "one", "other"]
    assert schema_of(parsed(in_schema(f"{POSTGRES}?options=-cwork_mem%3D8MB", "one"))) == "one"
    assert unusable_schema(POSTGRES, "one") is None
    assert unusable_schema(POSTGRES, "pg_mine") == "begins with pg_, as those of PostgreSQL itself do"
    assert unusable_schema(SQLITE, "one") == "is of PostgreSQL, and sqlite has no schemas"
    assert "contradicts the options" in str(unusable_schema(f"{POSTGRES}?options=-csearch_path%3Dx", "one"))


def test_what_is_no_database_of_ours_is_told_from_the_url() -> None:
    assert unusable(SQLITE) is None and unusable(POSTGRES) is None
    for url, words in {
        "figures.db": "must look like DIALECT://",
        "mariadb+pymysql://host/x": "mariadb is not supported: this version publishes to PostgreSQL and SQLite",
        "cockroachdb://host/x": "cockroachdb is not supported",
        "sqlite+pysqlcipher:///x.db": "the driver pysqlcipher is not supported",
        "sqlite://": "is a database in memory",
        "postgresql+asyncpg://host/x": "asyncpg",
    }.items():
        assert words in str(unusable(url)), url

"""What is PostgreSQL's own: its limits, roles and locks."""

import contextlib
import random
import string
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from pyarrow import csv
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from transforms.errors import SqlSinkError
from transforms.storage import sql
from transforms.storage.sql import SqlTable, postgresql, registry
from transforms.storage.sql.database import in_schema, parsed

from .conftest import PLAIN, Sink, batches_of, message_of, plain
from .test_round_trip import ALL_TYPES, rows_of_all_types

TABLE = SqlTable(name="t", key=("k",), schema=pa.schema([("k", pa.string()), ("n", pa.int64())]))
ROWS = [pa.RecordBatch.from_pylist([{"k": "payload", "n": 1}], TABLE.schema)]


def test_publications_of_one_postgresql_table_take_turns(postgresql_url: str) -> None:
    sink = Sink(postgresql_url)
    failures: list[SqlSinkError] = []
    both_staged = threading.Barrier(2)

    def run(number: int) -> None:
        def rows() -> Iterator[pa.RecordBatch]:
            yield from batches_of(PLAIN, plain(**{f"k{place}": number for place in range(50)}))
            both_staged.wait(30)

        try:
            sql.publish(postgresql_url, {PLAIN: rows()}, replace=True)
        except SqlSinkError as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len({row["n"] for row in sink.read(PLAIN)}) == 1
    assert sink.execute("select count(*) from plain") == [(50,)]


def test_postgresql_readers_see_the_old_rows_until_the_commit(postgresql_url: str) -> None:
    sink = Sink(postgresql_url)
    sink.publish(PLAIN, plain(a=1), replace=True)
    engine = sa.create_engine(parsed(postgresql_url), poolclass=sa.NullPool)
    with engine.connect() as reader:
        assert reader.exec_driver_sql("select n from plain").scalars().all() == [1]
        sink.publish(PLAIN, plain(a=2), replace=True)  # the reader's open transaction does not hold it up


@pytest.mark.parametrize("key", [("a",), ("c",), ("a", "b", "c")])
@pytest.mark.parametrize("replace", [True, False])
def test_postgresql_keys_may_be_longer_than_an_index_row(
    postgresql_url: str, replace: bool, key: tuple[str, ...]
) -> None:
    sink = Sink(postgresql_url)
    schema = pa.schema([("a", pa.string()), ("b", pa.string()), ("c", pa.binary()), ("n", pa.int64())])
    table = SqlTable(name="t", key=key, schema=schema)
    # Random letters: PostgreSQL compresses repetitions, and they would fit.
    long = "".join(random.Random(1).choices(string.ascii_letters, k=9_000))
    keys = [long, long + "x", "é" * 9_000 + "\\x41", "é" * 9_000 + "A", "short"]
    for n in (1, 2):
        rows: list[dict[str, Any]] = [{"a": k, "b": k, "c": k.encode(), "n": n} for k in sorted(keys)]
        rows.append({"a": None, "b": None, "c": None, "n": n})
        assert sink.publish(table, rows, replace=replace) == len(rows)
        assert sink.read(table) == rows


def test_a_user_who_may_not_create_tables(postgresql_url: str) -> None:
    schema = postgresql_url.rpartition("%3D")[2]
    Sink(postgresql_url).execute(f"create role reader login password 'stumm'; grant usage on schema {schema} to reader")
    url = sa.make_url(postgresql_url).set(username="reader", password="stumm")
    reader = url.render_as_string(hide_password=False)
    assert "permission denied: reader may not create tables" in message_of(lambda: sql.check(reader))
    message = message_of(lambda: sql.publish(reader, {TABLE: ROWS}, replace=True))
    assert message.endswith(f"table 't': permission denied for schema {schema}")
    assert "stumm" not in message


def test_a_schema_is_made_when_tables_come_and_its_tables_are_its_own(cluster: str) -> None:
    urls = [in_schema(cluster, f"own_{number}") for number in (1, 2)]
    for url in urls:
        sql.check(url, [PLAIN])
        assert sql.read(url, PLAIN).num_rows == 0
    assert Sink(cluster).execute("select count(*) from pg_namespace where starts_with(nspname, 'own_')") == [(0,)]
    with ThreadPoolExecutor(4) as threads:
        runs = [threads.submit(Sink(url).publish, PLAIN, plain(a=1), replace=True) for url in urls * 2]
        assert [run.result(60) for run in runs] == [1] * 4
    assert Sink(cluster).execute("select count(*) from own_1.plain") == [(1,)]
    Sink(urls[0]).publish(PLAIN, plain(b=1), replace=True)
    assert [row["k"] for row in Sink(urls[1]).read(PLAIN)] == ["a"]
    assert sql.full(urls[1], [PLAIN], None) == ["plain"]


def test_publications_of_two_schemas_do_not_wait_for_each_other(cluster: str) -> None:
    urls = [in_schema(cluster, f"apart_{number}") for number in (1, 2)]
    for url in urls:
        Sink(url).publish(PLAIN, plain(a=1), replace=True)
    engine = sa.create_engine(parsed(urls[0]), poolclass=sa.NullPool)
    with engine.begin() as connection:
        postgresql.lock(connection, [PLAIN])
        Sink(urls[1]).publish(PLAIN, plain(a=2), replace=True)
    assert [row["n"] for row in Sink(urls[1]).read(PLAIN)] == [2]


def test_a_user_who_may_not_create_schemas(cluster: str) -> None:
    Sink(cluster).execute("create role guest login password 'let me in'")
    guest = parsed(cluster).set(username="guest", password="let me in").render_as_string(hide_password=False)
    said = message_of(lambda: sql.check(in_schema(guest, "of_guest")))
    assert said.endswith("permission denied: guest may not create schemas in this database")


def test_a_lock_held_by_somebody_else_is_given_up(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Sink(postgresql_url)
    sink.publish(TABLE, [{"k": "a", "n": 1}], replace=True)
    monkeypatch.setattr("transforms.storage.sql.postgresql.LOCK_PATIENCE", timedelta(seconds=1))
    engine = sa.create_engine(sa.make_url(postgresql_url).set(drivername="postgresql+psycopg"))
    with contextlib.closing(engine.connect()) as holder:
        holder.exec_driver_sql("lock table t in access exclusive mode")
        message = message_of(lambda: sink.publish(TABLE, [], replace=True))
    engine.dispose()
    assert message.endswith("table 't': canceling statement due to lock timeout")


@pytest.mark.parametrize("place", ["table", "column"])
def test_names_that_postgresql_would_cut_off_are_refused(postgresql_url: str, place: str) -> None:
    for name, fits in (("é" * 31 + "x", True), ("é" * 32, False)):
        table = SqlTable(
            name=name if place == "table" else "t",
            key=("k",),
            schema=pa.schema([("k", pa.string()), (name, pa.int64())]),
        )
        rows = {table: [pa.RecordBatch.from_pylist([{"k": "a", name: 1}], table.schema)]}
        if fits:
            assert sql.publish(postgresql_url, rows, replace=True) == {table.name: 1}
        else:
            message = message_of(lambda rows=rows: sql.publish(postgresql_url, rows, replace=True))  # type: ignore[misc]
            assert "has 64 bytes, PostgreSQL keeps 63" in message


def test_an_old_postgresql_is_refused(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.storage.sql.postgresql.OLDEST_VERSION", (99,))
    assert "or newer is needed, this server is 1" in message_of(
        lambda: sql.publish(postgresql_url, {TABLE: ROWS}, replace=True)
    )


def test_a_driver_without_copy_writes_the_same_table(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PGDialect_psycopg, "driver", "another")
    monkeypatch.setattr(csv, "write_csv", None)
    sink = Sink(postgresql_url)
    for replace in (True, False):
        assert sink.publish(ALL_TYPES, rows_of_all_types(), replace=replace) == 4
        assert sink.read(ALL_TYPES) == rows_of_all_types()


def test_a_publication_that_stops_in_the_middle_holds_nobody_up(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process was stopped while it held the locks; the server undoes it, and who follows need not wait for it."""
    monkeypatch.setattr(postgresql, "IDLE_PATIENCE", timedelta(seconds=1))
    in_the_middle, goes_on = threading.Event(), threading.Event()
    true_claim = registry.claim

    def stopped(connection: sa.Connection, table: SqlTable, **options: bool) -> sa.Table:
        target = true_claim(connection, table, **options)
        if threading.current_thread() is not threading.main_thread():
            in_the_middle.set()
            assert goes_on.wait(30)
        return target

    monkeypatch.setattr(postgresql, "claim", stopped)
    sink, failures = Sink(postgresql_url), list[SqlSinkError]()

    def publish() -> None:
        try:
            sink.publish(PLAIN, plain(a=1), replace=False)
        except SqlSinkError as error:
            failures.append(error)

    first = threading.Thread(target=publish)
    first.start()
    assert in_the_middle.wait(30)
    sink.publish(PLAIN, plain(b=2), replace=False)
    goes_on.set()
    first.join()
    assert len(failures) == 1 and "idle-in-transaction timeout" in str(failures[0])
    assert sink.read(PLAIN) == plain(b=2)

"""What is SQLite's own: files, permissions, a full disk, locks, text for times."""

import contextlib
import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from transforms.storage import sql
from transforms.storage.sql import SqlTable
from transforms.storage.sql.table import TIMESTAMP

from .conftest import PLAIN, Sink, batches_of, message_of, plain

TABLE = SqlTable(name="t", key=("k",), schema=pa.schema([("k", pa.string()), ("n", pa.int64())]))
ROWS = [pa.RecordBatch.from_pylist([{"k": "payload", "n": 1}], TABLE.schema)]


def test_a_reader_of_the_sqlite_file_is_waited_for(sqlite_url: str) -> None:
    sink = Sink(sqlite_url)
    sink.publish(PLAIN, plain(a=1), replace=True)
    reader = sqlite3.connect(Path(sqlite_url.removeprefix("sqlite:///")), check_same_thread=False)
    cursor = reader.execute("select * from plain union all select * from plain")
    cursor.fetchone()  # holds the shared lock until the last row is fetched
    begun = threading.Event()

    def rows() -> Iterator[pa.RecordBatch]:
        begun.set()
        yield from batches_of(PLAIN, plain(b=2))

    writer = threading.Thread(target=sql.publish, args=(sqlite_url, {PLAIN: rows()}), kwargs={"replace": True})
    writer.start()
    assert begun.wait(30)
    writer.join(0.3)
    assert writer.is_alive(), "published under a reader's lock"
    assert reader.execute("select count(*) from plain").fetchone() == (1,), "a reader sees the old rows"
    cursor.fetchall()
    cursor.close()
    writer.join(30)
    assert sink.read(PLAIN) == plain(b=2)
    reader.close()


def test_a_file_in_place_of_a_sqlite_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    url = f"sqlite:///{tmp_path}/file/x.db"
    assert message_of(lambda: sql.check(url)).endswith("file is not a folder")
    assert "cannot be made" in message_of(lambda: sql.publish(url, {TABLE: ROWS}, replace=True))


def test_a_read_only_sqlite_file(sqlite_url: str) -> None:
    Sink(sqlite_url).publish(TABLE, [{"k": "a", "n": 1}], replace=True)
    read_only = sqlite_url.replace("sqlite:///", "sqlite:///file:") + "?mode=ro&uri=true"
    message = message_of(lambda: sql.publish(read_only, {TABLE: ROWS}, replace=True))
    assert "table 't': attempt to write a readonly database" in message
    assert Sink(sqlite_url).read(TABLE) == [{"k": "a", "n": 1}]


@contextlib.contextmanager
def unprivileged(closed: str | None = None) -> Iterator[None]:
    """Makes us somebody whom permissions bind, for they do not bind root; the folder `closed` is closed to us."""
    if os.geteuid() != 0:
        if closed is not None:
            os.chmod(closed, 0)
        yield
        if closed is not None:
            os.chmod(closed, 0o700)
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("closed", ["file", "folder"])
def test_a_sqlite_file_that_may_not_be_written(closed: str) -> None:
    # Not in tmp_path: its parents are closed to everybody but root.
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "x.db")
        url = f"sqlite:///{file}"
        sql.publish(url, {TABLE: ROWS}, replace=True)
        Path(folder).chmod(0o755 if closed == "folder" else 0o777)
        file.chmod(0o444 if closed == "file" else 0o666)
        before = file.read_bytes()
        with unprivileged():
            assert message_of(lambda: sql.check(url)).endswith("cannot be written to")
            message = message_of(lambda: sql.publish(url, {TABLE: ROWS}, replace=True))
            assert sql.read(url, TABLE).to_pylist() == ROWS[0].to_pylist()
        assert "attempt to write a readonly database" in message or "unable to open database file" in message
        assert file.read_bytes() == before


def test_a_folder_that_may_not_be_entered() -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/x.db"
        sql.publish(url, {TABLE: ROWS}, replace=True)
        Path(folder).chmod(0o700)
        with unprivileged(folder):
            assert message_of(lambda: sql.check(url)).endswith("cannot be written to")
            for verb in (lambda: sql.publish(url, {TABLE: ROWS}, replace=True), lambda: sql.read(url, TABLE)):
                assert "unable to open database file" in message_of(verb)


def test_nowhere_to_stage_the_rows(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    message = message_of(lambda: sql.publish(sqlite_url, {TABLE: ROWS}, replace=True))
    assert message.endswith("no folder to stage the rows in: No such file or directory")


def test_a_folder_that_may_not_be_made() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        url = f"sqlite:///{folder}/new/x.db"
        with unprivileged():
            assert message_of(lambda: sql.check(url)).endswith(f"{folder} cannot be written to")
            message = message_of(lambda: sql.publish(url, {TABLE: ROWS}, replace=True))
        assert message.endswith(f"the folder {folder}/new cannot be made: Permission denied")


@pytest.fixture
def tiny_disk() -> Iterator[None]:
    """Lets SQLite files have ten pages at most: what happens then is what happens on a full disk."""

    def limit(dialect: Any, record: Any, args: Any, parameters: Any) -> Any:
        connection = dialect.connect(*args, **parameters)
        connection.execute("PRAGMA max_page_count = 10")
        return connection

    sa.event.listen(sa.Engine, "do_connect", limit)
    yield
    sa.event.remove(sa.Engine, "do_connect", limit)


@pytest.mark.usefixtures("tiny_disk")
def test_a_full_disk_leaves_the_tables_as_they_were(sqlite_url: str) -> None:
    sink = Sink(sqlite_url)
    sink.publish(TABLE, [{"k": "a", "n": 1}], replace=True)
    other = SqlTable(name="other", key=("k",), schema=TABLE.schema)
    many = pa.RecordBatch.from_pylist([{"k": f"payload{n}", "n": n} for n in range(10_000)], TABLE.schema)
    message = message_of(lambda: sql.publish(sqlite_url, {TABLE: ROWS, other: [many]}, replace=True))
    assert message == f"{sqlite_url}: table 'other': database or disk is full"
    assert sink.read(TABLE) == [{"k": "a", "n": 1}]


def test_sqlite_timestamps_sort_as_text_and_sqlite_reads_them(sqlite_url: str) -> None:
    table = SqlTable(name="t", key=("at",), schema=pa.schema([("at", TIMESTAMP)]))
    sink = Sink(sqlite_url)
    times = [
        datetime.min.replace(tzinfo=timezone.utc),
        datetime(1969, 12, 31, 23, 59, 59, 5, tzinfo=timezone.utc),
        datetime(2024, 2, 29, tzinfo=timezone.utc),
        datetime.max.replace(tzinfo=timezone.utc),
    ]
    sink.publish(table, [{"at": time} for time in times[::-1]], replace=True)
    texts = [text for (text,) in sink.execute("select at from t order by at")]
    assert texts == [time.isoformat(sep=" ", timespec="microseconds") for time in times]
    assert {len(text) for text in texts} == {32}
    assert sink.execute("select datetime(at) from t where at between '2024-02-29' and '2024-03'") == [
        ("2024-02-29 00:00:00",)
    ]

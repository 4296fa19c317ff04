"""Which log is open: it has an id, and whoever has it open notices that it was removed or replaced."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.transforms.collection.log.test_writer import SECOND, fill
from transforms.collection.log.file import COMPLETION, LAYOUT, Run, log_file
from transforms.collection.log.inspection import damage
from transforms.collection.log.reading import LogReader
from transforms.collection.log.writer import LogWriter
from transforms.errors import LogDamaged, LogLost


@pytest.mark.parametrize("name", ["log.db", "log.db-wal", "log.db-shm", "lock"])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_writer_appends_nothing_more_once_a_file_is_gone_or_another(
    tmp_path: Path, name: str, replaced: bool
) -> None:
    with closing(LogWriter(str(tmp_path))) as writer:
        fill(writer, 2)
        (tmp_path / name).rename(tmp_path / "aside")
        if replaced:
            shutil.copy(tmp_path / "aside", tmp_path / name)
        what = "was replaced by another file" if replaced else "is gone"
        with pytest.raises(LogLost, match=f"{name} {what} while the log was in use"):
            fill(writer, 1)
        with pytest.raises(LogLost, match=what):
            writer.next_of("a")
        assert writer.extent.end_chunk == 3


@pytest.mark.parametrize("name", ["log.db", "log.db-wal", "log.db-shm"])
def test_a_reader_reads_nothing_more_once_a_file_is_gone(tmp_path: Path, name: str) -> None:
    with closing(LogWriter(str(tmp_path))) as writer, closing(LogReader(str(tmp_path))) as reader:
        fill(writer, 2)
        assert reader.has(2)
        (tmp_path / name).unlink()
        with pytest.raises(LogLost, match=f"{name} is gone"):
            reader.has(3)
        with pytest.raises(LogLost, match=f"{name} is gone"):
            list(reader.chunks(1))
        with pytest.raises(LogLost, match=f"{name} is gone"):
            reader.extent()


def test_a_log_that_is_made_again_in_place_is_another_one(tmp_path: Path) -> None:
    with closing(LogWriter(str(tmp_path / "log"))) as writer, closing(LogReader(str(tmp_path / "log"))) as reader:
        fill(writer, 2)
        first = reader.identity
        shutil.rmtree(tmp_path / "log")
        with closing(LogWriter(str(tmp_path / "log"))) as again:
            fill(again, 2)
            with pytest.raises(LogLost, match="was replaced by another file"):
                reader.has(1)
            with closing(LogReader(str(tmp_path / "log"))) as new:
                assert new.identity is not None and first is not None and new.identity != first
        with pytest.raises(LogLost):
            fill(writer, 1)


def test_an_id_outlives_restarts(tmp_path: Path) -> None:
    found = set()
    for _ in range(3):
        with closing(LogWriter(str(tmp_path))) as writer, closing(LogReader(str(tmp_path))) as reader:
            fill(writer, 1)
            found.add(reader.identity)
    assert len(found) == 1 and found != {None}


def old_log(folder: Path) -> None:
    """A log as versions before made it, with a session."""
    with closing(sqlite3.connect(log_file(str(folder)))) as database:
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(LAYOUT)
        with database:
            database.execute("INSERT INTO session VALUES ('gate 7', 12)")


def test_a_log_of_an_earlier_version_is_read_as_it_is_and_completed_when_it_is_written(tmp_path: Path) -> None:
    old_log(tmp_path)
    with closing(LogReader(str(tmp_path))) as reader:
        assert (reader.identity, reader.sessions()) == (None, {"gate 7": 12})
    assert damage(str(tmp_path)) == []
    with closing(LogWriter(str(tmp_path))) as writer:
        assert writer.next_of("gate 7") == 12
        writer.append([(Run("gate 7", 1, 1), b"x\n")], SECOND, SECOND, {"gate 7": 13})
    with closing(LogReader(str(tmp_path))) as reader:
        assert reader.identity is not None
    assert copies(tmp_path) == [("gate 7", 13, ~13)]


def copies(folder: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(log_file(str(folder)))) as database:
        return database.execute("SELECT * FROM session_copy ORDER BY source").fetchall()


def test_what_an_earlier_version_writes_to_a_log_of_this_one_is_checked_as_well(tmp_path: Path) -> None:
    LogWriter(str(tmp_path)).close()
    upsert = "INSERT INTO session VALUES (?, ?) ON CONFLICT DO UPDATE SET next = excluded.next"
    with closing(sqlite3.connect(log_file(str(tmp_path)))) as database, database:
        database.executemany(upsert, [("a", 1), ("b", 5), ("a", 7)])
    assert copies(tmp_path) == [("a", 7, ~7), ("b", 5, ~5)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE session SET next = 1000",
        "UPDATE session SET next = 'x'",
        "UPDATE session SET source = 'b'",
        "DELETE FROM session",
        "UPDATE session_copy SET next = 1000",
        "UPDATE session_copy SET complement = 1000",
        "UPDATE session_copy SET source = 'b'",
    ],
)
def test_a_damaged_number_of_a_session_does_not_renumber_its_records(tmp_path: Path, statement: str) -> None:
    with closing(LogWriter(str(tmp_path))) as writer:
        fill(writer, 2)
    with closing(sqlite3.connect(log_file(str(tmp_path)))) as database, database:
        database.executescript("DROP TRIGGER session_updated; DROP TRIGGER session_inserted")
        database.execute(statement)
    assert any("session" in sentence for sentence in damage(str(tmp_path)))
    with closing(LogWriter(str(tmp_path))) as writer:
        assert writer.next_of("a") == 6


def test_a_number_that_is_damaged_twice_is_refused(tmp_path: Path) -> None:
    with closing(LogWriter(str(tmp_path))) as writer:
        fill(writer, 2)
    with closing(sqlite3.connect(log_file(str(tmp_path)))) as database, database:
        database.execute("UPDATE session_copy SET next = 1000")
        database.executescript("DROP TRIGGER session_updated")
        database.execute("UPDATE session SET next = 7")
    with closing(LogWriter(str(tmp_path))) as writer, pytest.raises(LogDamaged, match="next record of a is damaged"):
        writer.next_of("a")


@pytest.mark.parametrize("name", ["id", "id complement"])
def test_a_damaged_id_is_told_and_not_compared(tmp_path: Path, name: str) -> None:
    LogWriter(str(tmp_path)).close()
    with closing(sqlite3.connect(log_file(str(tmp_path)))) as database, database:
        database.execute("UPDATE meta SET value = value + 1 WHERE name = ?", (name,))
    with closing(LogReader(str(tmp_path))) as reader:
        assert reader.identity is None
    assert damage(str(tmp_path)) == [f"{tmp_path}: the log's id is damaged"]


def test_a_log_is_not_numbered_on_behind_a_chunk_that_is_damaged(tmp_path: Path) -> None:
    with closing(LogWriter(str(tmp_path))) as writer:
        fill(writer, 3)
    with closing(sqlite3.connect(log_file(str(tmp_path)))) as database, database:
        database.execute("UPDATE chunk SET count = count + 1 WHERE id = 3")
    with pytest.raises(LogDamaged, match=r"chunk 3 is damaged: .*--repair"):
        LogWriter(str(tmp_path))


@pytest.mark.parametrize(
    "change", ["runs = CAST(x'ff' || runs AS TEXT)", "runs = CAST(runs AS BLOB)", "size = 'x'", "payload = 'text'"]
)
def test_a_column_of_another_sort_is_damage_and_no_crash(tmp_path: Path, change: str) -> None:
    with closing(LogWriter(str(tmp_path))) as writer:
        fill(writer, 3)
    with closing(sqlite3.connect(log_file(str(tmp_path)))) as database, database:
        database.execute(f"UPDATE chunk SET {change} WHERE id = 2")
    assert damage(str(tmp_path)) == [f"{tmp_path}: chunk 2 is damaged: its checksum does not match"]
    with closing(LogReader(str(tmp_path))) as reader, pytest.raises(LogDamaged, match=r"chunk 2 .*--repair"):
        list(reader.chunks(1))


def test_the_completion_is_all_or_nothing(tmp_path: Path) -> None:
    old_log(tmp_path)
    with closing(sqlite3.connect(log_file(str(tmp_path)), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with (
            closing(sqlite3.connect(log_file(str(tmp_path)), timeout=0)) as database,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            database.executescript(COMPLETION)
        other.execute("ROLLBACK")
    LogWriter(str(tmp_path)).close()
    assert copies(tmp_path) == [("gate 7", 12, ~12)]

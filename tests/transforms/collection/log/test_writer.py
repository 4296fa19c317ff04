"""The log: dense, durable, checked, read while it is written, forgotten only behind its readers."""

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from transforms.collection.log.file import FORMAT, Chunk, Extent, Run, log_file, open_log
from transforms.collection.log.inspection import damage, summarize
from transforms.collection.log.readers import announce, passed_by_all, readers
from transforms.collection.log.reading import LogReader
from transforms.collection.log.writer import LogWriter
from transforms.errors import LogError

SECOND = 1_000_000


def lines(first: int, count: int) -> bytes:
    return b"".join(b'{"n":%d}\n' % n for n in range(first, first + count))


def fill(writer: LogWriter, chunks: int, count: int = 3) -> None:
    for _ in range(chunks):
        first, now = writer.extent.end_position, writer.elapsed + SECOND
        writer.append([(Run("a", now, count), lines(first, count))], now, now, {"a": first + count})


def everything(folder: Path, start: int = 1) -> list[Chunk]:
    with closing(LogReader(str(folder))) as reader:
        return list(reader.chunks(start))


def spoil(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(log_file(str(folder)))) as database, database:
        database.execute(statement)


def test_positions_and_chunks_are_dense_over_restarts(tmp_path: Path) -> None:
    for _ in range(3):
        with closing(LogWriter(str(tmp_path))) as writer:
            fill(writer, 4)
    chunks = everything(tmp_path)
    assert [chunk.id for chunk in chunks] == list(range(1, 13))
    assert [chunk.first for chunk in chunks] == list(range(0, 36, 3))
    assert b"".join(chunk.data for chunk in chunks) == lines(0, 36)
    with closing(LogReader(str(tmp_path))) as reader:
        assert reader.extent() == Extent(1, 13, 0, 36)
        assert reader.sessions() == {"a": 36}


def test_runs_say_whose_lines_are_whose(tmp_path: Path) -> None:
    with closing(LogWriter(str(tmp_path))) as writer:
        assert writer.append([(Run("a", 1, 2), b"1\n2\n"), (Run("ü", 2, 1), b"\xff\r\n")], 3, 3) == 0
        assert writer.append([(Run("a", 4, 1), b"\n")], 5, 5) == 3
    first, second = everything(tmp_path)
    assert first == Chunk(1, 0, 3, 3, (Run("a", 1, 2), Run("ü", 2, 1)), b"1\n2\n\xff\r\n")
    assert second.first == 3


def test_readers_see_what_is_appended_while_they_read(tmp_path: Path) -> None:
    with closing(LogWriter(str(tmp_path))) as writer, closing(LogReader(str(tmp_path))) as reader:
        assert reader.extent() == Extent(1, 1, 0, 0)
        assert not reader.has(1)
        fill(writer, 2)
        assert (reader.has(2), reader.has(3)) == (True, False)
        taken = []
        for chunk in reader.chunks(1):
            taken.append(chunk.id)
            if chunk.id == 2:
                fill(writer, 1)
        assert taken == [1, 2, 3]


def test_a_reader_takes_no_more_than_it_asks_for(tmp_path: Path) -> None:
    with closing(LogWriter(str(tmp_path))) as writer:
        fill(writer, 20)
    with closing(LogReader(str(tmp_path))) as reader:
        assert [chunk.id for chunk in reader.chunks(3, 7)] == [3, 4, 5, 6]
        assert [chunk.id for chunk in reader.chunks(3, target_bytes=1)] == [3]
        assert [chunk.id for chunk in reader.chunks(3, target_bytes=len(lines(0, 3)) * 2)] == [3, 4]
        assert [chunk.id for chunk in reader.chunks(1)] == list(range(1, 21))


def test_heartbeats_are_chunks_without_records(tmp_path: Path) -> None:
    with closing(LogWriter(str(tmp_path))) as writer:
        fill(writer, 1)
        writer.append([], 9 * SECOND, 9 * SECOND)
        fill(writer, 1)
    assert [(chunk.id, chunk.first, chunk.count) for chunk in everything(tmp_path)] == [(1, 0, 3), (2, 3, 0), (3, 3, 3)]
    assert damage(str(tmp_path)) == []
    assert summarize(str(tmp_path)).heartbeats == 1


def test_elapsed_never_goes_back(tmp_path: Path) -> None:
    with closing(LogWriter(str(tmp_path))) as writer:
        writer.append([], 100, 50)
        with pytest.raises(ValueError, match="elapsed must not go back from 50, is 49"):
            writer.append([], 100, 49)
        writer.append([], 20, 50)  # the wall clock may
    with closing(LogWriter(str(tmp_path))) as writer:
        assert writer.elapsed == 50


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with (
        closing(LogWriter(str(tmp_path))),
        pytest.raises(LogError, match="another collector writes to this log"),
    ):
        LogWriter(str(tmp_path))
    LogWriter(str(tmp_path)).close()


def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    LogWriter(str(tmp_path)).close()
    spoil(tmp_path, f"UPDATE meta SET value = {FORMAT + 1} WHERE name = 'format'")
    for refused in (LogWriter, LogReader):
        with pytest.raises(LogError, match=f"has format {FORMAT + 1}, this version reads {FORMAT}"):
            refused(str(tmp_path))


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="there is no log"):
        LogReader(str(tmp_path / "nowhere"))
    with pytest.raises(LogError, match="there is no log"):
        damage(str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "log.db").write_bytes(b"something else" * 1000)
    for refused in (LogWriter, LogReader):
        with pytest.raises(LogError, match="not a database"):
            refused(str(tmp_path))
    (tmp_path / "log.db").unlink()
    spoil(tmp_path, "CREATE TABLE other (a)")
    for refused in (LogWriter, LogReader):
        with pytest.raises(LogError, match="not a Streamgauge log"):
            refused(str(tmp_path))


@pytest.mark.parametrize("column", ["first", "count", "received", "elapsed", "size", "runs", "payload", "checksum"])
def test_every_damaged_column_is_found(tmp_path: Path, column: str) -> None:
    with closing(LogWriter(str(tmp_path))) as writer:
        fill(writer, 3)
    assert damage(str(tmp_path)) == []
    changed = {"runs": "replace(runs, '3', '4')", "payload": "CAST(substr(payload, 2) AS BLOB)"}
    spoil(tmp_path, f"UPDATE chunk SET {column} = {changed.get(column, column + ' + 1')} WHERE id = 2")
    assert damage(str(tmp_path)) == [f"{tmp_path}: chunk 2 is damaged: its checksum does not match"]
    with pytest.raises(LogError, match="chunk 2 is damaged"):
        everything(tmp_path)


def test_a_gap_is_found(tmp_path: Path) -> None:
    with closing(LogWriter(str(tmp_path))) as writer:
        fill(writer, 3)
    spoil(tmp_path, "DELETE FROM chunk WHERE id = 2")
    assert damage(str(tmp_path)) == [f"{tmp_path}: chunk 3 does not follow the one before it"]
    with pytest.raises(LogError, match="chunk 2 is missing"):
        everything(tmp_path)


def test_overwritten_pages_are_damage_and_no_crash(tmp_path: Path) -> None:
    with closing(LogWriter(str(tmp_path))) as writer:
        fill(writer, 50, 2000)
    whole, chunks = Path(log_file(str(tmp_path))).read_bytes(), everything(tmp_path)
    dice = random.Random(4)
    for _ in range(30):
        spoilt = bytearray(whole)
        at = dice.randrange(8192, len(whole) - 512)
        spoilt[at : at + 512] = dice.randbytes(512)
        Path(log_file(str(tmp_path))).write_bytes(spoilt)
        assert damage(str(tmp_path)) or everything(tmp_path) == chunks, at  # a page may have room that holds nothing


def test_a_torn_tail_leaves_a_whole_prefix(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    dice = random.Random(7)
    with closing(LogWriter(str(origin))) as writer:
        fill(writer, 5)
        writer._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        written = [0]
        for _ in range(60):
            fill(writer, 1, dice.randrange(1, 400))
            written.append(writer.extent.end_position)
        found = set()
        for case in range(60):
            copy = tmp_path / f"cut{case}"
            copy.mkdir()
            shutil.copy(log_file(str(origin)), copy)
            wal = Path(log_file(str(origin)) + "-wal").read_bytes()
            torn = wal[: dice.randrange(len(wal))] + dice.randbytes(dice.choice([0, 100, 5000]))
            Path(log_file(str(copy)) + "-wal").write_bytes(torn)
            with closing(LogWriter(str(copy))) as again:
                end = again.extent.end_position
                assert again.next_of("a") == end
                fill(again, 1)
            assert damage(str(copy)) == []
            assert b"".join(chunk.data for chunk in everything(copy)) == lines(0, end + 3)
            found.add(end)
    assert len(found) > 20


def test_a_commit_that_the_file_refuses_leaves_nothing_behind(tmp_path: Path) -> None:
    with closing(LogWriter(str(tmp_path))) as writer, closing(open_log(str(tmp_path), "rw")) as other:
        fill(writer, 1)
        writer._database.execute("PRAGMA busy_timeout = 1")
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                fill(writer, 1)
        other.rollback()
        fill(writer, 1)
    assert b"".join(chunk.data for chunk in everything(tmp_path)) == lines(0, 6)


def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    with closing(LogWriter(str(tmp_path))) as writer:
        full = 2
        assert writer._database.execute("PRAGMA synchronous").fetchone() == (full,)
        assert writer._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_nothing_is_forgotten_without_a_reader(tmp_path: Path) -> None:
    with closing(LogWriter(str(tmp_path))) as writer:
        fill(writer, 10)
        assert writer.prune(older_than=1 << 60) == 0


def test_what_every_reader_has_passed_is_forgotten_by_age(tmp_path: Path) -> None:
    with closing(LogWriter(str(tmp_path))) as writer, closing(LogReader(str(tmp_path))) as reader:
        fill(writer, 10)
        announce(str(tmp_path), "one", 5)
        announce(str(tmp_path), "another", 8)
        assert readers(str(tmp_path)) == {"another": 8, "one": 5}
        assert passed_by_all(str(tmp_path)) == 5
        assert writer.prune(older_than=3 * SECOND) == 2  # received before second 3: chunks 1 and 2
        assert writer.prune(older_than=1 << 60) == 2
        assert writer.prune(older_than=1 << 60) == 0
        assert writer.extent == reader.extent() == Extent(5, 11, 12, 30)
        assert reader.has(5)
        assert [chunk.id for chunk in reader.chunks(5)] == [5, 6, 7, 8, 9, 10]
        with pytest.raises(LogError, match="chunk 4 was forgotten; the log begins at chunk 5"):
            list(reader.chunks(4))
        fill(writer, 1)
    assert damage(str(tmp_path)) == []
    assert everything(tmp_path, 5)[-1].first == 30


def test_the_newest_chunk_stays_so_that_positions_go_on(tmp_path: Path) -> None:
    with closing(LogWriter(str(tmp_path))) as writer:
        fill(writer, 5)
        announce(str(tmp_path), "reader", 99)
        assert writer.prune(older_than=1 << 60) == 4
    with closing(LogWriter(str(tmp_path))) as writer:
        assert writer.extent == Extent(5, 6, 12, 15)
        assert writer.elapsed == 5 * SECOND


def test_a_reader_that_cannot_be_understood_keeps_everything(tmp_path: Path) -> None:
    with closing(LogWriter(str(tmp_path))) as writer:
        fill(writer, 5)
        announce(str(tmp_path), "reader", 4)
        (tmp_path / "readers" / "torn.json").write_text("")
        assert passed_by_all(str(tmp_path)) == 0
        assert writer.prune(older_than=1 << 60) == 0


def test_a_pruned_log_takes_no_more_room_than_it_needs(tmp_path: Path) -> None:
    dice = random.Random(3)
    with closing(LogWriter(str(tmp_path))) as writer:
        for _ in range(40):
            noise = dice.randbytes(100_000).replace(b"\n", b"") + b"\n"
            writer.append([(Run("a", 0, 1), noise)], 0, writer.elapsed)
        full = writer.used()
        announce(str(tmp_path), "reader", 40)
        writer.prune(older_than=1)
        assert writer.used() < full / 10
        writer._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert writer.size() < full / 2

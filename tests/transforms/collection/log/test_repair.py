"""Repairing a log: what can be read stays, what cannot is given up in its place, and every record is accounted for."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.transforms.collection.log.test_writer import everything, fill, lines, spoil
from transforms.collection.log.chunks import ChunkParser
from transforms.collection.log.file import Chunk, Run, log_file
from transforms.collection.log.inspection import damage
from transforms.collection.log.losses import LOST, losses
from transforms.collection.log.reading import LogReader
from transforms.collection.log.repair import repair
from transforms.collection.log.writer import LogWriter
from transforms.collection.parsing.parsed import Schema
from transforms.collection.spec import Column, EventTimeSpec
from transforms.errors import LogError
from transforms.time.watermark import Progress, WatermarkSpec

WHOLE = 5


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Five chunks of three records."""
    with closing(LogWriter(str(tmp_path))) as writer:
        fill(writer, WHOLE)
    return tmp_path


def positions(folder: Path) -> list[tuple[int, int, int]]:
    return [(chunk.id, chunk.first, chunk.count) for chunk in everything(folder)]


@pytest.mark.parametrize("column", ["first", "count", "received", "elapsed", "size", "runs", "payload", "checksum"])
@pytest.mark.parametrize("number", [1, 3, WHOLE])
def test_a_damaged_chunk_is_given_up_in_its_place(log: Path, column: str, number: int) -> None:
    before = everything(log)
    changed = {"runs": "replace(runs, '3', '4')", "payload": "CAST(substr(payload, 2) AS BLOB)"}
    spoil(log, f"UPDATE chunk SET {column} = {changed.get(column, column + ' + 1')} WHERE id = {number}")
    first = 3 * (number - 1)
    assert [(chunk.chunk, chunk.first, chunk.count) for chunk in losses(str(log))] == [(number, first, 3)]
    assert next(chunk.words() for chunk in repair(str(log))).startswith(
        f"chunk {number}: the 3 records from {first} on"
    )
    assert damage(str(log)) == []
    after = everything(log)
    assert positions(log) == [(chunk.id, chunk.first, chunk.count) for chunk in before]
    assert [chunk for chunk in after if chunk.id != number] == [chunk for chunk in before if chunk.id != number]
    assert after[number - 1].runs[0].source == LOST
    assert repair(str(log)) == []
    with closing(LogWriter(str(log))) as writer:
        assert (writer.extent.end_position, writer.next_of("a")) == (15, 15)
        fill(writer, 1)
    assert damage(str(log)) == []


def test_the_chunks_around_it_say_how_many_records_are_lost(log: Path) -> None:
    spoil(log, "UPDATE chunk SET count = 99, runs = 'x', size = -1, payload = x'00' WHERE id IN (2, 3)")
    lost = repair(str(log))
    assert [(chunk.chunk, chunk.first, chunk.count) for chunk in lost] == [(2, 3, 6), (3, 9, 0)]
    assert [chunk.words() for chunk in lost] == ["chunk 2: the 6 records from 3 on", "chunk 3: no records"]
    assert damage(str(log)) == []


def test_a_chunk_that_is_missing_is_given_up_too(log: Path) -> None:
    spoil(log, "DELETE FROM chunk WHERE id IN (2, 3)")
    with closing(LogReader(str(log))) as reader, pytest.raises(LogError, match=r"chunk 2 is missing.*--repair"):
        list(reader.chunks(1))
    repair(str(log))
    assert damage(str(log)) == []
    assert positions(log)[3:] == [(4, 9, 3), (5, 12, 3)]


def test_a_damaged_heartbeat_costs_nothing(log: Path) -> None:
    with closing(LogWriter(str(log))) as writer:
        writer.append([], 1, writer.elapsed + 1)
        fill(writer, 1)
    spoil(log, "UPDATE chunk SET received = received + 1 WHERE count = 0")
    assert [chunk.words() for chunk in repair(str(log))] == ["chunk 6: no records"]
    assert damage(str(log)) == []


def test_the_sources_of_lost_records_are_told_as_far_as_they_can_be_read(log: Path) -> None:
    with closing(LogWriter(str(log))) as writer:
        writer.append([(Run("a", 1, 2), b"1\n2\n"), (Run("plain", 2, 1), b"3\n")], 9_000_000, 9_000_000)
    spoil(log, "UPDATE chunk SET payload = x'00' WHERE id = 6")
    words = "chunk 6: the 3 records from 15 on, as far as can be read of a 2, plain 1"
    assert [chunk.words() for chunk in losses(str(log))] == [words]


def test_records_that_were_given_up_are_dead_letters_that_say_so(log: Path) -> None:
    spoil(log, "UPDATE chunk SET payload = x'00' WHERE id = 2")
    repair(str(log))
    schema = Schema({"n": Column(type="int64")}, EventTimeSpec(column="n", unit="s"))
    flush = ChunkParser(schema, WatermarkSpec()).parse(everything(log), Progress())
    assert flush.dead["position"].to_pylist() == [3, 4, 5]
    assert flush.dead["reason"].to_pylist() == ["malformed"] * 3
    words = "the record was lost: chunk 2 of the log was damaged, and a repair gave it up"
    assert flush.dead["detail"].to_pylist() == [words] * 3
    assert sum(flush.entries["read"].to_pylist()) == 15 == flush.batch.num_rows + flush.dead.num_rows
    assert LOST not in flush.progress.heard


def test_nothing_is_repaired_while_a_collector_writes(log: Path) -> None:
    with closing(LogWriter(str(log))), pytest.raises(LogError, match="another collector writes to this log"):
        repair(str(log))
    with pytest.raises(LogError, match="there is no log"):
        repair(str(log / "nowhere"))


def test_damaged_numbers_and_ids_are_mended(log: Path) -> None:
    spoil(log, "UPDATE session_copy SET next = 4")
    spoil(log, "UPDATE meta SET value = 5 WHERE name = 'id'")
    assert len(damage(str(log))) == 2
    repair(str(log))
    assert damage(str(log)) == []
    with closing(LogWriter(str(log))) as writer:
        assert writer.next_of("a") == 15


def large(folder: Path) -> None:
    with closing(LogWriter(str(folder))) as writer:
        fill(writer, 300, 60)


def leaves(file: Path) -> list[int]:
    """The pages that hold chunks, in their order."""
    with closing(sqlite3.connect(file)) as database:
        query = "SELECT pageno FROM dbstat WHERE name = 'chunk' AND pagetype = 'leaf' ORDER BY path"
        return [number for (number,) in database.execute(query)]


def spoil_page(file: Path, number: int) -> None:
    spoilt = bytearray(file.read_bytes())
    spoilt[(number - 1) * 4096 : number * 4096] = b"\xff" * 4096
    file.write_bytes(spoilt)


def test_a_log_whose_beginning_cannot_be_read_begins_later(tmp_path: Path) -> None:
    large(tmp_path)
    spoil_page(Path(log_file(str(tmp_path))), leaves(Path(log_file(str(tmp_path))))[0])
    assert repair(str(tmp_path)) == []
    assert damage(str(tmp_path)) == []
    first = everything_there(tmp_path)[0]
    assert first.id > 1 and first.first == 60 * (first.id - 1)


def everything_there(folder: Path) -> list[Chunk]:
    with closing(LogReader(str(folder))) as reader:
        return list(reader.chunks(reader.extent().first_chunk))


def test_what_sqlite_cannot_read_is_left_behind_in_another_file(tmp_path: Path) -> None:
    large(tmp_path)
    file = Path(log_file(str(tmp_path)))
    whole, before = file.read_bytes(), {chunk.id: chunk for chunk in everything(tmp_path)}
    repaired = 0
    for number in leaves(file)[1:-1:4]:
        for left in tmp_path.glob("log.db*"):
            left.unlink()
        spoilt = bytearray(whole)
        spoilt[(number - 1) * 4096 : number * 4096] = random.Random(number).randbytes(4096)
        file.write_bytes(spoilt)
        assert damage(str(tmp_path))
        with closing(LogReader(str(tmp_path))) as reader, pytest.raises(LogError, match=r"damaged.*--repair"):
            list(reader.chunks(1))
        lost = {chunk.chunk: chunk for chunk in repair(str(tmp_path))}
        assert damage(str(tmp_path)) == []
        after = everything(tmp_path)
        assert [(c.id, c.first) for c in after if c.id not in lost] == [
            (c.id, c.first) for c in before.values() if c.id not in lost
        ]
        assert all(chunk == before[chunk.id] for chunk in after if chunk.id not in lost)
        assert after[-1].first + after[-1].count == 60 * 300
        assert (tmp_path / "log.db.damaged").read_bytes()[:100] == whole[:100]
        with closing(LogWriter(str(tmp_path))) as writer:
            assert writer.next_of("a") == 60 * 300
        repaired += 1
    assert repaired > 3


def test_a_repair_that_was_interrupted_is_finished_by_whoever_comes_next(tmp_path: Path) -> None:
    large(tmp_path)
    new = Path(log_file(str(tmp_path)) + ".repaired")
    new.write_bytes(Path(log_file(str(tmp_path))).read_bytes())
    Path(log_file(str(tmp_path))).write_bytes(b"SQLite format 3\0" + b"x" * 8192)
    with closing(LogWriter(str(tmp_path))) as writer:
        assert writer.extent.end_position == 60 * 300
    assert not new.exists()
    assert b"".join(chunk.data for chunk in everything(tmp_path)) == lines(0, 60 * 300)


def test_a_log_whose_end_cannot_be_read_is_not_repaired_and_says_so(tmp_path: Path) -> None:
    large(tmp_path)
    file = Path(log_file(str(tmp_path)))
    spoil_page(file, leaves(file)[-1])
    with pytest.raises(LogError, match="cannot be repaired, because the pages that say where it ends"):
        repair(str(tmp_path))
    with pytest.raises(LogError, match=r"damaged.*--repair"):
        LogWriter(str(tmp_path))

"""A full disk: what every reader has passed can be forgotten all the same, again and again, whatever else is there."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.small_disk import SmallDisk
from transforms.collection.log.file import Run
from transforms.collection.log.inspection import damage
from transforms.collection.log.readers import announce
from transforms.collection.log.reading import LogReader
from transforms.collection.log.reserve import RESERVE_BYTES
from transforms.collection.log.writer import LogWriter

MEBIBYTES = 40
FOR_EVER = 1 << 60


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "disk", MEBIBYTES)
    yield disk
    disk.close()


@pytest.fixture
def folder(tmp_path: Path, disk: SmallDisk) -> str:
    return str(tmp_path / "disk/log")


def fill(writer: LogWriter, dice: random.Random, size: int) -> int:
    """Appends until the disk refuses; how many chunks it took."""
    taken = 0
    while True:
        noise = dice.randbytes(size).replace(b"\n", b" ") + b"\n"
        try:
            writer.append([(Run("a", 0, 1), noise)], 0, writer.elapsed, {"a": writer.extent.end_position + 1})
        except sqlite3.OperationalError:
            return taken
        taken += 1


@pytest.mark.parametrize("size", [3_000, 50_000, 1_000_000, 6_000_000])
def test_a_log_that_fills_its_disk_goes_on_once_its_readers_have_passed(folder: str, size: int) -> None:
    dice = random.Random(size)
    with closing(LogWriter(folder)) as writer:
        announce(folder, "job", 1)
        for turn in range(3):
            assert fill(writer, dice, size) > 0, turn
            assert not writer.make_room(FOR_EVER) or turn
            announce(folder, "job", writer.extent.end_chunk)
            assert writer.make_room(FOR_EVER)
            assert writer.has_reserve
        assert writer.next_of("a") == writer.extent.end_position
    assert damage(folder) == []


def test_it_goes_on_although_others_fill_the_disk(folder: str, disk: SmallDisk) -> None:
    dice = random.Random(1)
    with closing(LogWriter(folder)) as writer, closing(LogReader(folder)) as reader:
        announce(folder, "job", 1)
        for _ in range(100):
            noise = dice.randbytes(50_000).replace(b"\n", b" ") + b"\n"
            writer.append([(Run("a", 0, 1), noise)], 0, writer.elapsed)
        disk.fill()
        fill(writer, dice, 50_000)
        announce(folder, "job", writer.extent.end_chunk)
        assert writer.make_room(FOR_EVER)
        assert fill(writer, dice, 50_000) > 20
        assert reader.extent() == writer.extent


def test_a_log_is_opened_on_a_full_disk(folder: str, disk: SmallDisk) -> None:
    with closing(LogWriter(folder)) as writer:
        fill(writer, random.Random(2), 20_000)
        end = writer.extent.end_chunk
    disk.fill()
    with closing(LogWriter(folder)) as writer:
        assert writer.extent.end_chunk == end
        announce(folder, "job", end)
        assert writer.make_room(FOR_EVER)
        assert fill(writer, random.Random(3), 20_000) > 100


def test_the_room_is_kept_and_given_back(folder: str, disk: SmallDisk) -> None:
    reserve = Path(folder, "reserve")
    with closing(LogWriter(folder)) as writer:
        assert reserve.stat().st_size == RESERVE_BYTES
        assert reserve.stat().st_blocks * 512 == RESERVE_BYTES
        reserve.unlink()
        writer.prune(0)
        assert writer.has_reserve
        reserve.unlink()
        disk.fill()
        writer.prune(0)
        assert not writer.has_reserve
        disk.free()
        writer.prune(0)
        assert writer.has_reserve


def test_a_disk_without_much_room_has_no_reserve(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path / "small", RESERVE_BYTES // (1 << 20) + 4)
    try:
        with closing(LogWriter(str(tmp_path / "small/log"))) as writer:
            assert not writer.has_reserve
            assert fill(writer, random.Random(4), 20_000) > 100
    finally:
        disk.close()

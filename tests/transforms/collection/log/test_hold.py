"""What a job says to the collector: what it needs no more, by the log's clock, also while nothing new comes."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.small_disk import SmallDisk
from tests.waiting import until
from transforms.collection.log.hold import Hold, IdleHold
from transforms.collection.log.readers import (
    announce,
    forget,
    held,
    make_spare,
    passed_by_all,
    reader_file,
    readers,
    seen,
)
from transforms.process import versions
from transforms.specification import Seconds
from transforms.time.retention import first_kept, moments

HOUR = Seconds(3600.0)


def kept(folder: Path, *checkpoints: tuple[int, float, float]) -> Hold:
    """A job whose checkpoints are at these chunks, by the log's clock and the machine's (s)."""
    entries = [
        {"chunk": chunk, "taken": taken, "source": {"progress": {"elapsed": int(elapsed * 1e6)}}}
        for chunk, elapsed, taken in checkpoints
    ]
    manifest = str(folder / "manifest")
    number = max(versions.numbers_in(manifest), default=0) + 1
    versions.write(manifest, number, json.dumps({"checkpoints": entries}).encode())
    return Hold(str(folder), "job", manifest, HOUR)


def test_an_idle_job_needs_less_and_less_of_a_log_as_its_checkpoints_grow_old(tmp_path: Path) -> None:
    hold = kept(tmp_path, (10, 0, 0), (20, 1000, 1000), (30, 1010, 1010))
    needed = {idle: hold.needed(30, idle) for idle in (0, 2000, 3589, 3590, 3599, 3600, 9000)}
    assert needed == {0: 10, 2000: 10, 3589: 10, 3590: 20, 3599: 20, 3600: 30, 9000: 30}


def test_a_job_that_has_read_on_since_its_checkpoint_lets_go_of_nothing(tmp_path: Path) -> None:
    assert kept(tmp_path, (10, 0, 0), (30, 10, 10)).needed(31, 1e9) is None
    assert Hold(str(tmp_path), "job", str(tmp_path / "nothing"), HOUR).needed(31, 1e9) is None


def test_a_machines_clock_that_jumps_lets_go_of_nothing(tmp_path: Path) -> None:
    hold = kept(tmp_path, (10, 0, 0), (20, 10, 86_410), (30, 20, 172_820))
    assert hold.needed(30, 5) == 10
    hold = kept(tmp_path, (10, 0, 86_400), (20, 10, 86_410), (30, 3700, 3700))
    assert hold.needed(30, 5) == 20


@pytest.mark.parametrize("source", [{}, {"progress": None}, {"progress": {"offset": 3}}])
def test_a_source_without_a_clock_is_measured_by_the_machines(source: dict[str, Any]) -> None:
    clocked = {"taken": 2.0, "source": {"progress": {"elapsed": 7_000_000}}}
    assert moments([clocked, {"taken": 5.0, "source": source}]) == [2.0, 5.0]
    assert moments([clocked, clocked]) == [7.0, 7.0]
    assert first_kept([0.0, 5.0, 9.0], 10.0, Seconds(0.0)) == 2


def test_an_idle_job_is_heard_of(tmp_path: Path) -> None:
    idle = IdleHold(kept(tmp_path, (10, 0, 0), (30, 4000, 4000)))
    idle.look(30)
    assert readers(str(tmp_path)) == {"job": 10}
    os.utime(reader_file(str(tmp_path), "job"), (0, 0))
    assert seen(str(tmp_path))[0].silent > 1e9
    IdleHold(kept(tmp_path, (10, 0, 0), (30, 4000, 4000))).look(30)
    assert seen(str(tmp_path))[0].silent < 60


def test_what_is_said_behind_a_checkpoint_does_not_take_back_for_good_what_was_let_go_of(tmp_path: Path) -> None:
    hold = kept(tmp_path, (10, 0, 0), (20, 4000, 4000), (30, 8000, 8000))
    idle = IdleHold(hold)

    def look() -> dict[str, int]:
        idle.look(30)
        return readers(str(tmp_path))

    for _ in range(2):
        until(look, "what is needed", {"job": 20}.__eq__)
        hold.announce_kept(30)
        assert readers(str(tmp_path)) == {"job": 10}


def test_who_holds_a_log_is_named_with_what_would_free_it(tmp_path: Path) -> None:
    assert "no job reads the log" in held(str(tmp_path), 1)
    announce(str(tmp_path), "one", 5, retain=HOUR)
    announce(str(tmp_path), "another", 9)
    assert held(str(tmp_path), 5).startswith("reader one holds it from chunk 5 on, last heard of 0s ago, and keeps")
    assert "`source.log.retain` of 1h" in held(str(tmp_path), 5)
    assert "another" not in held(str(tmp_path), 5) and held(str(tmp_path), 1) == ""
    for name in ("one", "a", "b", "c"):
        announce(str(tmp_path), name, 3)
    os.utime(reader_file(str(tmp_path), "a"), (0, 0))
    assert "; and 1 more" in held(str(tmp_path), 3)
    assert f"`collect --log {tmp_path} --forget-reader a`" in held(str(tmp_path), 3)


def test_a_reader_that_is_forgotten_holds_nothing(tmp_path: Path) -> None:
    announce(str(tmp_path), "gone", 5)
    announce(str(tmp_path), "job", 9)
    assert not forget(str(tmp_path), "nobody") and not forget(str(tmp_path), "../readers/gone")
    assert passed_by_all(str(tmp_path)) == 5
    assert forget(str(tmp_path), "gone")
    assert passed_by_all(str(tmp_path)) == 9


def test_what_an_earlier_version_announced_is_understood(tmp_path: Path) -> None:
    (tmp_path / "readers").mkdir()
    (tmp_path / "readers/old.json").write_text('{"passed": 7}')
    assert readers(str(tmp_path)) == {"old": 7}
    assert "retain" not in held(str(tmp_path), 7)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "disk", 1)
    yield disk
    disk.close()


def test_a_full_disk_still_takes_what_a_reader_announces(tmp_path: Path, disk: SmallDisk) -> None:
    folder = str(tmp_path / "disk")
    announce(folder, "job", 5)
    disk.fill()
    assert subprocess.run(["cp", "/bin/sh", folder], capture_output=True, check=False).returncode
    announce(folder, "job", 7_000_000, retain=HOUR)
    assert [(reader.passed, reader.retain) for reader in seen(folder)] == [(7_000_000, HOUR)]
    with pytest.raises(OSError, match="No space left"):
        announce(folder, "new", 5)
    assert readers(folder) == {"job": 7_000_000}
    disk.free()
    make_spare(folder)
    disk.fill()
    announce(folder, "new", 6)
    assert readers(folder) == {"job": 7_000_000, "new": 6}

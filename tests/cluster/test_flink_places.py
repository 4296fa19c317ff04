"""Places: a job that moves to another cluster, a full disk for checkpoints, workers with folders of their own."""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dataflow.execution.submission import RECORD
from tests.cluster.cluster import Cluster
from tests.cluster.live import SECONDS, Live
from tests.dataflow.jobs import JSON_LINES, streamgauge, write_job, write_json_lines
from tests.faults.small_disk import SmallDisk
from tests.waiting import until


@dataclass(frozen=True)
class Places:
    """Two clusters; the checkpoints and savepoints of the first lie on a disk that can be filled."""

    first: Cluster
    second: Cluster
    disk: SmallDisk
    folder: Path


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    folder = tmp_path_factory.mktemp("places")
    try:
        disk = SmallDisk(folder / "disk", 16)
    except subprocess.CalledProcessError:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must be root, who may mount a small disk")
        pytest.skip("only root may mount a small disk")
    settings = {f"state.{name}.dir": f"file://{folder}/disk/{name}" for name in ("checkpoints", "savepoints")}
    # A state in memory of the JobManager would not need the disk.
    settings["state.storage.fs.memory-threshold"] = "0"
    try:
        with Cluster(folder / "first", settings=settings) as first, Cluster(folder / "second") as second:
            yield Places(first, second, disk, folder / "disk")
    finally:
        disk.close()


@pytest.fixture
def live(tmp_path: Path, places: Places) -> Iterator[Live]:
    live = Live(tmp_path, places.first)
    yield live
    live.feed.writer.close()
    if places.first.running() or places.second.running():
        live.done(live.flink("cancel"))


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_full_disk_for_checkpoints_costs_checkpoints_and_nothing_else(live: Live, places: Places) -> None:
    live.write(60)
    live.submit()
    live.catch_up()
    places.disk.fill()
    try:
        live.write(40, pause=0.05)
        live.catch_up()
        failed = until(
            lambda: re.search(r"([0-9]+) failed", live.done(live.flink("status"))),
            "a checkpoint of the cluster's that fails",
            lambda found: found is not None and int(found[1]) > 0,
            seconds=SECONDS,
        )
        assert failed is not None
        for command in ("savepoint", "stop"):
            ended = live.flink(command)
            assert (ended.code, len(ended.message.splitlines())) == (2, 1), ended
            assert "the savepoint failed: No space left on device" in ended.message
        # Flink leaves their folders, which are empty.
        until(lambda: files_in(places.folder / "savepoints"), "half a savepoint to go", lambda files: not files)
        assert live.record()["savepoints"] == []
    finally:
        places.disk.free()
    live.write(20)
    live.catch_up()
    assert live.cluster.running() == [live.record()["job"]]
    assert "savepoint" in live.done(live.flink("savepoint"))
    live.verified()


def test_workers_with_a_state_folder_of_their_own_are_told_and_nothing_is_left_behind(
    live: Live, places: Places, tmp_path: Path
) -> None:
    apart, there = tmp_path / "apart", tmp_path / "there"
    apart.mkdir()
    there.mkdir()
    write_json_lines(there / "data.jsonl", [{"ts": second, "key": "a", "value": 1.0} for second in range(10)])
    bounded = write_job(there, JSON_LINES)
    live.write(60)
    with places.first.pool_apart(apart) as pool:
        where = (*places.first.flags, pool, "--set")
        for job, state, words in (
            (live.job, apart / "live", "is not the folder that this job was launched with"),
            (bounded, apart / "bounded", "knows nothing of its tables"),
        ):
            ended = streamgauge("flink", "submit", job, *where, f"state={state}")
            assert (ended.code, len(ended.err.splitlines())) == (1, 1), ended
            assert f"{state} {words}" in ended.message
            assert "must be the same folder for the process that" in ended.message
            assert places.first.running() == []
    assert not (apart / "live" / RECORD).exists()


def test_a_job_moves_to_another_cluster_by_a_savepoint_and_back_by_its_own_checkpoint(
    live: Live, places: Places
) -> None:
    live.write(60)
    live.submit()
    live.catch_up()
    live.done(live.flink("stop"))
    live.write(30)
    live.done(live.flink("resume", "--from", "latest", *places.second.flags))
    live.write(30, pause=0.05)
    live.catch_up()
    live.verified()
    assert (places.first.running(), places.second.running()) == ([], [live.record()["job"]])
    live.done(live.flink("cancel"))
    live.write(30)
    live.done(live.flink("resume", "--from-checkpoint", *places.first.flags))
    live.catch_up()
    live.verified()
    assert (places.first.running(), places.second.running()) == ([live.record()["job"]], [])

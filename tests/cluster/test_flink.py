"""Jobs on a real Flink cluster: submitted, stopped, resumed, rescaled, killed, refused; their tables always verify."""

import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator
from functools import partial
from operator import eq
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from containers import boot_binary
from dataflow.execution.submission import RECORD
from runners.flink_rest import Flink
from tests.cluster.cluster import Cluster
from tests.cluster.live import Live
from tests.dataflow.jobs import changed, parquet_table, parquet_tables, settled, start, streamgauge, write_job
from tests.dataflow.jobs import finished as ended_of
from tests.dataflow.live_job import JOB, rows
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
SUBMISSIONS = int(os.environ.get("STREAMGAUGE_SUBMISSIONS", "2"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("flink"), task_managers=2) as started:
        yield started


@pytest.fixture
def live(tmp_path: Path, cluster: Cluster) -> Iterator[Live]:
    live = Live(tmp_path, cluster)
    yield live
    live.feed.writer.close()
    for job in cluster.running():
        streamgauge("flink", "cancel", live.job)
        assert job not in cluster.running()


def example_tables(folder: Path, *command: str) -> dict[str, pa.Table]:
    shutil.copytree(ROOT / "examples", folder, ignore=shutil.ignore_patterns("out", ".streamgauge"))
    ended = streamgauge(*command[:-1], folder / "flights.yaml", *command[-1].split())
    assert ended.code == 0, ended.err
    print(ended.out)
    return parquet_tables(folder / "out/flights")


def test_the_example_gives_the_tables_that_it_gives_here(tmp_path: Path, cluster: Cluster) -> None:
    here = example_tables(tmp_path / "here", "run", "")
    for parallelism in (1, 2, 4):
        flags = " ".join((*cluster.flags, f"--parallelism={parallelism}"))
        there = example_tables(tmp_path / f"flink-{parallelism}", "flink", "submit", flags)
        assert here.keys() == there.keys()
        for name in here.keys() - {"dead_letters", "ledger"}:
            one, other = settled(here[name]), settled(there[name])
            assert len(one) == len(other) and same(one, other), (name, parallelism)
    assert cluster.running() == []


def same(here: list[dict[str, Any]], there: list[dict[str, Any]]) -> bool:
    """Whether rows are equal; floats to 1e-9 of themselves."""
    return all(
        a.keys() == b.keys()
        and all(
            a[name] == pytest.approx(b[name], rel=1e-9, abs=1e-9) if isinstance(a[name], float) else a[name] == b[name]
            for name in a
        )
        for a, b in zip(here, there, strict=True)
    )


def test_beams_own_way_to_name_the_runner_works_too(tmp_path: Path, cluster: Cluster) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "it", ignore=shutil.ignore_patterns("out", ".streamgauge"))
    flags = [flag for flag in cluster.flags if flag not in ("--flink", cluster.address)]
    ended = streamgauge(
        "run", tmp_path / "it/flights.yaml", "--runner=FlinkRunner", f"--flink_master={cluster.address}", *flags
    )
    assert ended.code == 0, ended.err
    assert "on Flink at" in ended.out


def test_a_live_job_is_submitted_stopped_resumed_and_rescaled_and_nothing_is_lost(live: Live) -> None:
    live.write(60)
    live.submit()
    live.catch_up()
    assert live.rows() > 0
    live.verified()
    live.write(30, pause=0.05)
    out = live.done(live.flink("stop"))
    assert "stopped at savepoint" in out and live.cluster.running() == []
    live.write(40)
    live.done(live.flink("resume", "--from", "latest"))
    print(f"caught up in {live.catch_up():.1f} s")
    live.verified()
    for parallelism in (2, 1):
        live.write(20, pause=0.05)
        live.done(live.flink("rescale", str(parallelism)))
        assert live.record()["parallelism"] == parallelism
        expected = parallelism * len(live.cluster.used_by(live.record()["job"]))
        until(lambda: len(live.cluster.workers()), f"{expected} workers", partial(eq, expected))
        live.write(20)
        live.catch_up()
        live.verified()
    status = live.done(live.flink("status"))
    assert "RUNNING" in status and "checkpoints" in status and "lag           0 records" in status
    assert live.record()["job"] in streamgauge("flink", "list", "--flink", live.cluster.address).out


def test_compacting_begins_the_clusters_state_anew_and_draining_closes_all_windows(live: Live) -> None:
    live.write(60)
    live.submit()
    live.catch_up()
    first = live.record()["job"]
    live.done(live.flink("compact"))
    assert live.record()["job"] != first and live.record()["before"] == [first]
    live.write(30)
    live.catch_up()
    live.verified()
    live.done(live.flink("stop", "--drain"))
    live.verified()
    assert live.cluster.running() == []
    ended = live.flink("resume", "--from-checkpoint")
    assert (ended.code, "was drained" in ended.message) == (2, True)


def test_it_goes_from_flink_to_this_machine_and_back_by_its_own_checkpoint(live: Live) -> None:
    live.write(60)
    live.submit()
    live.write(40, pause=0.05)
    live.catch_up()
    live.done(live.flink("cancel"))
    live.write(40)
    ended = ended_of(start("run", live.job, "--streaming", "--to-end"))
    assert ended.code == 0, ended.err
    live.verified()
    live.write(40)
    live.done(live.flink("resume", "--from-checkpoint"))
    live.catch_up()
    live.verified()


@pytest.mark.parametrize("killed", ["workers", "pool", "taskmanager"])
def test_what_is_killed_costs_a_restart_and_no_record(live: Live, killed: str) -> None:
    cluster = live.cluster
    live.write(60)
    live.submit()
    live.catch_up()
    rows = live.rows()
    live.write(30, pause=0.05)
    began = time.monotonic()
    if killed == "workers":
        assert cluster.kill_workers() > 0
    elif killed == "pool":
        cluster.kill("pool")
        cluster.start_pool()
    else:
        used = [
            name for name in ("taskmanager-1", "taskmanager-2") if live.record()["job"] in running_on(cluster, name)
        ]
        cluster.kill(used[0])
        cluster.start_task_manager(int(used[0][-1]))
    live.write(60)
    live.catch_up()
    print(f"recovered from the loss of {killed} in {time.monotonic() - began:.1f} s")
    assert live.rows() > rows
    live.verified()
    cluster.wait_for_slots(4)
    assert re.search(r"restarts +[1-9]", live.done(live.flink("status")))


def running_on(cluster: Cluster, name: str) -> str:
    """What a TaskManager has logged of jobs that it was given."""
    return "\n".join(line for line in cluster.log(name).splitlines() if "Receive slot request" in line)


def test_a_job_whose_jobmanager_is_killed_is_resumed_from_its_own_checkpoint(live: Live) -> None:
    live.write(60)
    live.submit()
    live.catch_up()
    live.write(20)
    began = time.monotonic()
    live.cluster.kill("jobmanager")
    ended = live.flink("status")
    assert (ended.code, "no Flink answers" in ended.message) == (2, True)
    ended = ended_of(start("run", live.job, "--streaming", "--to-end"))
    assert (ended.code, "it is unknown whether it still runs" in ended.message) == (2, True)
    live.cluster.start_job_manager()
    live.cluster.wait_for_slots(4)
    assert "unknown to the cluster" in live.done(live.flink("status"))
    live.done(live.flink("resume", "--from-checkpoint"))
    live.catch_up()
    print(f"resumed behind the loss of the JobManager in {time.monotonic() - began:.1f} s")
    live.verified()


def test_a_job_that_runs_there_runs_nowhere_else(live: Live) -> None:
    live.write(60)
    live.submit()
    job = live.record()["job"]
    for ended in (
        live.flink("submit", *live.cluster.flags),
        live.flink("resume", "--from-checkpoint"),
        ended_of(start("run", live.job, "--streaming", "--to-end")),
        streamgauge("replay", live.job),
    ):
        assert (ended.code, "runs on Flink at" in ended.message) == (2, True), ended
    assert live.cluster.running() == [job] and live.record()["job"] == job
    less = {**JOB["aggregations"][0], "statistics": {"value": ["count"]}}
    for aggregations, words in (
        ([less, JOB["aggregations"][1]], "of this job no longer has"),
        ([less], "different `aggregations`"),
    ):
        write_job(live.folder, changed(JOB, aggregations=aggregations), "job.yaml")
        ended = live.flink("upgrade")
        assert (ended.code, words in ended.message) == (2, True), ended
        assert live.cluster.running() == [job]
    write_job(live.folder, JOB, "job.yaml")


def test_an_upgrade_brings_another_report_and_new_statistics(live: Live) -> None:
    live.write(60)
    live.submit()
    live.catch_up()
    first = JOB["aggregations"][0]
    statistics = {**first["statistics"], "value": [*first["statistics"]["value"], "std", "p90"]}
    more = [{**first, "statistics": statistics}, *JOB["aggregations"][1:]]
    write_job(live.folder, changed(JOB, aggregations=more, report="other.html"), "job.yaml")
    live.write(20)
    output = live.done(live.flink("upgrade"))
    assert f"joined {first['name']}" in output
    live.write(60)
    live.catch_up()
    live.verified()
    table = parquet_table(live.folder / "out" / first["name"])
    known = table.filter(pc.is_valid(table["value_p90"]))
    assert 0 < known.num_rows < table.num_rows
    assert pc.min(known["window_end"]).as_py() > pc.min(table["window_end"]).as_py()
    live.done(streamgauge("report", live.job))
    assert f"a live job on Flink at {live.cluster.address}" in (live.folder / "other.html").read_text()
    live.done(live.flink("stop"))
    live.done(live.flink("resume", "--from", "latest"))
    live.write(20)
    live.catch_up()
    live.verified()
    write_job(live.folder, JOB, "job.yaml")


def test_each_of_many_submissions_gives_its_first_window_in_time(tmp_path: Path, cluster: Cluster) -> None:
    """As many as `STREAMGAUGE_SUBMISSIONS` says."""
    took = []
    for number in range(SUBMISSIONS):
        folder = tmp_path / str(number)
        folder.mkdir()
        live = Live(folder, cluster)
        live.write(40)
        began = time.monotonic()
        live.submit("--no-wait")
        until(partial(rows, folder, "fixed"), "a first window", seconds=60)
        took.append(time.monotonic() - began)
        live.done(live.flink("cancel"))
        live.feed.writer.close()
    print(f"{SUBMISSIONS} submissions, to the first window: {min(took):.1f} to {max(took):.1f} s")


def test_what_cannot_be_submitted_is_refused_and_leaves_nothing(live: Live, tmp_path: Path) -> None:
    live.write(20)
    nothing = tmp_path / "no.jar"
    nothing.write_text("no jar")
    flags = live.cluster.flags
    for arguments, words in (
        (("--flink", "localhost:1"), "no Flink answers at localhost:1"),
        (("--flink", "nonsense"), "not the address"),
        ((*flags, f"--flink_job_server_jar={nothing}"), "is not a jar"),
        ((*flags, "--flink_job_server_jar=/nowhere"), "is not a file"),
        ((*flags, "--parallelism=99"), "free slots"),
    ):
        ended = live.flink("submit", *arguments)
        assert (ended.code, words in ended.message, len(ended.message.splitlines())) == (2, True, 1), ended
        assert not (live.folder / ".streamgauge/live" / RECORD).exists() and live.cluster.running() == []
    ended = live.flink("stop")
    assert (ended.code, "never submitted" in ended.message) == (2, True)


def test_a_savepoint_of_another_job_is_refused(live: Live, tmp_path: Path) -> None:
    live.write(60)
    live.submit()
    live.done(live.flink("stop"))
    theirs = live.record()["savepoints"][0]
    ended = live.flink("resume", "--from", "/somewhere/savepoint-123456-abcdef")
    assert (ended.code, "is not a savepoint of this job" in ended.message) == (2, True)
    state = live.folder / ".streamgauge/live" / RECORD
    content = live.record()
    missing = {**theirs, "path": "file:/nowhere/savepoint-000000-000000"}
    state.write_text(json.dumps({**content, "savepoints": [missing]}))
    ended = live.flink("resume", "--from", missing["path"])
    assert ended.code == 2 and "savepoint" in ended.message, ended
    assert live.cluster.running() == []
    assert live.record()["job"] == content["job"], "the record before is there again"


def test_workers_that_do_not_come_are_told_and_nothing_is_left(live: Live) -> None:
    live.write(20)
    flags = [flag for flag in live.cluster.flags if not flag.startswith("--environment_config")]
    ended = live.flink("submit", *flags, "--environment_config=localhost:1")
    assert (ended.code, len(ended.message.splitlines())) == (1, 1), ended
    assert "Connection refused; its Python runs in EXTERNAL localhost:1" in ended.message
    assert live.cluster.running() == [] and not os.path.exists(live.folder / ".streamgauge/live" / RECORD)


def test_workers_may_be_processes_that_the_taskmanager_starts(live: Live) -> None:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    found_here = {"PATH": path, "PYTHONPATH": str(ROOT), "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT": "1"}
    boot = boot_binary.build("amd64" if platform.machine() == "x86_64" else "arm64")
    config = json.dumps({"command": str(boot), "env": found_here})
    flags = [flag for flag in live.cluster.flags if not flag.startswith("--environment_")]
    live.write(60)
    live.done(live.flink("submit", *flags, "--environment_type=PROCESS", f"--environment_config={config}"))
    live.write(20)
    live.catch_up()
    assert live.cluster.workers() == [], "the pool has none"
    live.verified()


def test_to_go_back_to_an_older_savepoint_loses_and_doubles_nothing(live: Live) -> None:
    live.write(60)
    live.submit()
    live.catch_up()
    live.done(live.flink("savepoint"))
    live.write(40, pause=0.05)
    live.catch_up()
    live.done(live.flink("stop"))
    older, newer = (entry["path"] for entry in live.record()["savepoints"])
    live.write(20)
    out = live.done(live.flink("resume", "--from", older))
    assert "abandons what came after" in out and newer in out
    live.catch_up()
    live.verified()
    live.done(live.flink("stop"))
    ended = live.flink("resume", "--from", newer)
    assert (ended.code, "has abandoned this savepoint" in ended.message) == (2, True)
    assert re.search(f"{re.escape(newer)}.*, abandoned", live.done(live.flink("status")))
    live.write(20)
    live.done(live.flink("resume", "--from", "latest"))
    live.catch_up()
    live.verified()


def test_a_savepoint_that_a_killed_command_did_not_write_down_is_found(live: Live) -> None:
    live.write(60)
    live.submit()
    live.catch_up()
    live.done(live.flink("savepoint"))
    live.write(30)
    live.catch_up()
    taken = Flink(live.cluster.address).stop(live.record()["job"], None, 60)
    assert taken not in str(live.record()["savepoints"])
    live.write(20)
    out = live.done(live.flink("resume", "--from", "latest"))
    assert f"a savepoint that was not recorded: {taken}" in out
    live.catch_up()
    live.verified()

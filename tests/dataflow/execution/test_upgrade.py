"""Statistics that a live job is given while it runs: null where they cannot be known, and exact from then on."""

import copy
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.dataflow.forking import forked
from tests.dataflow.jobs import changed, finished, parquet_table, streamgauge, write_job
from tests.dataflow.live_job import JOB, Feed, newest, to_end, verified
from transforms.storage.checkpoint.folder import CheckpointFolder

pytestmark = pytest.mark.slow

MORE: Final[dict[str, Any]] = {
    "fixed": {"value": ["count", "sum", "mean", "p50", "std", "max"], "key": ["top2", "distinct"]},
    "sliding": {"value": ["count", "max", "mean"], "key": ["distinct"]},
}
FRESH: Final = {"fixed": ["value_max", "key_distinct"], "sliding": ["value_mean"]}
"""Figures whose state the job did not have. With `mean`, `count` comes from another one, and must not miss a record."""


def with_more(job: dict[str, Any]) -> dict[str, Any]:
    grown = copy.deepcopy(job)
    for aggregation in grown["aggregations"]:
        aggregation["statistics"] = MORE[aggregation["name"]]
    return grown


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    write_job(tmp_path, JOB)
    feed = Feed(tmp_path, seed=7)
    yield feed
    feed.writer.close()


def last_without(table: pa.Table, figure: str) -> Any:
    """The end of the last final window without a figure; every window behind it has one."""
    table = table.filter(table["final"])
    missing = table.filter(pc.is_null(table[figure]))
    return pc.max(missing["window_end"]).as_py()


def test_new_statistics_join_a_job_that_goes_on(tmp_path: Path, feed: Feed) -> None:
    feed.write(137)
    to_end(tmp_path)
    before = {name: parquet_table(tmp_path / "out" / name) for name in ("fixed", "sliding")}
    write_job(tmp_path, with_more(JOB))
    refused = streamgauge("run", tmp_path / "job.yaml", "--streaming", "--to-end")
    assert refused.code == 2
    assert "different `statistics of fixed`; add new ones with `run --upgrade` or `flink upgrade`" in refused.err
    feed.write(45)
    out = to_end(tmp_path, "--upgrade")
    assert "value_std joined fixed: null in windows that end by" in out
    verified(tmp_path)
    feed.write(120)
    to_end(tmp_path)  # nothing is new now
    verified(tmp_path)
    for name, fresh in FRESH.items():
        after = parquet_table(tmp_path / "out" / name)
        closed = pc.max(before[name].filter(before[name]["final"])["window_end"]).as_py()
        for figure in fresh:
            last = last_without(after, figure)
            assert last is not None
            assert last > closed
            assert pc.sum(pc.greater(after["window_end"], last)).as_py() > 0
        same = [column for column in before[name].column_names if column not in FRESH[name]]
        kept = after.filter(pc.less_equal(after["window_end"], closed)).select(same)
        assert kept.sort_by([(key, "ascending") for key in same[:3]]).equals(
            before[name].select(same).sort_by([(key, "ascending") for key in same[:3]])
        )
    assert last_without(parquet_table(tmp_path / "out/fixed"), "value_std") == closed_before(before["fixed"])


def closed_before(table: pa.Table) -> Any:
    return pc.max(table["window_end"]).as_py()


def test_an_upgrade_twice_keeps_what_the_first_one_found(tmp_path: Path, feed: Feed) -> None:
    feed.write(60)
    to_end(tmp_path)
    once = copy.deepcopy(JOB)
    once["aggregations"][0]["statistics"]["value"] = ["count", "sum", "mean", "p50", "min"]
    write_job(tmp_path, once)
    feed.write(60)
    assert "value_min joined fixed" in to_end(tmp_path, "--upgrade")
    assert "joined" not in to_end(tmp_path, "--upgrade")
    once["aggregations"][0]["statistics"]["value"] += ["p99"]
    write_job(tmp_path, once)
    feed.write(60)
    out = to_end(tmp_path, "--upgrade")
    assert "value_p99 joined fixed" in out
    assert "value_min" not in out
    verified(tmp_path)


def test_a_state_that_joined_late_is_no_whole_one_for_the_next_upgrade(tmp_path: Path, feed: Feed) -> None:
    feed.write(80)
    to_end(tmp_path)
    job = copy.deepcopy(JOB)
    for more in ("min", "mean", "std"):
        job["aggregations"][1]["statistics"]["value"] = [*job["aggregations"][1]["statistics"]["value"], more]
        write_job(tmp_path, job)
        feed.write(25)
        to_end(tmp_path, "--upgrade")
        verified(tmp_path)
    feed.write(150)
    to_end(tmp_path)
    verified(tmp_path)
    table = parquet_table(tmp_path / "out/sliding")
    assert last_without(table, "value_std") == last_without(table, "value_mean"), "windows were open all the time"


def test_tables_have_their_columns_before_they_have_rows(tmp_path: Path, feed: Feed) -> None:
    job = changed(JOB, sinks=JOB["sinks"][::-1])  # what is shown is read from the database
    write_job(tmp_path, job)
    feed.write(60)
    to_end(tmp_path)
    write_job(tmp_path, with_more(job))
    to_end(tmp_path, "--upgrade")
    verified(tmp_path)
    assert streamgauge("report", tmp_path / "job.yaml", "-o", tmp_path / "report.html").code == 0


def test_what_is_more_than_a_new_statistic_is_refused(tmp_path: Path, feed: Feed) -> None:
    feed.write(40)
    to_end(tmp_path)
    for change, told in (
        ({"statistics": {"value": ["count", "sum", "mean", "p50"]}}, "fixed of this job no longer has key_top2"),
        ({"window": {"size": "4s"}}, "different `aggregations fixed`"),
        ({"key": []}, "different `aggregations fixed`"),
        ({"models": {}}, "different `aggregations fixed`"),
    ):
        job = with_more(JOB)
        job["aggregations"][0] |= change
        write_job(tmp_path, job)
        ended = streamgauge("run", tmp_path / "job.yaml", "--streaming", "--to-end", "--upgrade")
        assert (ended.code, told in ended.err) == (2, True), ended.err
    write_job(tmp_path, changed(with_more(JOB), state="elsewhere"))
    ended = streamgauge("run", tmp_path / "job.yaml", "--streaming", "--to-end", "--upgrade")
    assert ended.code == 2
    assert "elsewhere holds no checkpoint, so there is nothing for new statistics to join" in ended.err
    write_job(tmp_path, JOB)
    to_end(tmp_path)
    verified(tmp_path)


def test_the_job_of_before_is_refused_behind_an_upgrade(tmp_path: Path, feed: Feed) -> None:
    feed.write(40)
    to_end(tmp_path)
    write_job(tmp_path, with_more(JOB))
    to_end(tmp_path, "--upgrade")
    write_job(tmp_path, JOB)
    assert streamgauge("run", tmp_path / "job.yaml", "--streaming", "--to-end").code == 2
    ended = streamgauge("run", tmp_path / "job.yaml", "--streaming", "--to-end", "--upgrade")
    assert ended.code == 2
    assert ", but its tables do; keep it" in ended.err


def test_what_cannot_go_on_is_refused_before_anything_changes(tmp_path: Path, feed: Feed) -> None:
    feed.write(40)
    to_end(tmp_path)
    state = tmp_path / ".streamgauge/live"
    before = CheckpointFolder(str(state)).root()
    write_job(tmp_path, with_more(JOB))
    (state / "replaying").touch()
    ended = streamgauge("run", tmp_path / "job.yaml", "--streaming", "--to-end", "--upgrade")
    assert (ended.code, "a replay was interrupted" in ended.err) == (2, True)
    (state / "replaying").unlink()
    with closing(sqlite3.connect(tmp_path / "out/live.db")) as database, database:
        database.execute("ALTER TABLE fixed ADD COLUMN somebodys TEXT")
    ended = streamgauge("run", tmp_path / "job.yaml", "--streaming", "--to-end", "--upgrade")
    assert ended.code == 1
    assert "was not made by Streamgauge" in ended.err
    after = CheckpointFolder(str(state)).root()
    assert before is not None and after is not None
    assert (after.checkpoints, after.identity, after.files) == (before.checkpoints, before.identity, before.files)


def test_a_drained_job_is_not_upgraded_and_its_replay_knows_everything(tmp_path: Path, feed: Feed) -> None:
    feed.write(40)
    to_end(tmp_path)
    write_job(tmp_path, with_more(JOB))
    to_end(tmp_path, "--upgrade", "--drain")
    verified(tmp_path)
    assert streamgauge("replay", tmp_path / "job.yaml").code == 0
    verified(tmp_path)
    job = with_more(JOB)
    job["aggregations"][0]["statistics"]["value"] += ["min"]
    write_job(tmp_path, job)
    ended = streamgauge("run", tmp_path / "job.yaml", "--streaming", "--to-end", "--upgrade")
    assert (ended.code, "was drained" in ended.err) == (2, True)


def test_killed_behind_the_upgrade_it_goes_on_with_it(tmp_path: Path, feed: Feed) -> None:
    feed.write(80)
    to_end(tmp_path)
    before = newest(tmp_path)
    write_job(tmp_path, with_more(JOB))
    feed.write(60)
    process = forked("run", tmp_path / "job.yaml", "--streaming", "--upgrade")
    assert process.stdout is not None
    assert any("following the log" in line for line in process.stdout)
    os.killpg(process.pid, signal.SIGKILL)
    finished(process)
    assert newest(tmp_path)["name"] >= before["name"]
    to_end(tmp_path)
    verified(tmp_path)


def test_a_log_that_is_forgotten_is_verified_from_a_checkpoint_before_the_upgrade(tmp_path: Path, feed: Feed) -> None:
    job = changed(JOB, source={"log": {"path": "log", "retain": "0s"}})
    write_job(tmp_path, job)
    for _ in range(3):
        feed.write(60)
        to_end(tmp_path)
    assert feed.writer.prune(1 << 62) > 0
    write_job(tmp_path, with_more(job))
    feed.write(60)
    to_end(tmp_path, "--upgrade")
    verified(tmp_path)


def test_a_replay_knows_the_new_statistics_from_the_beginning(tmp_path: Path, feed: Feed) -> None:
    feed.write(80)
    to_end(tmp_path)
    write_job(tmp_path, with_more(JOB))
    feed.write(60)
    to_end(tmp_path, "--upgrade")
    ended = streamgauge("replay", tmp_path / "job.yaml")
    assert ended.code == 0, ended.err
    assert last_without(parquet_table(tmp_path / "out/fixed"), "value_max") is None
    feed.write(60)
    to_end(tmp_path)
    verified(tmp_path)
    assert last_without(parquet_table(tmp_path / "out/fixed"), "value_max") is None

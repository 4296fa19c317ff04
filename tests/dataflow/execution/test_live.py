"""A live job end to end: followed, stopped, killed, gone on with, refused, and always what a batch run gives."""

import json
import os
import random
import signal
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from benchmarks.stopwatch import descendants
from dataflow.execution.live import MOST_FAILURES, watch
from runners.prism_binary import locate
from tests.dataflow.forking import forked
from tests.dataflow.jobs import changed, finished, parquet_table, start, streamgauge, write_job
from tests.dataflow.live_job import (
    BEGAN_US,
    JOB,
    Feed,
    followed_and_killed,
    kept_up_to,
    rows,
    to_end,
    verified,
    with_a_forgotten_log,
)
from tests.waiting import until
from transforms.collection.log.reading import LogReader
from transforms.collection.log.writer import LogWriter
from transforms.process import versions
from transforms.process.progress import Bulletin
from transforms.storage.checkpoint.folder import MANIFEST

pytestmark = pytest.mark.slow

STARTS: Final = int(os.environ.get("STREAMGAUGE_STARTS", "2"))


def reported(folder: Path) -> str:
    """What `report` makes of the job as it stands."""
    ended = streamgauge("report", folder / "job.yaml", "-o", folder / "report.html")
    assert (ended.code, ended.err) == (0, "")
    return (folder / "report.html").read_text()


def test_windows_are_stored_as_they_close_and_sigterm_keeps_a_checkpoint(tmp_path: Path, feed: Feed) -> None:
    feed.write(30)
    process = forked("run", tmp_path / "job.yaml", "--streaming")
    until(lambda: rows(tmp_path, "fixed"), "the rows of a window", lambda count: count >= 4)
    feed.write(100)
    until(lambda: kept_up_to(tmp_path), "chunk 131 as the next one", lambda chunk: chunk == 131)
    assert "a live job on this machine" in reported(tmp_path)
    process.send_signal(signal.SIGTERM)
    ended = finished(process)
    assert (ended.code, ended.err) == (0, "")
    assert "on Prism" in reported(tmp_path)
    assert "stopped at event time " in ended.out
    verified(tmp_path)
    book = parquet_table(tmp_path / "out/ledger")
    assert sum(book["read"].to_pylist()) == 130 * 52
    assert sum(book["late"].to_pylist()) and sum(book["partly_late"].to_pylist()) and sum(book["dead"].to_pylist())


def test_it_goes_on_where_it_was_killed_however_often(tmp_path: Path, feed: Feed) -> None:
    dice = random.Random(7)
    feed.write(20)

    def write() -> None:
        for _ in range(dice.randrange(20, 60)):
            feed.write(1)
            time.sleep(0.02)

    for _ in range(3):
        followed_and_killed(tmp_path, dice, write)
        feed.write(dice.randrange(20))
    assert "resuming from the checkpoint" in to_end(tmp_path)
    assert kept_up_to(tmp_path) == feed.writer.extent.end_chunk
    verified(tmp_path)


def test_another_number_of_shards_goes_on_from_the_same_checkpoint(tmp_path: Path, feed: Feed) -> None:
    for shards in ("1", "5", "2"):
        feed.write(40)
        to_end(tmp_path, "--set", f"execution.shards={shards}")
    verified(tmp_path)


def test_a_log_whose_beginning_is_forgotten_is_verified_from_the_oldest_checkpoint(tmp_path: Path, feed: Feed) -> None:
    with_a_forgotten_log(tmp_path, feed, rounds=4)
    with closing(LogReader(str(tmp_path / "log"))) as reader:
        assert reader.extent().first_chunk > 1
    verified(tmp_path)
    feed.write(40)
    to_end(tmp_path)
    verified(tmp_path)


def test_windows_that_a_drain_closed_are_verified_when_the_log_is_forgotten_up_to_it(
    tmp_path: Path, feed: Feed
) -> None:
    with_a_forgotten_log(tmp_path, feed, rounds=2)
    closed = rows(tmp_path, "fixed")
    assert "every window is closed" in to_end(tmp_path, "--drain")
    assert rows(tmp_path, "fixed") > closed
    verified(tmp_path)
    with closing(sqlite3.connect(tmp_path / "out/live.db")) as database, database:
        database.execute(
            "UPDATE fixed SET value_count = value_count + 1 WHERE window_end = (SELECT max(window_end) FROM fixed)"
        )
    ended = streamgauge("verify", tmp_path / "job.yaml")
    assert (ended.code, "value_count is " in ended.err) == (1, True), ended


def test_verify_finds_what_is_not_so(tmp_path: Path, feed: Feed) -> None:
    feed.write(120)
    to_end(tmp_path)
    with closing(sqlite3.connect(tmp_path / "out/live.db")) as database, database:
        database.execute("UPDATE fixed SET value_count = value_count + 1 WHERE rowid = 3")
        database.execute("DELETE FROM ledger WHERE rowid = 5")
    ended = streamgauge("verify", tmp_path / "job.yaml")
    assert ended.code == 1
    assert "value_count is " in ended.err and "is not stored" in ended.err and "2 rows differ" in ended.err


def test_drain_closes_every_window_and_nothing_goes_on_from_there(tmp_path: Path, feed: Feed) -> None:
    feed.write(60)
    assert "every window is closed" in to_end(tmp_path, "--drain")
    counted = parquet_table(tmp_path / "out/fixed")
    book = parquet_table(tmp_path / "out/ledger")
    late_here = sum(letter["stage"] == "aggregation:fixed" for letter in letters(tmp_path))
    on_time = sum(book["accepted"].to_pylist()) + sum(book["late"].to_pylist()) - late_here
    assert sum(counted["rows"].to_pylist()) == on_time
    verified(tmp_path)
    ended = finished(forked("run", tmp_path / "job.yaml", "--streaming"))
    assert (ended.code, "was drained" in ended.message) == (2, True)


def letters(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = parquet_table(folder / "out/dead_letters").to_pylist()
    return found


def test_a_state_that_does_not_fit_is_refused_with_what_to_do(tmp_path: Path, feed: Feed) -> None:
    feed.write(40)
    to_end(tmp_path)
    state = str(tmp_path / ".streamgauge/live" / MANIFEST)
    content = versions.content(state)
    first = {**JOB["aggregations"][0], "statistics": {"value": ["count"]}}
    for job, written, words in (
        (changed(JOB, aggregations=[first, JOB["aggregations"][1]]), content, "different `statistics of fixed`"),
        (changed(JOB, aggregations=JOB["aggregations"][:1]), content, "different `aggregations`"),
        (JOB, {**content, "format": 99}, "format 99"),
        (JOB, {**content, "identity": {**content["identity"], "job": "other"}}, "different `job`"),
    ):
        write_job(tmp_path, job)
        versions.write(state, versions.numbers_in(state)[-1] + 1, json.dumps(written).encode())
        ended = finished(forked("run", tmp_path / "job.yaml", "--streaming"))
        assert (ended.code, words in ended.message, len(ended.message.splitlines())) == (2, True, 1), ended
    versions.write(state, versions.numbers_in(state)[-1] + 1, json.dumps(content).encode())
    write_job(tmp_path, JOB)
    ended = streamgauge("run", tmp_path / "job.yaml")
    assert (ended.code, "belongs to a live job" in ended.message) == (2, True)


def test_a_log_that_is_not_there_or_another_one_is_refused(tmp_path: Path, feed: Feed) -> None:
    feed.write(40)
    to_end(tmp_path)
    feed.writer.close()
    (tmp_path / "log").rename(tmp_path / "old")
    ended = finished(forked("run", tmp_path / "job.yaml", "--streaming"))
    assert (ended.code, "there is no log" in ended.message) == (2, True)
    LogWriter(str(tmp_path / "log")).close()
    ended = finished(forked("run", tmp_path / "job.yaml", "--streaming"))
    assert (ended.code, "was it replaced?" in ended.message) == (2, True)
    feed.writer = LogWriter(str(tmp_path / "old"))


def test_direct_runner_by_name_is_refused(tmp_path: Path, feed: Feed) -> None:
    ended = streamgauge("run", tmp_path / "job.yaml", "--streaming", "--runner=DirectRunner")
    assert (ended.code, "never closes a window" in ended.message) == (2, True)


def test_the_watchdog_says_when_records_wait_and_nobody_reads(tmp_path: Path, feed: Feed) -> None:
    feed.write(5)
    done, said = threading.Event(), list[str]()

    def say(sentence: str) -> None:
        said.append(sentence)
        done.set()

    bulletin = Bulletin(position=52, watermark=0)
    watch(done, lambda: feed.writer.extent.end_position, say, bulletin, patience=0.2)
    assert said == ["208 records wait and nothing was read for 0 s"]


@pytest.mark.alone
def test_each_of_many_starts_gives_its_first_window_in_time(tmp_path: Path, feed: Feed) -> None:
    feed.write(60)
    for number in range(STARTS):
        write_job(tmp_path, changed(JOB, state=f"state-{number}", sinks=[{"parquet": {"path": f"out-{number}"}}]))
        began = time.monotonic()
        assert finished(start("run", tmp_path / "job.yaml", "--streaming", "--to-end")).code == 0
        assert parquet_table(tmp_path / f"out-{number}/fixed").num_rows > 0
        assert time.monotonic() - began < 15, f"start {number + 1}"


def test_replayed_records_come_in_once_however_late_and_the_job_goes_on(tmp_path: Path, feed: Feed) -> None:
    feed.write(100)
    to_end(tmp_path)
    before = letters(tmp_path)
    export, repaired = tmp_path / "export.jsonl", tmp_path / "repaired.jsonl"
    assert streamgauge("replay", tmp_path / "job.yaml", "--export", export).code == 0
    entries = [json.loads(line) for line in export.read_text().splitlines()]
    broken = [entry for entry in entries if entry["reason"] == "malformed"]
    for number, entry in enumerate(broken):
        ts = BEGAN_US // 1000 + (200, 5_000, 9_500)[number % 3]  # two of three long closed, one in an open window
        entry["payload"] = json.dumps({"ts": ts, "key": "repaired", "value": 1.0})
    repaired.write_text("".join(json.dumps(entry) + "\n" for entry in broken))
    ended = streamgauge("replay", tmp_path / "job.yaml", repaired)
    assert (ended.code, ended.err) == (0, "")
    assert f"{len(broken):,} brought in, 0 still dead" in ended.out
    assert len(letters(tmp_path)) == len(before) - len(broken)
    verified(tmp_path)
    feed.write(60)
    assert "resuming from the checkpoint" in to_end(tmp_path)
    verified(tmp_path)
    stored = [row for row in parquet_table(tmp_path / "out/fixed").to_pylist() if row["key"] == "repaired"]
    assert sum(row["rows"] for row in stored) == len(broken)


def test_an_interrupted_replay_is_finished_before_the_job_goes_on(tmp_path: Path, feed: Feed) -> None:
    feed.write(60)
    to_end(tmp_path)
    (tmp_path / ".streamgauge/live/replaying").touch()
    ended = finished(forked("run", tmp_path / "job.yaml", "--streaming"))
    assert (ended.code, "replay was interrupted" in ended.message) == (2, True)
    ended = streamgauge("verify", tmp_path / "job.yaml")
    assert (ended.code, "a replay was interrupted or is still running" in ended.message) == (2, True)
    assert streamgauge("replay", tmp_path / "job.yaml").code == 0
    to_end(tmp_path)
    verified(tmp_path)


def test_a_runner_that_is_killed_is_started_again(tmp_path: Path, feed: Feed) -> None:
    feed.write(60)
    process = forked("run", tmp_path / "job.yaml", "--streaming")
    until(lambda: kept_up_to(tmp_path), "chunk 61 as the next one", lambda chunk: chunk == 61)
    programs = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0] for pid in descendants(process.pid)}
    (prism,) = (pid for pid, program in programs.items() if program.endswith(b"/prism"))
    os.kill(prism, signal.SIGKILL)
    feed.write(60)
    until(lambda: kept_up_to(tmp_path), "chunk 121 as the next one", lambda chunk: chunk == 121)
    process.send_signal(signal.SIGTERM)
    ended = finished(process)
    assert (ended.code, ended.err) == (0, "")
    assert "it was killed, or ended without a word; resuming from the last checkpoint" in ended.out
    verified(tmp_path)


def mortal_prism(at: Path, lives: int) -> Path:
    """A Prism that is killed at birth so many times, and then lives."""
    script = f"""#!/bin/sh
: '
path\tgithub.com/apache/beam/sdks/v2/go/cmd/prism
'
echo born >> {at}/births
[ $(wc -l < {at}/births) -gt {lives} ] || kill -9 $$
exec {locate([])} "$@"
"""
    program = at / "prism"
    program.write_text(script)
    program.chmod(0o755)
    return program


def test_a_runner_that_is_killed_at_birth_is_started_again(tmp_path: Path, feed: Feed) -> None:
    feed.write(60)
    prism = {"STREAMGAUGE_PRISM": str(mortal_prism(tmp_path, 2))}
    ended = finished(forked("run", tmp_path / "job.yaml", "--streaming", "--to-end", env=prism))
    assert (ended.code, ended.err) == (0, "")
    words = "prism did not start: it was killed, or ended without a word; starting again"
    assert ended.out.count(words) == 2
    verified(tmp_path)


def test_a_runner_that_never_lives_ends_the_job_with_one_sentence(tmp_path: Path, feed: Feed) -> None:
    feed.write(60)
    prism = {"STREAMGAUGE_PRISM": str(mortal_prism(tmp_path, 99))}
    ended = finished(forked("run", tmp_path / "job.yaml", "--streaming", env=prism))
    assert ended.code == 1
    assert ended.message.splitlines() == [
        f"error: {tmp_path}/prism did not start: it was killed, or ended without a word"
    ]
    assert len((tmp_path / "births").read_text().splitlines()) == MOST_FAILURES + 1

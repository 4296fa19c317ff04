"""How a live job ends when it is asked to: before it has begun, while a sink is out of reach, with a slow step."""

import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.dataflow.jobs import changed, finished, start, write_job
from tests.dataflow.live_job import JOB, Feed, position, rows, to_end, verified
from tests.waiting import until
from transforms.collection.control import STOP, asked_for


def test_sigterm_while_libraries_are_imported_ends_a_live_job_with_0(tmp_path: Path, feed: Feed) -> None:
    feed.write(30)
    process = start("run", tmp_path / "job.yaml", "--streaming")
    maps = Path(f"/proc/{process.pid}/maps")
    until(maps.read_text, "the import of NumPy", lambda text: "numpy" in text)
    process.send_signal(signal.SIGTERM)
    ended = finished(process)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    to_end(tmp_path)
    verified(tmp_path)


def test_a_second_sigterm_does_not_wait_for_a_sink_and_nothing_is_lost(tmp_path: Path, feed: Feed) -> None:
    feed.write(60)
    process = start("run", tmp_path / "job.yaml", "--streaming")
    until(lambda: rows(tmp_path, "fixed"), "the rows of a window", lambda count: count >= 4)
    with closing(sqlite3.connect(tmp_path / "out/live.db", isolation_level=None, timeout=30)) as database:
        database.execute("BEGIN IMMEDIATE")
        feed.write(60)
        process.send_signal(signal.SIGTERM)
        until(lambda: asked_for(str(tmp_path / ".streamgauge/live/control")), "the first", lambda word: word == STOP)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert finished(process).code == 130
    to_end(tmp_path)
    verified(tmp_path)


SLOW = """
import time
from pathlib import Path

def slow(frame):
    if len(frame):
        Path(__file__).with_name("began").touch()
        time.sleep(len(frame) / 2000)
    return frame
"""


@pytest.mark.alone
def test_sigterm_ends_a_job_with_a_slow_step_within_seconds_however_much_waits_in_the_log(
    tmp_path: Path, feed: Feed
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    write_job(tmp_path, changed(JOB, preprocess=[*JOB["preprocess"], {"apply": "slow:slow"}]))
    feed.write(200, records=500)
    process = start("run", tmp_path / "job.yaml", "--streaming")
    until((tmp_path / "began").exists, "the first records in the slow step", unless=process.poll)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    ended = finished(process)
    assert (ended.code, ended.err) == (0, "")
    assert time.monotonic() - asked < 10
    assert 0 < position(tmp_path) < feed.writer.extent.end_position

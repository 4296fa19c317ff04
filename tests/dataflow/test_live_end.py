"""How a live job ends when it is asked to: before it has begun, and while a sink is out of reach."""

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.dataflow.jobs import finished, start, write_job
from tests.dataflow.live_job import JOB, Feed, rows, to_end, verified
from tests.waiting import until
from transforms.collection.control import STOP, asked_for


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    write_job(tmp_path, JOB)
    feed = Feed(tmp_path)
    yield feed
    feed.writer.close()


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

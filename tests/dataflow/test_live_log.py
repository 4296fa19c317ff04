"""A live job and its log: one that is not there yet, is gone, is another one, is repaired, or has no room left."""

import json
import os
import re
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dataflow.collector.client import Client
from tests.dataflow.collector.collecting import collecting
from tests.dataflow.forking import forked
from tests.dataflow.jobs import changed, finished, parquet_table, streamgauge, write_job
from tests.dataflow.live_job import JOB, Feed, kept_up_to, newest, position, to_end, verified
from tests.waiting import until
from transforms.collection.log.file import log_file
from transforms.collection.log.readers import readers
from transforms.collection.log.reading import LogReader
from transforms.collection.log.writer import LogWriter
from transforms.process import versions
from transforms.storage.checkpoint.folder import MANIFEST

pytestmark = pytest.mark.slow


def test_a_job_that_is_started_before_its_log_is_there_waits_for_it(tmp_path: Path) -> None:
    write_job(tmp_path, JOB)
    process = forked("run", tmp_path / "job.yaml", "--streaming")
    assert process.stdout is not None
    assert "waiting: " in (said := process.stdout.readline()) and "there is no log; `collect --log" in said
    feed = Feed(tmp_path)
    feed.write(30)
    until(lambda: kept_up_to(tmp_path), "chunk 31 as the next one", lambda chunk: chunk == 31)
    process.send_signal(signal.SIGTERM)
    assert finished(process).code == 0
    feed.writer.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_waiting_for_a_log_can_be_ended(tmp_path: Path, number: signal.Signals, code: int) -> None:
    write_job(tmp_path, JOB)
    process = forked("run", tmp_path / "job.yaml", "--streaming")
    assert process.stdout is not None and "waiting: " in process.stdout.readline()
    process.send_signal(number)
    assert finished(process).code == code


def test_a_job_whose_log_is_gone_ends_with_a_sentence(tmp_path: Path, feed: Feed) -> None:
    feed.write(30)
    process = forked("run", tmp_path / "job.yaml", "--streaming")
    until(lambda: kept_up_to(tmp_path), "chunk 31 as the next one", lambda chunk: chunk == 31)
    shutil.rmtree(tmp_path / "log")
    ended = finished(process)
    assert ended.code == 1, ended
    assert re.search(r"log\.db(-wal|-shm)? is gone while the log was in use", ended.message), ended


def test_a_log_that_was_made_again_is_refused_although_it_is_as_long(tmp_path: Path, feed: Feed) -> None:
    feed.write(30)
    to_end(tmp_path)
    feed.writer.close()
    shutil.rmtree(tmp_path / "log")
    again = Feed(tmp_path)
    again.write(40)
    feed.writer = again.writer
    ended = finished(forked("run", tmp_path / "job.yaml", "--streaming"))
    assert (ended.code, "is not the log that the job has read so far" in ended.message) == (2, True)


def test_a_checkpoint_of_an_earlier_version_learns_which_log_it_reads(tmp_path: Path, feed: Feed) -> None:
    feed.write(30)
    to_end(tmp_path)
    manifest = str(tmp_path / ".streamgauge/live" / MANIFEST)
    content = versions.content(manifest)
    for entry in content["checkpoints"]:
        entry["source"]["began"] = None
    versions.write(manifest, versions.numbers_in(manifest)[-1] + 1, json.dumps(content).encode())
    feed.write(10)
    to_end(tmp_path)
    with closing(LogReader(str(tmp_path / "log"))) as reader:
        assert newest(tmp_path)["source"]["began"] == {"log": reader.identity}
    verified(tmp_path)


def test_a_job_goes_on_behind_a_chunk_that_was_damaged_and_accounts_for_its_records(tmp_path: Path, feed: Feed) -> None:
    feed.write(60)
    feed.writer.close()
    with closing(sqlite3.connect(log_file(str(tmp_path / "log")))) as database, database:
        database.execute("UPDATE chunk SET payload = x'00' WHERE id = 20")
    ended = finished(forked("run", tmp_path / "job.yaml", "--streaming", "--to-end"))
    assert (ended.code, "chunk 20 is damaged" in ended.message, "--repair" in ended.message) == (1, True, True)
    assert streamgauge("collect", "--log", tmp_path / "log", "--repair").code == 0
    to_end(tmp_path)
    verified(tmp_path)
    letters = parquet_table(tmp_path / "out/dead_letters").to_pylist()
    lost = [letter for letter in letters if "the record was lost: chunk 20" in (letter["detail"] or "")]
    assert sorted(letter["position"] for letter in lost) == list(range(19 * 52, 20 * 52))
    book = parquet_table(tmp_path / "out/ledger")
    assert sum(book["read"].to_pylist()) == 60 * 52
    feed.writer = LogWriter(str(tmp_path / "log"))


def test_a_full_log_is_let_go_of_by_a_job_that_gets_nothing_new(tmp_path: Path) -> None:
    job = changed(JOB, source={"log": {"path": "log", "retain": "6s"}}, execution={"checkpoint": "500ms"})
    write_job(tmp_path, job)
    with collecting(tmp_path / "log", "--max-log-bytes", "300k", "--keep", "0s") as collector:
        process = forked("run", tmp_path / "job.yaml", "--streaming")
        until(lambda: readers(str(tmp_path / "log")), "the job as a reader")
        with Client("127.0.0.1", collector.port, "s", give_up_after=60) as client:
            for _ in range(40):  # much more than the log may hold at a time
                client.send([os.urandom(15_000).hex().encode()])
                client.flush()
        until(lambda: position(tmp_path), "40 records behind a checkpoint", lambda count: count == 40)
        process.send_signal(signal.SIGTERM)
        assert finished(process).code == 0
        _, err = collector.stop()
        assert "the log has more than 307,200 bytes" in err and "can be written again" in err
    assert sum(parquet_table(tmp_path / "out/ledger")["read"].to_pylist()) == 40

"""A log in trouble: too large, on a full disk, gone, or damaged. The collector says what it waits for, or ends."""

import os
import shutil
import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from dataflow.collector.client import Client
from tests.dataflow.collector.collecting import PATIENCE_SECONDS, Collecting, Talk, collecting, logged, numbered, text
from tests.dataflow.jobs import streamgauge
from tests.faults.small_disk import SmallDisk
from tests.waiting import until
from transforms.collection.log.file import log_file
from transforms.collection.log.inspection import damage
from transforms.collection.log.readers import announce, reader_file, readers
from transforms.collection.log.reading import LogReader
from transforms.specification import Seconds


class Err(threading.Thread):
    """What a collector says on stderr, while it runs."""

    def __init__(self, collector: Collecting):
        super().__init__(daemon=True)
        self.said = ""
        self._pipe = collector.process.stderr
        self.start()

    def run(self) -> None:
        assert self._pipe is not None
        with suppress(ValueError):
            for line in self._pipe:
                self.said += line

    def wait_for(self, words: str) -> str:
        until(lambda: words in self.said, f"the words {words!r}", said=lambda: self.said)
        return self.said


def end_of(log: Path) -> int:
    with closing(LogReader(str(log))) as reader:
        return reader.extent().end_chunk


def noise(size: int) -> bytes:
    return os.urandom(size).replace(b"\n", b" ") + b"\n"


def fill(talk: Talk, size: int = 10_000, most: int = 10_000) -> None:
    """Sends until nothing is answered for a while."""
    talk.socket.settimeout(1.5)
    with suppress(TimeoutError):
        for _ in range(most):
            talk.say(noise(size))
            assert talk.socket.recv(3) == b"OK\n"
    talk.socket.settimeout(PATIENCE_SECONDS)


def test_a_log_that_is_too_large_says_who_holds_it_and_what_frees_it(tmp_path: Path) -> None:
    with collecting(tmp_path / "log", "--max-log-bytes", "200k", "--keep", "0s") as collector:
        err = Err(collector)
        announce(str(collector.log), "flights-1a2b", 1, retain=Seconds(3600))
        announce(str(collector.log), "other", 10_000)
        with collector.connect() as talk:
            fill(talk)
            said = err.wait_for("cannot be written: the log has more than 204,800 bytes; clients wait")
            assert "Its oldest chunk, 1, is" in said
            assert "reader flights-1a2b holds it from chunk 1 on, last heard of" in said
            assert "and keeps `source.log.retain` of 1h" in said
            assert "other" not in said
            announce(str(collector.log), "flights-1a2b", end_of(collector.log))
            assert talk.socket.recv(3) == b"OK\n"
            err.wait_for("the log can be written again")


def test_a_log_that_nobody_reads_says_so_when_it_is_too_large(tmp_path: Path) -> None:
    with collecting(tmp_path / "log", "--max-log-bytes", "200k") as collector, collector.connect() as talk:
        err = Err(collector)
        fill(talk)
        err.wait_for("no job reads the log, and a log never forgets what no job has read")


def test_what_keep_holds_goes_as_time_goes_on_although_nothing_is_written(tmp_path: Path) -> None:
    with collecting(tmp_path / "log", "--max-log-bytes", "200k", "--keep", "4s") as collector:
        err = Err(collector)
        announce(str(collector.log), "job", 1_000_000)
        with collector.connect() as talk:
            fill(talk)
            said = err.wait_for("Every reader has passed its oldest chunk, 1, which is")
            assert "--keep is 4s" in said
            assert talk.socket.recv(3) == b"OK\n"


def test_a_chunk_that_is_larger_than_the_log_may_be_does_not_stop_it_for_good(tmp_path: Path) -> None:
    with collecting(tmp_path / "log", "--max-log-bytes", "100k", "--keep", "0s") as collector:
        announce(str(collector.log), "job", 1_000_000)
        with collector.connect() as talk:
            for _ in range(3):
                talk.say(noise(400_000))
                assert talk.answer() == b"OK\n"


def test_a_reader_that_is_silent_for_long_is_named_and_can_be_forgotten_meanwhile(tmp_path: Path) -> None:
    with collecting(tmp_path / "log", "--max-log-bytes", "200k", "--keep", "0s") as collector:
        log = collector.log
        announce(str(log), "retired", 1)
        announce(str(log), "job", 1_000_000)
        os.utime(reader_file(str(log), "retired"), (0, 0))
        err = Err(collector)
        said = err.wait_for("the log forgets nothing that a silent reader may need: reader retired holds it from chunk")
        assert f"`collect --log {log} --forget-reader retired`" in said
        with collector.connect() as talk:
            fill(talk)
            ended = streamgauge("collect", "--log", log, "--forget-reader", "retired")
            assert (ended.code, ended.err) == (0, "")
            assert ended.out.startswith("the log no longer keeps chunks for reader retired;")
            assert talk.socket.recv(3) == b"OK\n"
        assert readers(str(log)) == {"job": 1_000_000}
        assert err.said.count("a silent reader") == 1


def test_a_reader_that_is_not_there_cannot_be_forgotten(tmp_path: Path) -> None:
    with collecting(tmp_path / "log") as collector:
        announce(str(collector.log), "job", 1)
        ended = streamgauge("collect", "--log", collector.log, "--forget-reader", "jop")
        assert (ended.code, "has no reader jop; there are job" in ended.message) == (2, True)
        assert "only reader" in streamgauge("collect", "--log", collector.log, "--forget-reader", "job").out
        ended = streamgauge("collect", "--log", tmp_path / "nowhere", "--forget-reader", "job")
        assert (ended.code, "there is no log" in ended.message) == (2, True)
        ended = streamgauge("collect", "--log", collector.log, "--inspect", "--repair")
        assert (ended.code, "give only one of" in ended.message) == (2, True)


@pytest.mark.parametrize("name", ["log.db", "log.db-wal", "log.db-shm", "lock", ""])
def test_a_collector_whose_log_is_gone_acknowledges_nothing_more_and_ends(tmp_path: Path, name: str) -> None:
    with collecting(tmp_path / "log") as collector, collector.session("s") as talk, collector.connect() as idle:
        talk.say(text(numbered(0, 10)))
        talk.acknowledged(10)
        if name:
            (collector.log / name).unlink()
        else:
            shutil.rmtree(collector.log)
        talk.say(b"never\n")
        answers = talk.rest()
        assert not answers.startswith(b"OK") and b"OK 11" not in answers
        assert b"ERR log_failed the log can no longer be written" in answers
        assert idle.rest().startswith(b"ERR log_failed ")
        _, err = collector.process.communicate(timeout=PATIENCE_SECONDS)
        assert collector.process.returncode == 1
        assert "is gone while the log was in use" in err
        assert "Traceback" not in err


def test_a_collector_whose_log_is_replaced_while_nobody_sends_ends(tmp_path: Path) -> None:
    with collecting(tmp_path / "log") as collector, collecting(tmp_path / "other") as other:
        other.stop()
        collector.log.rename(tmp_path / "aside")
        other.log.rename(collector.log)
        _, err = collector.process.communicate(timeout=5)
        assert collector.process.returncode == 1
        assert "was replaced by another file while the log was in use" in err


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "disk", 40)
    yield disk
    disk.close()


@pytest.mark.parametrize("restarted", [False, True])
def test_a_log_that_fills_its_disk_goes_on_when_its_readers_have_passed(
    tmp_path: Path, disk: SmallDisk, restarted: bool
) -> None:
    with collecting(tmp_path / "disk/log", "--keep", "0s") as collector:
        announce(str(collector.log), "job", 1, retain=Seconds(60))
        err = Err(collector)
        with collector.connect() as talk:
            fill(talk, 100_000)
            said = err.wait_for("full; clients wait. Its oldest chunk, 1, is")
            assert "reader job holds it from chunk 1 on" in said
        if restarted:
            collector.process.send_signal(signal.SIGKILL)
            collector.process.wait()
            collector.start()
        with collector.connect() as talk:
            talk.say(noise(100_000))
            announce(str(collector.log), "job", end_of(collector.log))
            for _ in range(100):
                assert talk.answer() == b"OK\n"
                announce(str(collector.log), "job", end_of(collector.log))
                talk.say(noise(100_000))
        assert collector.stop()[0] == 0, err.said
    assert damage(str(tmp_path / "disk/log")) == []


def spoil(log: Path, statement: str) -> None:
    with closing(sqlite3.connect(log_file(str(log)))) as database, database:
        database.execute(statement)


def test_a_damaged_log_says_what_is_lost_and_is_repaired(tmp_path: Path) -> None:
    with collecting(tmp_path / "log") as collector:
        with Client("127.0.0.1", collector.port, "gate 7") as client:
            client.send(numbered(0, 100))
        collector.stop()
        spoil(collector.log, "UPDATE chunk SET payload = x'00' WHERE count > 0")
        ended = streamgauge("collect", "--log", collector.log, "--inspect")
        assert (ended.code, "is damaged: its checksum does not match" in ended.err) == (1, True)
        assert "the 100 records from 0 on, as far as can be read of gate 7 100" in ended.out
        assert f"`collect --log {collector.log} --repair` makes the log whole and gives up 100 records" in ended.out
        ended = streamgauge("collect", "--log", collector.log, "--repair")
        assert (ended.code, ended.err) == (0, "")
        assert "the 100 records from 0 on" in ended.out
        assert "whole again, from record 0; 100 of its records were given up" in ended.out
        assert "nothing to repair" in streamgauge("collect", "--log", collector.log, "--repair").out
        assert streamgauge("collect", "--log", collector.log, "--inspect").code == 0
        collector.start()
        with collector.session("gate 7") as talk:
            assert talk.next == 100
        refused = streamgauge("collect", "--log", collector.log, "--repair")
        assert refused.code == 0 and "nothing to repair" in refused.out
    assert logged(tmp_path / "log") == {"": [b"lost"] * 100}


def test_a_log_with_a_broken_page_is_inspected_with_a_sentence(tmp_path: Path) -> None:
    with collecting(tmp_path / "log") as collector:
        with collector.connect() as talk:
            talk.say(text(numbered(0, 10)))
            assert talk.answer() == b"OK\n"
        collector.stop()
    file = Path(log_file(str(tmp_path / "log")))
    whole = file.read_bytes()
    for page in range(1, len(whole) // 4096):
        spoilt = bytearray(whole)
        spoilt[page * 4096 : (page + 1) * 4096] = b"\xff" * 4096
        file.write_bytes(spoilt)
        ended = streamgauge("collect", "--log", tmp_path / "log", "--inspect")
        assert ended.code in (0, 1, 2)
        assert ended.code == 0 or ended.message
        collector_ended = streamgauge("collect", "--log", tmp_path / "log", "--repair")
        assert collector_ended.code in (0, 2)


def test_an_address_that_is_taken_is_said_as_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = streamgauge("collect", "--log", tmp_path / "log", "--host", "localhost", "--port", port)
        assert (ended.code, "address already in use" in ended.message.lower()) == (2, True)

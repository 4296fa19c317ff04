"""The collector over TCP: what it answers, what it refuses, and that no client pays for another."""

import resource
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.dataflow.collector.collecting import PATIENCE_SECONDS, Collecting, collecting, logged, numbered, text
from tests.dataflow.jobs import streamgauge
from tests.waiting import until
from transforms.collection.log.file import log_file
from transforms.collection.log.inspection import summarize
from transforms.collection.log.readers import announce
from transforms.collection.log.reading import LogReader

MiB = 1 << 20


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collecting]:
    with collecting(tmp_path / "log") as running:
        yield running


class Bystander(threading.Thread):
    """A well-behaved session that sends a line at a time, and measures how long each answer takes."""

    def __init__(self, collector: Collecting):
        super().__init__(daemon=True)
        self._talk = collector.session("bystander")
        self._over = threading.Event()
        self.seconds: list[float] = []

    def run(self) -> None:
        while not self._over.wait(0.005):
            begun = time.perf_counter()
            self._talk.say(b"here\n")
            self._talk.acknowledged(len(self.seconds) + 1)
            self.seconds.append(time.perf_counter() - begun)

    def p99(self) -> float:
        self._over.set()
        self.join()
        self._talk.close()
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]


@contextmanager
def others_unharmed(collector: Collecting) -> Iterator[None]:
    bystander = Bystander(collector)
    bystander.start()
    yield
    assert bystander.p99() < 0.25  # what it is on an idle machine: about 0.01
    assert len(bystander.seconds) > 20


def test_plain_lines_are_answered_in_order_when_they_are_in_the_log(collector: Collecting) -> None:
    with collector.connect() as talk:
        for line in (b'{"carrier": "UA"}', b"no JSON", b"", b"\xff\x00\r"):
            talk.say(line + b"\n")
            assert talk.answer() == b"OK\n"
            assert logged(collector.log)["plain"][-1] == line


def test_printf_into_nc_prints_ok(collector: Collecting) -> None:
    with collector.connect() as talk:
        talk.say(b'{"carrier": "UA"}\nsecond\n')
        talk.end()
        assert talk.rest() == b"OK\nOK\n"


def test_a_line_without_its_newline_is_no_record(collector: Collecting) -> None:
    with collector.connect() as talk:
        talk.say(b"whole\nunfinished")
        talk.end()
        assert talk.rest() == b"OK\n"
    with collector.connect() as talk:
        talk.end()
        assert talk.rest() == b""
    assert logged(collector.log) == {"plain": [b"whole"]}


def test_a_session_is_acknowledged_by_number_and_goes_on(collector: Collecting) -> None:
    with collector.session("gate 7") as talk:
        assert talk.next == 0
        talk.say(text(numbered(0, 5)))
        talk.acknowledged(5)
        talk.say(text(numbered(5, 7)) + b'{"n":')
        talk.acknowledged(7)
    with collector.session("gate 7") as talk:
        assert talk.next == 7
    with collector.session("gate 8") as talk:
        assert talk.next == 0
    assert logged(collector.log) == {"gate 7": numbered(0, 7)}


def test_lines_right_behind_hello_count_from_its_number(collector: Collecting) -> None:
    for begin in (0, 3):
        with collector.connect() as talk:
            talk.say(b'HELLO {"source": "s"}\n' + text(numbered(begin, begin + 3)))
            assert talk.ready() == begin
            talk.acknowledged(begin + 3)


def test_a_new_session_supersedes_the_old_one_and_knows_what_it_left(collector: Collecting) -> None:
    for turn in range(20):
        with collector.session("s") as old, collector.connect() as new:
            old.say(text(numbered(old.next, old.next + 1000)))
            new.hello("s")
            begin = new.ready()
            assert old.rest().endswith(b"ERR superseded another connection has opened this session\n")
            assert (begin - old.next) in range(1001), turn
            new.say(text(numbered(begin, begin + 10)))
            new.acknowledged(begin + 10)
    lines = logged(collector.log)["s"]
    assert lines == numbered(0, len(lines))


def test_a_connection_cut_within_hello_or_a_line_harms_nobody(collector: Collecting) -> None:
    hello = b'HELLO {"source": "s"}\n'
    for cut in range(1, len(hello)):
        with collector.connect() as talk:
            talk.say(hello[:cut])
    with collector.session("s") as talk:
        talk.say(b"a\nb")
    with collector.session("s") as talk:
        assert talk.next in (0, 1)
    assert logged(collector.log) in ({}, {"s": [b"a"]})


def test_silence_is_logged_and_time_goes_on_over_restarts(tmp_path: Path) -> None:
    with collecting(tmp_path / "log") as collector:
        time.sleep(2.3)
        collector.stop()
        before = summarize(str(collector.log))
        assert before.heartbeats >= 2
        assert 1_900_000 < before.elapsed < 4_000_000
        collector.start()
        time.sleep(1.2)
        collector.process.send_signal(signal.SIGSTOP)
        time.sleep(3.5)
        collector.process.send_signal(signal.SIGCONT)
        time.sleep(0.3)
        collector.stop()
        after = summarize(str(collector.log))
        assert before.elapsed + 1_000_000 <= after.elapsed < before.elapsed + 4_300_000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_answers_what_is_durable_and_ends_with_zero(tmp_path: Path, number: signal.Signals) -> None:
    with (
        collecting(tmp_path / "log") as collector,
        collector.connect() as plain,
        collector.session("s") as session,
    ):
        plain.say(b"p\n" * 10_000)
        session.say(b"s\n" * 10_000)
        assert (plain.answer(), session.answer()[:3]) == (b"OK\n", b"OK ")
        assert collector.stop(number) == (0, "")
        answered = b"OK\n" + plain.rest()
        assert answered == b"OK\n" * len(logged(collector.log)["plain"])
        assert set(session.rest().splitlines()) <= {b"OK %d" % count for count in range(10_001)}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"HELLO {}\n", b"bad_hello"),
        (b'HELLO {"source": "plain"}\n', b"bad_hello"),
        (b"x" * 101, b"line_too_long"),
        (b"ok\nok\n" + b"x" * 101 + b"\nnever\n", b"line_too_long"),
        (b"unfinished", b"line_timeout"),
        (b"", b"idle_timeout"),
        (b'HELLO {"source": "s"}\n', b"idle_timeout"),
    ],
)
def test_every_limit_has_its_answer(tmp_path: Path, said: bytes, reason: bytes) -> None:
    options = ("--max-line", "100", "--line-timeout", "400ms", "--idle-timeout", "800ms")
    with collecting(tmp_path / "log", *options) as collector, collector.connect() as talk:
        talk.say(said)
        *answers, last = talk.rest().splitlines()
        assert last.startswith(b"ERR " + reason + b" ")
        assert answers.count(b"OK") == said.count(b"ok\n")


def test_a_line_that_drips_is_ended_and_one_that_pauses_between_lines_is_not(tmp_path: Path) -> None:
    with (
        collecting(tmp_path / "log", "--line-timeout", "600ms") as collector,
        collector.connect() as slow,
        collector.connect() as steady,
    ):
        for _ in range(8):
            slow.say(b"x")
            steady.say(b"y\n")
            time.sleep(0.1)
        steady.say(b"z\n")
        assert slow.rest().startswith(b"ERR line_timeout ")
        assert [steady.answer() for _ in range(9)] == [b"OK\n"] * 9


def test_too_many_connections_are_refused_until_one_leaves(tmp_path: Path) -> None:
    with collecting(tmp_path / "log", "--max-connections", "3") as collector, ExitStack() as stack:
        first, *_ = [stack.enter_context(collector.session(f"s{number}")) for number in range(3)]
        for _ in range(50):
            with collector.connect() as talk:
                assert talk.rest().startswith(b"ERR too_many_connections ")
        first.end()
        first.rest()
        with collector.session("new") as talk:
            talk.say(b"in\n")
            talk.acknowledged(1)


def test_a_token_opens_sessions_and_nothing_else_does(tmp_path: Path) -> None:
    options, env = ("--token-env", "GATE_TOKEN"), {"GATE_TOKEN": "wörd"}
    with collecting(tmp_path / "log", *options, env=env) as collector:
        with collector.session("s", token="wörd") as talk:
            talk.say(b"in\n")
            talk.acknowledged(1)
        for fields in ({}, {"token": ""}, {"token": "word"}, {"token": "\ud800"}):
            with collector.connect() as talk:
                talk.hello("s", **fields)
                assert talk.rest() == b"ERR bad_token the token is wrong\n"
        with collector.connect() as talk:
            talk.say(b"record\n")
            assert talk.rest().startswith(b"ERR token_needed ")
    assert logged(tmp_path / "log") == {"s": [b"in"]}


@pytest.mark.alone
def test_a_line_of_a_gigabyte_costs_others_nothing(collector: Collecting) -> None:
    piece = b"x" * MiB
    with others_unharmed(collector), collector.connect() as talk:
        sent = 0
        try:
            for _ in range(1024):
                talk.socket.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
        assert sent < 64 * MiB
        time.sleep(0.5)
    assert collector.memory_peak() < 200 * MiB
    with collector.connect() as talk:
        talk.say(piece + b"x")
        assert talk.rest().startswith(b"ERR line_too_long ")


@pytest.mark.alone
def test_many_long_lines_that_never_end_stay_within_the_memory(tmp_path: Path) -> None:
    with collecting(tmp_path / "log", "--max-in-flight", "4MiB") as collector, ExitStack() as stack:
        with others_unharmed(collector):
            talks = [stack.enter_context(collector.connect()) for _ in range(60)]
            for talk in talks:
                talk.say(b"x" * (MiB - 1))
            time.sleep(0.3)
        refused = 0
        for talk in talks:
            talk.socket.settimeout(0.01)
            refused += talk.rest().startswith(b"ERR busy ")
        assert refused >= 50
        assert collector.memory_peak() < 160 * MiB


@pytest.mark.alone
def test_a_client_that_never_reads_costs_others_nothing(tmp_path: Path) -> None:
    with collecting(tmp_path / "log", "--max-in-flight", "8MiB", "--idle-timeout", "3s") as collector:
        with others_unharmed(collector), ExitStack() as stack:
            talks = [stack.enter_context(collector.connect()) for _ in range(20)]
            for talk in talks:
                talk.socket.setblocking(False)
            until = time.monotonic() + 2
            while time.monotonic() < until:
                for talk in talks:
                    try:
                        talk.socket.send(b"\n" * 65536)
                    except BlockingIOError:
                        time.sleep(0.001)
                    except OSError:
                        pass
        assert collector.memory_peak() < 250 * MiB


@pytest.mark.alone
def test_two_thousand_idle_and_two_hundred_busy_connections(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    try:
        with collecting(tmp_path / "log") as collector, ExitStack() as stack:
            idle = [stack.enter_context(collector.connect()) for _ in range(2000)]
            busy = [stack.enter_context(collector.connect()) for _ in range(200)]
            for number, talk in enumerate(busy):
                talk.hello(f"busy {number}")
            assert [talk.ready() for talk in busy] == [0] * 200
            with others_unharmed(collector):
                for turn in range(50):
                    for talk in busy:
                        talk.say(text(numbered(turn * 20, turn * 20 + 20)))
                    for talk in busy:
                        talk.acknowledged(turn * 20 + 20)
            for talk in idle[::100]:
                talk.say(b"still here\n")
                assert talk.answer() == b"OK\n"
            lines = logged(collector.log)
            assert all(lines[f"busy {number}"] == numbered(0, 1000) for number in range(200))
            assert collector.memory_peak() < 300 * MiB
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_clients_wait_while_the_log_is_locked_and_then_go_on(collector: Collecting) -> None:
    with collector.session("s") as talk, closing(sqlite3.connect(log_file(str(collector.log)))) as other:
        talk.say(b"before\n")
        talk.acknowledged(1)
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        talk.say(b"meanwhile\n")
        talk.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            talk.socket.recv(100)
        other.execute("ROLLBACK")
        talk.socket.settimeout(10)
        assert talk.socket.recv(100) == b"OK 2\n"


def test_a_client_that_is_gone_harms_no_other_when_the_collector_ends(collector: Collecting) -> None:
    """The collector reads from no client while it ends, so it cannot notice that one is gone."""
    with collector.session("s") as talk, closing(sqlite3.connect(log_file(str(collector.log)))) as other:
        gone = [collector.connect() for _ in range(20)]
        talk.say(b"before\n")
        talk.acknowledged(1)
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        talk.say(b"meanwhile\n")
        collector.process.send_signal(signal.SIGTERM)
        until(lambda: refuses(collector.port), "a collector that accepts no client")
        for each in gone:
            each.reset()
        other.execute("ROLLBACK")
        talk.acknowledged(2)
        assert talk.rest() == b""
    _, err = collector.process.communicate(timeout=PATIENCE_SECONDS)
    assert (collector.process.returncode, "error" in err) == (0, False), err


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_log_that_is_too_large_waits_for_its_readers(tmp_path: Path) -> None:
    with collecting(tmp_path / "log", "--max-log-bytes", "200k", "--keep", "0s") as collector:
        with collector.connect() as talk, open("/dev/urandom", "rb") as noise:
            sent = 0
            talk.socket.settimeout(0.7)
            try:
                while sent < 100:
                    talk.say(noise.read(10_000).replace(b"\n", b"") + b"\n")
                    sent += 1
                    assert talk.socket.recv(3) == b"OK\n"
            except TimeoutError:
                pass
            assert 10 < sent < 40
            with closing(LogReader(str(collector.log))) as reader:
                announce(str(collector.log), "job", reader.extent().end_chunk)
            talk.socket.settimeout(10)
            assert talk.socket.recv(3) == b"OK\n"
        _, err = collector.stop()
        assert "the log has more than 204,800 bytes" in err
        assert "can be written again" in err


def test_the_command_line_says_what_is_wrong(tmp_path: Path, collector: Collecting) -> None:
    log = tmp_path / "other"
    for options, message in {
        ("--max-line", "1GiB"): "max_line must be at most",
        ("--max-line", "lots"): "--max-line must be a number of bytes",
        ("--keep", "5"): "--keep must be a duration",
        ("--token-env", "NO_SUCH_VARIABLE"): "NO_SUCH_VARIABLE is not set",
        ("--max-in-flight", "1k"): "max_in_flight must hold a line",
        ("--idle-timeout", "0s"): "idle_timeout must be longer than 0s",
        ("--port", str(collector.port)): "address already in use",
    }.items():
        ended = streamgauge("collect", "--log", log, *options)
        assert ended.code == 2
        assert message in ended.message.lower() or message in ended.message
    ended = streamgauge("collect", "--log", collector.log, "--port", "0")
    assert ended.code == 2
    assert "another collector writes to this log" in ended.message


def test_inspect_shows_the_log_while_it_is_written_and_finds_damage(collector: Collecting) -> None:
    with collector.session("gate 7") as talk, collector.connect() as plain:
        talk.say(text(numbered(0, 100)))
        talk.acknowledged(100)
        plain.say(b"p\n")
        assert plain.answer() == b"OK\n"
    announce(str(collector.log), "job", 2)
    ended = streamgauge("collect", "--log", collector.log, "--inspect")
    assert ended.code == 0
    for shown in ("101  [0, 101)", "gate 7  next 100", "job  passed chunk 2", "whole", "to 1"):
        assert shown in ended.out
    collector.stop()
    with closing(sqlite3.connect(log_file(str(collector.log)))) as database, database:
        database.execute("UPDATE chunk SET received = received + 1 WHERE id = 2")
    ended = streamgauge("collect", "--log", collector.log, "--inspect")
    assert ended.code == 1
    assert "chunk 2 is damaged" in ended.err
    assert "DAMAGED" in ended.out
    assert streamgauge("collect", "--log", collector.log / "nowhere", "--inspect").code == 2


def test_the_collector_does_not_import_beam(tmp_path: Path, collector: Collecting) -> None:
    maps = Path(f"/proc/{collector.process.pid}/maps").read_text()
    assert "apache_beam" not in maps
    with socket.create_connection(("127.0.0.1", collector.port)):
        assert collector.memory_peak() < 150 * MiB

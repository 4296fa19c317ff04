"""The door: as many clients as there are files for, on every address, and a word for each that is refused."""

import resource
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from dataflow.collector.door import listen
from dataflow.collector.protocol import ClientRefused
from dataflow.collector.refusals import MOST, RefusalLog
from tests.dataflow.collector.collecting import Collecting, Talk, collecting
from tests.dataflow.collector.test_log_trouble import Err

FILES, CLIENTS = 256, 400


def limited(collector: Collecting, files: int) -> None:
    resource.prlimit(collector.process.pid, resource.RLIMIT_NOFILE, (files, files))


def test_more_clients_than_there_are_files_for_are_all_answered(tmp_path: Path) -> None:
    """The limit holds from the start on, as a service manager sets it."""
    with collecting(tmp_path / "log", files=FILES) as collector, ExitStack() as stack:
        err = Err(collector)
        talks = [stack.enter_context(Talk(collector.port)) for _ in range(CLIENTS)]
        for number, talk in enumerate(talks):
            talk.say(b"%d\n" % number)
        answers = [talk.answer() for talk in talks]
        assert set(answers) == {b"OK\n", b"ERR too_many_connections there are already 192\n"}
        assert answers.count(b"OK\n") == 192
        err.wait_for("the limit of open files leaves room for 192 connections")
        err.wait_for("refused 127.0.0.1: too_many_connections, there are already 192")
        assert "Traceback" not in err.said and len(err.said.splitlines()) < 10


def test_a_collector_that_has_no_file_left_lets_clients_wait_and_says_so(tmp_path: Path) -> None:
    with collecting(tmp_path / "log") as collector, ExitStack() as stack:
        err = Err(collector)
        limited(collector, 48)
        talks = [stack.enter_context(Talk(collector.port)) for _ in range(60)]
        err.wait_for("no client can be accepted for the moment: Too many open files")
        for talk in talks[:40]:
            talk.close()
        for talk in talks[40:]:
            talk.say(b"in\n")
            assert talk.answer() == b"OK\n"
        assert "Traceback" not in err.said and len(err.said.splitlines()) == 1


def test_localhost_is_both_of_its_addresses_and_two_colons_are_all(tmp_path: Path) -> None:
    for host, said in (("localhost", r"127\.0\.0\.1:(\d+) and \[::1\]:\1 into"), ("::", r"\[::\]:(\d+) into")):
        with collecting(tmp_path / host, "--host", host, said=said) as collector:
            for address in ("127.0.0.1", "::1"):
                with socket.create_connection((address, collector.port), 10) as client:
                    client.sendall(b"x\n")
                    assert client.recv(10) == b"OK\n"


def test_an_address_that_the_machine_has_not_is_refused_and_the_other_of_two_will_do() -> None:
    with pytest.raises(OSError, match="Cannot assign requested address"):
        listen("192.0.2.1", 0)
    for listening in listen("localhost", 0):
        listening.close()


@pytest.fixture
def reported() -> list[str]:
    return []


def test_refusals_are_reported_once_a_minute_for_each_reason_and_address(reported: list[str]) -> None:
    log = RefusalLog(reported.append)
    token = ClientRefused("bad_token", "the token is wrong")
    for second in range(50):
        log.note(token, "10.0.0.1", second)
    log.note(token, "10.0.0.2", 50)
    log.note(ClientRefused("idle_timeout", "nothing was received for too long"), "10.0.0.3", 50)
    assert reported == [
        "refused 10.0.0.1: bad_token, the token is wrong",
        "refused 10.0.0.2: bad_token, the token is wrong",
    ]
    log.look_at_the_clock(59)
    assert len(reported) == 2
    log.look_at_the_clock(60)
    assert reported[2:] == ["refused 10.0.0.1 49 times more in a minute: bad_token, the token is wrong"]
    log.look_at_the_clock(200)
    log.note(token, "10.0.0.1", 201)
    assert len(reported) == 4


def test_addresses_without_end_take_no_memory_and_no_lines_without_end(reported: list[str]) -> None:
    log = RefusalLog(reported.append)
    for number in range(3 * MOST):
        log.note(ClientRefused("bad_token", "no"), f"10.0.{number}", 0)
    assert len(reported) == MOST + 1
    assert reported[-1] == "refused other addresses: bad_token, no"
    log.look_at_the_clock(60)
    assert reported[-1] == f"refused other addresses {2 * MOST - 1:,} times more in a minute: bad_token, no"


def test_a_collector_reports_refused_clients(tmp_path: Path) -> None:
    options, env = ("--token-env", "GATE_TOKEN"), {"GATE_TOKEN": "secret"}
    with collecting(tmp_path / "log", *options, env=env) as collector:
        for _ in range(5):
            with collector.connect() as talk:
                talk.hello("s", token="wrong")
                assert talk.rest().startswith(b"ERR bad_token ")
        _, err = collector.stop()
        assert err == "refused 127.0.0.1: bad_token, the token is wrong\n"

"""Faults: whatever is killed, cut or filled up, the log holds what was acknowledged, each record of a session once."""

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dataflow.collector.client import Client, ClientError
from tests.dataflow.collector.collecting import collecting, logged, numbered, text
from tests.dataflow.jobs import streamgauge

MiB = 1 << 20


class Sender(threading.Thread):
    """Sends numbered lines in a session until it is told to stop, whatever happens to the collector."""

    def __init__(self, port: int, source: str, seed: int):
        super().__init__(daemon=True)
        self.source = source
        self.acknowledged = 0
        self.sent = 0
        self.failure: Exception | None = None
        self._port = port
        self._dice = random.Random(seed)
        self._over = threading.Event()

    def run(self) -> None:
        try:
            with Client("127.0.0.1", self._port, self.source, give_up_after=30) as client:
                while not self._over.is_set():
                    client.send(numbered(client.next, client.next + self._dice.randrange(1, 300)))
                    self.acknowledged = client.acknowledged
                    client.wait(self._dice.random() * 0.004)
                client.flush()
                self.sent = self.acknowledged = client.next
        except ClientError as error:
            self.failure = error

    def stop(self) -> None:
        self._over.set()
        self.join(60)
        assert not self.is_alive()
        assert self.failure is None, self.failure


def test_killed_again_and_again_every_record_is_there_once_and_in_order(tmp_path: Path) -> None:
    dice = random.Random(20)
    with collecting(tmp_path / "log") as collector:
        senders = [Sender(collector.port, f"s{number}", number) for number in range(3)]
        for sender in senders:
            sender.start()
        for _ in range(6):
            time.sleep(dice.random() * 0.4)
            collector.kill()
            promised = {sender.source: sender.acknowledged for sender in senders}
            held = logged(collector.log)
            for source, count in promised.items():
                lines = held.get(source, [])
                assert lines == numbered(0, len(lines))
                assert len(lines) >= count
            collector.start()
        for sender in senders:
            sender.stop()
        assert collector.stop() == (0, "")
        for sender in senders:
            assert sender.sent > 1000
            assert logged(collector.log)[sender.source] == numbered(0, sender.sent)


def test_every_plain_ok_before_a_kill_is_in_the_log(tmp_path: Path) -> None:
    dice = random.Random(5)
    promised: set[bytes] = set()
    with collecting(tmp_path / "log") as collector:
        for turn in range(5):
            with collector.connect() as talk:
                threading.Timer(dice.random() * 0.3, collector.process.kill).start()
                sent = 0
                with suppress(OSError):
                    while True:
                        talk.say(text(numbered(turn * 10**6 + sent, turn * 10**6 + sent + 10)))
                        for number in range(sent, sent + 10):
                            if talk.answer() != b"OK\n":
                                raise ConnectionError
                            promised.update(numbered(turn * 10**6 + number, turn * 10**6 + number + 1))
                        sent += 10
            collector.process.communicate()
            collector.start()
    assert len(promised) > 100
    assert promised <= set(logged(collector.log)["plain"])


def test_connections_that_come_doubled_and_out_of_order_enter_each_record_once(tmp_path: Path) -> None:
    dice = random.Random(9)
    with collecting(tmp_path / "log") as collector:
        acknowledged, talks = 0, [collector.session("s")]
        for _ in range(60):
            older = dice.choice(talks)
            talk = collector.session("s")
            assert talk.next >= acknowledged
            with suppress(OSError):  # it is superseded: nothing that it says counts any more
                older.say(b"too late\n" * 100)
            upto = talk.next + dice.randrange(1, 500)
            data = text(numbered(talk.next, upto))
            if dice.random() < 0.5:
                talk.say(data)
                talk.acknowledged(upto)
                acknowledged = upto
            else:
                talk.say(data[: dice.randrange(len(data))])
            if dice.random() < 0.5:
                talk.close()
            else:
                talks.append(talk)
        for talk in talks:
            talk.close()
        lines = logged(collector.log)["s"]
        assert len(lines) >= acknowledged > 1000
        assert lines == numbered(0, len(lines))


def test_a_collector_that_was_stopped_for_a_while_goes_on(tmp_path: Path) -> None:
    with collecting(tmp_path / "log", "--line-timeout", "1s", "--idle-timeout", "1s") as collector:
        sender = Sender(collector.port, "s", 1)
        sender.start()
        time.sleep(0.3)
        collector.process.send_signal(signal.SIGSTOP)
        time.sleep(3)
        collector.process.send_signal(signal.SIGCONT)
        time.sleep(0.3)
        sender.stop()
        assert logged(collector.log)["s"] == numbered(0, sender.sent)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_holds_clients_back_and_loses_nothing(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * (21 * MiB))
    with collecting(small_disk / "log") as collector:
        noise = [os.urandom(3000).hex().encode() for _ in range(1500)]
        done = threading.Event()

        def send() -> None:
            with Client("127.0.0.1", collector.port, "s", give_up_after=40) as client:
                client.send(noise)
            done.set()

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        assert not done.wait(1.5)
        assert collector.process.poll() is None
        with collector.connect() as talk:
            talk.say(b"plain\n")
            talk.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                talk.socket.recv(10)
            held = len(logged(collector.log).get("s", []))
            assert held < len(noise)
            ballast.unlink()
            talk.socket.settimeout(20)
            if not done.wait(20):
                pytest.fail(f"not sent: {collector.stop()}")
            assert talk.socket.recv(10) == b"OK\n"
        code, err = collector.stop()
        assert code == 0
        assert "full" in err
        assert "can be written again" in err
    assert logged(small_disk / "log") == {"s": noise, "plain": [b"plain"]}


def test_a_collector_with_a_full_disk_can_be_killed_and_ended(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * (21 * MiB))
    noise = [os.urandom(3000).hex().encode() for _ in range(1000)]
    acknowledged = 0
    with collecting(small_disk / "log") as collector:
        talk = collector.session("s")
        talk.socket.settimeout(0.7)
        with suppress(TimeoutError):
            for line in noise:
                talk.say(line + b"\n")
                talk.acknowledged(acknowledged + 1)
                acknowledged += 1
        assert 0 < acknowledged < len(noise)
        assert collector.stop()[0] == 0
        ballast.unlink()
        collector.start()
        with collector.session("s") as again:
            assert again.next in (acknowledged, acknowledged + 1)
            again.say(text(noise[again.next :]))
            again.acknowledged(len(noise))
        talk.close()
    assert logged(small_disk / "log") == {"s": noise}


def test_the_log_stays_readable_by_inspect_after_a_kill(tmp_path: Path) -> None:
    with collecting(tmp_path / "log") as collector, collector.session("s") as talk:
        talk.say(text(numbered(0, 1000)))
        talk.acknowledged(1000)
        collector.kill()
        ended = streamgauge("collect", "--log", collector.log, "--inspect")
        assert (ended.code, "s  next 1,000" in ended.out) == (0, True)

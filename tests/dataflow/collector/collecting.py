"""A collector as its users run it: in a process of its own, on a free port, killed and started again."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from tests.dataflow.jobs import COMMAND, ROOT
from tests.faults.proxy import RESET
from transforms.collection.log.inspection import damage
from transforms.collection.log.reading import LogReader

PATIENCE_SECONDS: Final = 30


class Collecting:
    """A running collector; its port stays the same when it is started again."""

    def __init__(
        self,
        log: Path,
        *options: str,
        env: dict[str, str] | None = None,
        files: int | None = None,
        said: str = r"127\.0\.0\.1:(\d+) into ",
    ):
        self.log = log
        self._files = files
        self._said = said
        self._options = options
        self._env = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
        self.port = 0
        self.start()

    def start(self) -> None:
        command = [*COMMAND, "collect", "--log", str(self.log), "--port", str(self.port), *self._options]
        if self._files is not None:
            command = ["prlimit", f"--nofile={self._files}:{self._files}", *command]
        self.process = subprocess.Popen(
            command, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        self.ready = self.process.stdout.readline()
        found = re.match(f"collecting on {self._said}", self.ready)
        assert found, self.process.stderr.read()
        self.port = int(found[1])

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Ends it as a service manager does; its exit code and what it said on stderr."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, err

    def memory_peak(self) -> int:
        """Bytes of memory that it had at most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024

    def connect(self) -> "Talk":
        return Talk(self.port)

    def session(self, source: str, **fields: str) -> "Talk":
        """A session that is open, and the number it goes on with."""
        talk = self.connect()
        talk.hello(source, **fields)
        talk.next = talk.ready()
        return talk


class Talk:
    """One connection, spoken by hand."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        self.socket.settimeout(PATIENCE_SECONDS)
        self._answers = self.socket.makefile("rb")
        self.next = 0

    def hello(self, source: str, **fields: str) -> None:
        import json

        self.say(b"HELLO " + json.dumps({"source": source, **fields}).encode() + b"\n")

    def ready(self) -> int:
        found = re.fullmatch(rb'READY \{"next": (\d+)\}\n', line := self.answer())
        assert found, line
        return int(found[1])

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> bytes:
        """The next line, or nothing once the collector has closed."""
        return self._answers.readline()

    def rest(self) -> bytes:
        """Everything until the collector closes, or the connection breaks."""
        said = b""
        try:
            while data := self._answers.read1():
                said += data
        except OSError:
            pass
        return said

    def acknowledged(self, number: int) -> None:
        """Waits until the records before `number` are acknowledged."""
        while (line := self.answer()) != b"OK %d\n" % number:
            assert line.startswith(b"OK "), line
            assert int(line[3:]) < number, line

    def end(self) -> None:
        """Says that nothing more comes, as `nc -N` does at the end of its input."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._answers.close()
        self.socket.close()

    def reset(self) -> None:
        """Ends as a client whose machine is gone: with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.close()

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


@contextmanager
def collecting(log: Path, *options: str, **further: Any) -> Iterator[Collecting]:
    """A collector that is ended with the test."""
    collector = Collecting(log, *options, **further)
    try:
        yield collector
    finally:
        if collector.process.poll() is None:
            collector.kill()


def logged(log: Path) -> dict[str, list[bytes]]:
    """The lines of every source in the order of the log, which must be whole."""
    assert damage(str(log)) == []
    lines: dict[str, list[bytes]] = {}
    with closing(LogReader(str(log))) as reader:
        for chunk in reader.chunks(1):
            all_lines, at = chunk.data.split(b"\n"), 0
            for run in chunk.runs:
                lines.setdefault(run.source, []).extend(all_lines[at : at + run.count])
                at += run.count
    return lines


def numbered(begin: int, end: int) -> list[bytes]:
    """Lines that say which they are."""
    return [b'{"n":%d}' % number for number in range(begin, end)]


def text(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)

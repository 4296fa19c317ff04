"""Bytewax next to the live job, on the same stream: it is handed the lines of the collector's log as they come."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from benchmarks.contenders import lacks, peers
from transforms.collection.log.reading import LogReader

ROOT: Final = Path(__file__).resolve().parents[2]


def python(environment: Path) -> Path:
    """The interpreter that Bytewax is installed for.

    Raises:
        LookupError: if it is not installed.
    """
    (peer,) = (peer for peer in peers(environment) if peer.name == "bytewax")
    if reason := lacks(peer):
        raise LookupError(f"{reason}: `python -m benchmarks --install-peers` installs it")
    return peer.python


@contextmanager
def following(log: str, environment: Path, database: Path, window_s: float) -> Iterator["subprocess.Popen[bytes]"]:
    """Bytewax, from now on given every line of a log."""
    done = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        command = [
            str(python(environment)),
            "-m",
            "benchmarks.peers.bytewax_live",
            str(port),
            str(database),
            str(window_s),
        ]
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
        try:
            server.settimeout(60)
            connection, _ = server.accept()
            tail = threading.Thread(target=_hand_over, args=(log, connection, done), daemon=True)
            tail.start()
            yield process
            done.set()
            tail.join()
            process.wait(120)
        finally:
            done.set()
            process.kill()
            process.wait()


def rate(environment: Path, database: Path, lines: list[bytes]) -> float:
    """Rows a second that it takes in, beyond its start: lines are there before it asks."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        command = [str(python(environment)), "-m", "benchmarks.peers.bytewax_live", str(port), str(database), "10"]
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
        try:
            server.settimeout(60)
            connection, _ = server.accept()
            began = time.monotonic()
            with connection:
                for block in lines:
                    connection.sendall(block)
            process.wait(600)
            return sum(block.count(b"\n") for block in lines) / (time.monotonic() - began)
        finally:
            process.kill()
            process.wait()


def _hand_over(log: str, connection: socket.socket, done: threading.Event) -> None:
    with connection, closing(LogReader(log)) as reader, suppress(BrokenPipeError, ConnectionResetError):
        next_chunk = reader.extent().first_chunk
        while not done.wait(0.005):
            for chunk in reader.chunks(next_chunk):
                connection.sendall(chunk.data)
                next_chunk = chunk.id + 1

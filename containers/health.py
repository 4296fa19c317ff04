"""Checks that a container does its work: `python -m containers.health` exits with 0, or with 1 and the reason.

The check depends on what runs in the container: a collector must answer a client, a live job with a page must report
that it is well, a worker pool must speak HTTP/2, and a worker must have its process with a connection to the runner.
Any other command is well as long as it runs, which the engine sees itself.
"""

import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

PATIENCE_SECONDS: Final = 3.0
POOL_PORT: Final = 50000
"""The address of the pool that Beam's boot program starts: sdks/python/container/boot.go."""

_HARNESS: Final = "apache_beam.runners.worker.sdk_worker_main"
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""The first bytes of an HTTP/2 client, with empty settings: RFC 9113, 3.4."""

_SETTINGS: Final = 4
_ESTABLISHED: Final = "01"


def ailment(processes: Mapping[int, Sequence[str]]) -> str | None:
    """What is wrong with a container with these processes (their arguments by id); None if nothing is."""
    for arguments in processes.values():
        if "dataflow.main" in arguments and "collect" in arguments:
            return _collector(arguments)
        if "dataflow.main" in arguments and _option(arguments, "--serve"):
            return _page(str(_option(arguments, "--serve")))
        if "runners.pool" in arguments:
            return _pool(_option(arguments, "--listen") or f"127.0.0.1:{POOL_PORT}")
        if "--worker_pool" in arguments:
            return _pool(f"127.0.0.1:{POOL_PORT}")
    if any(Path(arguments[0]).name == "boot" for arguments in processes.values() if arguments):
        return _worker(processes)
    return None


def _collector(arguments: Sequence[str]) -> str | None:
    where = _place(_option(arguments, "--host") or "127.0.0.1", _option(arguments, "--port") or "8080")
    if where is None:
        return None
    try:
        with socket.create_connection(where, PATIENCE_SECONDS) as connection:
            connection.sendall(b"HELLO {}\n")  # refused because it has no source; leaves no trace
            answer = connection.recv(64)
    except OSError as error:
        return f"the collector does not answer: {error}"
    return None if answer.startswith(b"ERR") else "what answers is not a collector"


def _page(address: str) -> str | None:
    host, _, port = address.rpartition(":")
    where = _place(host, port)
    if where is None:
        return None
    try:
        urllib.request.urlopen(f"http://{_bracketed(where[0])}:{where[1]}/healthz", timeout=PATIENCE_SECONDS).close()
    except urllib.error.HTTPError as error:
        return f"the job is not well: {error.code}"
    except OSError as error:
        return f"the job's page does not answer: {error}"
    return None


def _pool(address: str) -> str | None:
    host, _, port = address.rpartition(":")
    where = _place(host, port)
    if where is None:
        return None
    try:
        with socket.create_connection(where, PATIENCE_SECONDS) as connection:
            connection.sendall(_PREFACE)
            frame = connection.recv(9)
    except OSError as error:
        return f"the worker pool does not answer: {error}"
    return None if len(frame) == 9 and frame[3] == _SETTINGS else "the worker pool does not speak HTTP/2"


def _worker(processes: Mapping[int, Sequence[str]]) -> str | None:
    harnesses = [process for process, arguments in processes.items() if _HARNESS in arguments]
    if not harnesses:
        return "the worker has not started its process"
    if not any(_sockets(process) & _established(process) for process in harnesses):
        return "the worker has no connection to the runner"
    return None


def _place(host: str, port: str) -> tuple[str, int] | None:
    """The address to check; None if the port is not known."""
    everywhere = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1", "[::]": "::1"}
    return (everywhere.get(host, host.strip("[]")), int(port)) if port.isdigit() and int(port) else None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _option(arguments: Sequence[str], name: str) -> str | None:
    for index, argument in enumerate(arguments):
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
        if argument == name and index + 1 < len(arguments):
            return arguments[index + 1]
    return None


def _sockets(process: int) -> set[str]:
    """The inodes of a process's sockets: proc(5), `socket:[INODE]`."""
    found = set()
    for descriptor in Path(f"/proc/{process}/fd").glob("*"):
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target[len("socket:[") : -1])
    return found


def _established(process: int) -> set[str]:
    """The inodes of established connections: proc(5), columns `st` and `inode` of net/tcp."""
    rows = []
    for table in ("tcp", "tcp6"):
        path = Path(f"/proc/{process}/net/{table}")
        rows += path.read_text().splitlines()[1:] if path.exists() else []
    return {fields[9] for fields in map(str.split, rows) if fields[3] == _ESTABLISHED}


def processes() -> dict[int, list[str]]:
    """The arguments of every process of this container."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().rstrip(b"\0").split(b"\0")
        except OSError:
            continue
        found[int(path.parent.name)] = [argument.decode(errors="replace") for argument in arguments]
    return found


def main() -> int:
    """The image's HEALTHCHECK."""
    said = ailment(processes())
    sys.stdout.write(f"{said or 'well'}\n")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())

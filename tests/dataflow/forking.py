"""Commands in processes of their own, without the seconds that importing Beam takes each: one imports it, and forks.

`forked` gives what `subprocess.Popen` gives. What is about the start of a process itself uses `jobs.start`.
"""

import atexit
import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final, NoReturn

ROOT: Final = Path(__file__).resolve().parents[2]
_IMPORTED: Final = (
    *("dataflow.main", "dataflow.graph", "dataflow.execution.live", "dataflow.execution.restore"),
    *(
        "dataflow.commands.run",
        "dataflow.commands.verify",
        "dataflow.commands.replay",
        "runners.direct",
        "runners.prism",
    ),
    *("transforms.collection.log.read", "transforms.collection.files.read", "transforms.collection.follow"),
    *(
        "transforms.collection.parsing.json_columns",
        "apache_beam.runners.portability.stager",
        "adbc_driver_sqlite.dbapi",
    ),
)


class Forked(subprocess.Popen[str]):
    """A command that was forked; its parent is not this process, so its end is asked for where it is known."""

    def _execute_child(self, *arguments: Any) -> None:
        args, cwd, env = arguments[0], arguments[5], arguments[6]
        stdin, our_stdin, our_stdout, stdout, our_stderr, stderr = arguments[10:16]  # in Python 3.10 to 3.13
        nothing = os.open(os.devnull, os.O_RDWR)
        request = {"arguments": list(args), "cwd": str(cwd or ROOT), "env": dict(env or {})}
        self.pid = _server().start(request, [nothing if end == -1 else end for end in (stdin, stdout, stderr)])
        self._child_created = True
        os.close(nothing)
        for end, ours in ((stdin, our_stdin), (stdout, our_stdout), (stderr, our_stderr)):
            if ours != -1:
                os.close(end)

    def _internal_poll(self, *arguments: Any, **options: Any) -> int | None:
        if self.returncode is None:
            self.returncode = _server().ended(self.pid, patience=0)
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        if self.returncode is None:
            self.returncode = _server().ended(self.pid, timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return int(self.returncode)


def forked(*arguments: str | Path, **options: Any) -> "subprocess.Popen[str]":
    """Starts a command in a process of its own, in a session of its own."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return Forked([*map(str, arguments)], **pipes)


class _Server:
    """The process that forks, as it is seen from here."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.dataflow.forking", str(theirs.fileno())],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._answers = self._socket.makefile("r")
        self._known = threading.Condition()
        self._codes: dict[int, int] = {}
        self._started: list[int] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, request: dict[str, Any], files: list[int]) -> int:
        data = json.dumps(request).encode()
        with self._known:
            socket.send_fds(self._socket, [len(data).to_bytes(4, "big")], files)
            self._socket.sendall(data)
            assert self._known.wait_for(lambda: self._started, 60), "the process that forks does not answer"
            return self._started.pop()

    def ended(self, pid: int, patience: float | None) -> int | None:
        with self._known:
            self._known.wait_for(lambda: pid in self._codes, patience)
            return self._codes.get(pid)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)
        self._process.wait()

    def _listen(self) -> None:
        for line in self._answers:
            what, pid, *code = map(int, line.split())
            with self._known:
                if what:
                    self._codes[pid] = code[0]
                else:
                    self._codes.pop(pid, None)
                    self._started.append(pid)
                self._known.notify_all()


_SERVERS: dict[int, _Server] = {}


def _server() -> _Server:
    """That of this process."""
    if os.getpid() not in _SERVERS:
        _SERVERS[os.getpid()] = _Server()
        atexit.register(_SERVERS[os.getpid()].close)
    return _SERVERS[os.getpid()]


def _serve(connection: socket.socket) -> None:
    """Forks a process for each request, and says how each ended, until there are no requests any more."""
    from dataflow.execution.bounded import quieten

    quieten()
    for name in _IMPORTED:
        importlib.import_module(name)
    _load_compiled_code()
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    signal.set_wakeup_fd(writes)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    children: set[int] = set()
    waited: list[socket.socket | int] = [connection, reads]
    while True:
        ready, _, _ = select.select(waited, [], [])
        if reads in ready:
            os.read(reads, 4096)
        for child in list(children):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                children.discard(child)
                connection.sendall(f"1 {pid} {os.waitstatus_to_exitcode(status)}\n".encode())
        if connection in ready:
            head, files, _, _ = socket.recv_fds(connection, 4, 3)
            if not head:
                break
            request = json.loads(_exactly(connection, int.from_bytes(head, "big")))
            child = os.fork()
            if not child:
                connection.close()
                _become(request, files)
            children.add(child)
            for file in files:
                os.close(file)
            connection.sendall(f"0 {child}\n".encode())
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _load_compiled_code() -> None:
    """Numba prepares itself, for half a second, and loads a function when it is first called."""
    from tests.transforms.collection.outcome import parse, schema_of

    parse(b'{"ts":1}', schema_of({"ts": "int64", "key": "string?", "value": "float64?"}))


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += connection.recv(size - len(data))
    return data


def _become(request: dict[str, Any], files: list[int]) -> NoReturn:
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    for descriptor, file in enumerate(files):
        os.dup2(file, descriptor)
    os.closerange(3, 256)
    os.chdir(request["cwd"])
    os.environ.update(request["env"])
    sys.path[:0] = [folder for folder in request["env"].get("PYTHONPATH", "").split(os.pathsep) if folder]
    sys.argv = ["streamgauge", *request["arguments"]]
    importlib.import_module("dataflow.main").main()
    os._exit(70)  # main does not return


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))

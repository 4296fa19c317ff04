"""The client of a session: sends lines to a collector; each line enters its log once.

    with Client("127.0.0.1", 8080, source="gate 7") as client:
        for line in lines[client.next :]:
            client.send([line])

It keeps unacknowledged lines; after a lost connection it sends them again from the number that the collector gives.
"""

import json
import random
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Final

WINDOW_RECORDS: Final = 1 << 16
WINDOW_BYTES: Final = 16 << 20
BLOCK_BYTES: Final = 1 << 16

FINAL: Final = frozenset({"bad_hello", "bad_token", "token_needed", "superseded", "line_too_long"})
"""Refusals that a retry cannot resolve."""

FIRST_WAIT_SECONDS: Final = 0.1
LONGEST_WAIT_SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 10.0


class ClientError(Exception):
    """The collector refuses the session, can no longer be reached, or does not know what it acknowledged."""


class _Lost(Exception):
    """The connection is lost, and why."""


@dataclass(slots=True)
class _Block:
    """Unacknowledged lines, beginning with record `first`."""

    first: int
    count: int
    data: bytes

    def drop(self, count: int) -> None:
        """Removes the first lines."""
        begin = 0
        for _ in range(count):
            begin = self.data.index(b"\n", begin) + 1
        self.first, self.count, self.data = self.first + count, self.count - count, self.data[begin:]


class Client:
    """A session with a collector.

    Args:
        host, port: where the collector listens.
        source: the name of the session; its records are numbered under this name, across all connections.
        token: the token that the collector requires, if any.
        give_up_after: seconds without any progress after which it raises; None: never.
        report: receives a sentence about each lost connection.

    Raises:
        ClientError: from every method; see the class.
    """

    def __init__(
        self,
        host: str,
        port: int,
        source: str,
        token: str | None = None,
        *,
        give_up_after: float | None = 300.0,
        report: Callable[[str], None] = lambda sentence: None,
    ):
        self.source = source
        self.acknowledged = 0
        """The number of the first record that is not known to be durable."""
        self._address = (host, port)
        self._token = token
        self._give_up_after = give_up_after
        self._report = report
        self._socket: socket.socket | None = None
        self._window: deque[_Block] = deque()
        self._window_records = self._window_bytes = 0
        self._unsent: deque[_Block] = deque()
        self._sending = memoryview(b"")
        self._heard = b""
        self._end = 0  # the number of the next record that `send` accepts
        self._begun = False
        self._progress_at = time.monotonic()
        self._wait = FIRST_WAIT_SECONDS

    @property
    def next(self) -> int:
        """The number of the next record that `send` accepts."""
        return self._end

    def connect(self) -> int:
        """Opens the session, and waits for the collector if necessary; returns the next record's number."""
        self._progress_at = time.monotonic()
        while self._socket is None:
            self._reconnect()
        return self._end

    def send(self, lines: Iterable[bytes]) -> None:
        """Accepts lines without their newlines; returns once they are on their way, perhaps not yet acknowledged."""
        taken: list[bytes] = []
        size = 0
        for line in lines:
            if b"\n" in line:
                raise ValueError("a line must not have a newline")
            taken.append(line)
            size += len(line) + 1
            if size >= BLOCK_BYTES:
                self.send_block(b"\n".join(taken) + b"\n", len(taken))
                taken, size = [], 0
        if taken:
            self.send_block(b"\n".join(taken) + b"\n", len(taken))

    def send_block(self, data: bytes, count: int) -> None:
        """Accepts `count` lines with their newlines at once."""
        self.connect()
        while self._window and (self._window_records >= WINDOW_RECORDS or self._window_bytes >= WINDOW_BYTES):
            self._pump(None)
        block = _Block(self._end, count, data)
        self._end += count
        self._window.append(block)
        self._unsent.append(block)
        self._window_records += count
        self._window_bytes += len(data)
        self._pump(0.0)

    def flush(self) -> None:
        """Returns when everything is acknowledged."""
        while self._window:
            self._pump(None)

    def wait(self, seconds: float) -> None:
        """Waits, and sends and receives meanwhile."""
        until = time.monotonic() + seconds
        while (rest := until - time.monotonic()) > 0:
            self._pump(rest)

    def close(self) -> None:
        """Ends the connection; unacknowledged lines may be lost."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> "Client":
        try:
            self.connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self.close()

    # Internal

    def _pump(self, timeout: float | None) -> None:
        """Sends and receives, after waiting at most `timeout` seconds; None: until something happens."""
        try:
            if self._socket is None:
                self._reconnect()
                return
            self._exchange(self._socket, timeout)
        except (OSError, _Lost) as error:
            self._lose(error)

    def _exchange(self, connection: socket.socket, timeout: float | None) -> None:
        busy = bool(self._sending or self._unsent)
        poll = select.poll()
        poll.register(connection, select.POLLIN | (select.POLLOUT if busy else 0))
        ready = poll.poll(None if timeout is None else timeout * 1000)
        for _, events in ready:
            if events & ~select.POLLOUT:
                self._hear(connection)
            if events & select.POLLOUT:
                if not self._sending:
                    self._sending = memoryview(self._unsent.popleft().data)
                self._sending = self._sending[connection.send(self._sending) :]

    def _hear(self, connection: socket.socket) -> None:
        data = connection.recv(1 << 16)
        if not data:
            raise _Lost("the collector closed the connection")
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            word, _, rest = line.partition(b" ")
            if word != b"OK":
                raise self._refused(line)
            self._acknowledge(int(rest))

    def _refused(self, line: bytes) -> Exception:
        text = line.decode("utf-8", "replace")
        reason, _, detail = text.removeprefix("ERR ").partition(" ")
        if reason in FINAL:
            return ClientError(f"the collector refuses {self.source}: {reason}: {detail}")
        return _Lost(f"the collector says: {text}")

    def _acknowledge(self, number: int) -> None:
        if not self.acknowledged <= number <= self._end:
            raise ClientError(
                f"the collector expects record {number} of {self.source}; this client has {self.acknowledged} to"
                f" {self._end}. Does another client send as {self.source}, or was the log replaced?"
            )
        while self._window and self._window[0].first + self._window[0].count <= number:
            self._forget(self._window.popleft(), None)
        if self._window and self._window[0].first < number:
            self._forget(self._window[0], number - self._window[0].first)
        if number > self.acknowledged:
            self._progress_at = time.monotonic()
            self._wait = FIRST_WAIT_SECONDS
        self.acknowledged = number

    def _forget(self, block: _Block, count: int | None) -> None:
        size = len(block.data)
        if count is None:
            self._window_records -= block.count
            self._window_bytes -= size
        elif self._socket is None:  # a block being sent is cut only when it is sent again
            block.drop(count)
            self._window_records -= count
            self._window_bytes -= size - len(block.data)

    def _reconnect(self) -> None:
        connection: socket.socket | None = None
        try:
            connection = socket.create_connection(self._address, CONNECT_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._open(connection)
        except (OSError, _Lost) as error:
            if connection is not None:
                connection.close()
            self._lose(error)
        except BaseException:
            if connection is not None:
                connection.close()
            raise

    def _open(self, connection: socket.socket) -> None:
        hello = {"source": self.source} | ({} if self._token is None else {"token": self._token})
        connection.sendall(b"HELLO " + json.dumps(hello).encode("ascii") + b"\n")
        connection.settimeout(self._give_up_after)
        heard = b""
        while b"\n" not in heard:
            data = connection.recv(1 << 12)
            if not data:
                raise _Lost("the collector closed the connection")
            heard += data
        line, _, self._heard = heard.partition(b"\n")
        if not line.startswith(b"READY "):
            raise self._refused(line)
        number = int(json.loads(line[len(b"READY ") :])["next"])
        if not self._begun:
            self._begun = True
            self._end = self.acknowledged = number
        self._acknowledge(number)
        self._unsent = deque(self._window)
        self._sending = memoryview(b"")
        connection.setblocking(False)
        self._socket = connection

    def _lose(self, error: Exception) -> None:
        """Closes the connection; waits a little longer each time, with a random part that spreads the clients."""
        self.close()
        silent = time.monotonic() - self._progress_at
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        where = "{}:{}".format(*self._address)
        if self._give_up_after is not None and silent > self._give_up_after:
            raise ClientError(f"{where}: {why}; gave up after {silent:.0f} s without progress") from error
        wait = self._wait * random.uniform(0.5, 1.0)
        self._report(f"{where}: {why}; retrying in {wait:.1f} s")
        time.sleep(wait)
        self._wait = min(2 * self._wait, LONGEST_WAIT_SECONDS)

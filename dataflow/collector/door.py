"""The door: listens, and accepts no more connections at a time than the limit of open files allows.

A client that connects while no file is left stays in the kernel's queue until one is free; nothing is opened only to
find that it cannot be used.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from typing import Final

QUEUE: Final = 4096
"""Connections that the kernel queues for the collector; fewer if the system's limit is lower."""

PAUSE_SECONDS: Final = 0.2
_MISSING: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_AT_ONCE: Final = 64


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on every address of a host; `localhost` yields one for IPv4 and one for IPv6, `::` one.

    Raises:
        OSError: if the host cannot listen on one of them; families that the machine lacks are ignored.
    """
    hosts = ["127.0.0.1", "::1"] if host == "localhost" else [host or None]
    found = [
        (family, address)
        for name in hosts
        for family, _, _, _, address in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    ]
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for family, address in dict.fromkeys(found):
        if sockets and not port:  # any free port, the same one on all addresses
            address = (address[0], sockets[0].getsockname()[1], *address[2:])
        try:
            sockets.append(_listening(family, address, both=host == "::"))
        except OSError as error:
            if error.errno not in _MISSING or len(found) == 1:
                for opened in sockets:
                    opened.close()
                raise
            missing = error
    if not sockets and missing is not None:
        raise missing
    return sockets


def _listening(family: int, address: tuple[object, ...], *, both: bool) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not both))
        opened.bind(address)
        opened.listen(QUEUE)
        opened.setblocking(False)
    except BaseException:
        opened.close()
        raise
    return opened


def address_of(name: Sequence[object]) -> str:
    """A socket's address in its usual notation.

    >>> address_of(("127.0.0.1", 8080)), address_of(("::1", 8080, 0, 0))
    ('127.0.0.1:8080', '[::1]:8080')
    """
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


class Door:
    """Accepts connections.

    Args:
        sockets: the listening sockets.
        protocol: creates the protocol object for a client.
        has_room: whether one more may be accepted, given the number that are being accepted.
        report: receives a sentence about what keeps the door shut.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        protocol: Callable[[], asyncio.Protocol],
        has_room: Callable[[int], bool],
        report: Callable[[str], None],
    ):
        self._loop = asyncio.get_running_loop()
        self._sockets = list(sockets)
        self._protocol = protocol
        self._has_room = has_room
        self._report = report
        self._tasks: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._reported_at = -60.0
        self.is_open = False

    def open(self) -> None:
        """Accepts clients, including those that connected while it was shut."""
        self._retry = None
        if not self.is_open and self._sockets:
            self.is_open = True
            for listening in self._sockets:
                self._loop.add_reader(listening, self._accept, listening)

    def shut(self) -> None:
        """Accepts no clients for the moment."""
        if self.is_open:
            self.is_open = False
            for listening in self._sockets:
                self._loop.remove_reader(listening)

    def close(self) -> None:
        """Accepts no further clients."""
        self.shut()
        if self._retry is not None:
            self._retry.cancel()
        for listening in self._sockets:
            listening.close()
        self._sockets = []

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            if not self._has_room(len(self._tasks)):
                self.shut()
                return
            try:
                client, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no file or no memory is left; queued clients are accepted later
                self.shut()
                self._retry = self._loop.call_later(PAUSE_SECONDS, self.open)
                if self._loop.time() - self._reported_at >= 60:
                    self._reported_at = self._loop.time()
                    self._report(f"no client can be accepted for the moment: {error.strerror}")
                return
            client.setblocking(False)
            task = self._loop.create_task(self._let_in(client))
            self._tasks.add(task)
            task.add_done_callback(self._is_in)

    def _is_in(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if self._retry is None:  # now that this one is accepted or refused, there may be room for one more
            self.open()

    async def _let_in(self, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, client)
        except OSError:  # it has already disconnected
            client.close()

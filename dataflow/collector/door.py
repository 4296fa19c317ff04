"""The door: listens, and lets in no more connections at a time than there are files for them.

A client that comes when there is no file left stays in the kernel's queue until there is one; nothing is opened only
to find that it cannot be.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from typing import Final

QUEUE: Final = 4096
"""Connections that the kernel keeps for us; it takes fewer if it is set to."""

PAUSE_SECONDS: Final = 0.2
_MISSING: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_AT_ONCE: Final = 64


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on every address of a host; `localhost` is one of IPv4 and one of IPv6, `::` both in one.

    Raises:
        OSError: if one of them cannot be listened on, other than by a machine that does not have it.
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
        if sockets and not port:  # any free port, and the same one everywhere
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
    """A socket's address as people write it.

    >>> address_of(("127.0.0.1", 8080)), address_of(("::1", 8080, 0, 0))
    ('127.0.0.1:8080', '[::1]:8080')
    """
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


class Door:
    """Lets connections in.

    Args:
        sockets: those that listen.
        protocol: makes what speaks with a client.
        has_room: whether one more may come in, when so many are on their way in already.
        tell: takes a sentence about what keeps the door shut.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        protocol: Callable[[], asyncio.Protocol],
        has_room: Callable[[int], bool],
        tell: Callable[[str], None],
    ):
        self._loop = asyncio.get_running_loop()
        self._sockets = list(sockets)
        self._protocol = protocol
        self._has_room = has_room
        self._tell = tell
        self._tasks: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._told_at = -60.0
        self.is_open = False

    def open(self) -> None:
        """Lets in whoever comes; also those who came while it was shut."""
        self._retry = None
        if not self.is_open and self._sockets:
            self.is_open = True
            for listening in self._sockets:
                self._loop.add_reader(listening, self._accept, listening)

    def shut(self) -> None:
        """Lets nobody in for the moment."""
        if self.is_open:
            self.is_open = False
            for listening in self._sockets:
                self._loop.remove_reader(listening)

    def close(self) -> None:
        """Lets nobody in any more."""
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
            except OSError as error:  # no file or no memory is left; who waits in the queue is let in later
                self.shut()
                self._retry = self._loop.call_later(PAUSE_SECONDS, self.open)
                if self._loop.time() - self._told_at >= 60:
                    self._told_at = self._loop.time()
                    self._tell(f"no client can come in for the moment: {error.strerror}")
                return
            client.setblocking(False)
            task = self._loop.create_task(self._let_in(client))
            self._tasks.add(task)
            task.add_done_callback(self._is_in)

    def _is_in(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if self._retry is None:  # there may be room for one more, now that it is known what this one is
            self.open()

    async def _let_in(self, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, client)
        except OSError:  # it is gone already
            client.close()

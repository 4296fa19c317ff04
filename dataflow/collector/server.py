"""The server: accepts connections, enforces their limits, and ends on a signal."""

import asyncio
import hmac
import resource
import signal
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from dataflow.collector.committer import Answers, Committer, Received
from dataflow.collector.connection import LINGER_SECONDS, Connection
from dataflow.collector.door import Door, address_of, listen
from dataflow.collector.protocol import ClientRefused, Hello
from dataflow.collector.refusals import RefusalLog
from dataflow.collector.settings import Settings
from transforms.collection.log.file import unreadable
from transforms.collection.log.writer import LogWriter
from transforms.errors import LogError

SPARE_FILES: Final = 64
"""Open files of the collector itself, and of connections that are about to be refused."""

MOST_REFUSED: Final = SPARE_FILES // 2
"""The most connections over the limit that are being refused at a time; others wait at the door."""

_TICK_SECONDS: Final = 0.5
_LONGEST_TICK_SECONDS: Final = 2.0
"""The most by which the clock of the time-outs advances at once: a process that was stopped received nothing."""


class CollectorFailed(Exception):
    """The collector cannot continue; says why in one sentence."""


class CannotListen(Exception):
    """The collector cannot listen on its address; says which and why."""


class Collector:
    """All connections, and what they share. Everything but the committer runs in the thread of the event loop."""

    def __init__(self, settings: Settings, log: LogWriter, report: Callable[[str], None]):
        self.settings = settings
        self.own_share = max(settings.max_in_flight // 32, 1)
        self.clock = 0.0
        self.unfinished = 0
        self._report = report
        self._log = log
        self._loop = asyncio.get_running_loop()
        self.unread: set[Connection] = set()
        self._connections: set[Connection] = set()
        self._refused: set[Connection] = set()
        self._sessions: dict[str, Connection] = {}
        self._in_flight = 0
        self._crowded = False
        self._stop = asyncio.Event()
        self._drained: asyncio.Future[None] = self._loop.create_future()
        self._emptied = asyncio.Event()
        self._refusals = RefusalLog(report)
        self._door: Door | None = None
        self._committer = Committer(log, settings, self._settle_soon, self._report, self._ended_soon)

    async def serve(self) -> None:
        """Listens until a signal or `stop`; then answers what is durable, and returns."""
        settings = self.settings
        most = _room_for(settings.max_connections)
        if most < settings.max_connections:
            self._report(f"the limit of open files leaves room for {most} connections")
        self._most = most
        try:
            sockets = listen(settings.host, settings.port)
        except OSError as error:
            raise CannotListen(f"{settings.host}:{settings.port}: {error.strerror or error}") from None
        where = " and ".join(address_of(listening.getsockname()) for listening in sockets)
        self._door = Door(sockets, lambda: Connection(self), self._has_room, self._report)
        self._door.open()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self.stop)
        records = self._log.extent.end_position
        self._committer.start()
        self._report(f"collecting on {where} into {settings.log} ({records:,} records)")
        ticking = asyncio.create_task(self._tick())
        await self._stop.wait()
        ticking.cancel()
        self._door.close()
        for connection in self._connections:
            connection.wait_for("the end")
        self._committer.stop()
        try:
            await self._drained
        except CollectorFailed:
            failed = ClientRefused(
                "log_failed", "the log can no longer be written; it does not have what was not acknowledged"
            )
            for connection in list(self._connections):
                connection.abandon(failed)
            await self._emptied_soon()
            raise
        for connection in list(self._connections):
            connection.leave(None)
        await self._emptied_soon()

    async def _emptied_soon(self) -> None:
        if self._connections:
            self._emptied.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), 2 * LINGER_SECONDS)

    def stop(self) -> None:
        """Lets `serve` end."""
        self._stop.set()

    # Calls by connections

    def welcome(self, connection: Connection) -> ClientRefused | None:
        """Adds a connection to the count, or refuses it."""
        if len(self._connections) >= self._most:
            self._refused.add(connection)
            return ClientRefused("too_many_connections", f"there are already {self._most}")
        self._connections.add(connection)
        if self._crowded:
            connection.wait_for("others")
        if self._stop.is_set():
            connection.wait_for("the end")
        return None

    def _has_room(self, arriving: int) -> bool:
        """Whether a connection may be accepted, if only to be refused because there are too many."""
        return len(self._refused) + arriving < MOST_REFUSED or len(self._connections) + arriving < self._most

    def note(self, refusal: ClientRefused, address: str) -> None:
        """Reports that a client was refused."""
        self._refusals.note(refusal, address, self._loop.time())

    def admit(self, connection: Connection, hello: Hello) -> ClientRefused | None:
        """Opens a session, or refuses it; ends the connection that had the session."""
        token = self.settings.token
        if token is not None and not hmac.compare_digest(_octets(hello.token or ""), _octets(token)):
            return ClientRefused("bad_token", "the token is wrong")
        before = self._sessions.get(hello.source)
        if before is not None:
            before.leave(ClientRefused("superseded", "another connection has opened this session"))
        self._sessions[hello.source] = connection
        return None

    def forget(self, connection: Connection) -> None:
        """Removes a connection from the count."""
        self._connections.discard(connection)
        self._refused.discard(connection)
        self.unread.discard(connection)
        if connection.source is not None and self._sessions.get(connection.source) is connection:
            del self._sessions[connection.source]
        if not self._connections:
            self._emptied.set()
        if self._door is not None and not self._door.is_open and not self._stop.is_set():
            self._door.open()

    def submit(self, received: Received) -> None:
        """Passes on what a client sent, and stops reading from all clients while too much is in flight."""
        self._in_flight += len(received.data)
        self._committer.submit(received)
        if self._in_flight > self.settings.max_in_flight and not self._crowded:
            self._crowded = True
            for connection in self._connections:
                connection.wait_for("others")

    def bound_unfinished(self) -> None:
        """Ends the connection with the longest incomplete line, if these lines are too much together."""
        while self.unfinished > self.settings.max_in_flight:
            longest = max(self._connections, key=lambda connection: connection.unfinished)
            longest.leave(ClientRefused("busy", "too many long lines are incomplete; try again later"))

    def bound_unread(self, connection: Connection) -> None:
        """Drops the clients with the most unread answers, if these are too much together."""
        self.unread.add(connection)
        while sum(each.unread for each in self.unread) > self.settings.max_in_flight:
            longest = max(self.unread, key=lambda each: each.unread)
            self.unread.discard(longest)
            longest.drop()

    # Calls in the committer's thread

    def _settle_soon(self, answers: Answers) -> None:
        self._loop.call_soon_threadsafe(self._settle, answers)

    def _ended_soon(self, error: BaseException | None) -> None:
        self._loop.call_soon_threadsafe(self._committer_ended, error)

    def _settle(self, answers: Answers) -> None:
        for client, answer in answers:
            self._in_flight -= answer.size
            assert isinstance(client, Connection)
            client.settled(answer)
        if self._crowded and self._in_flight <= self.settings.max_in_flight // 2:
            self._crowded = False
            for connection in self._connections:
                connection.resume("others")

    def _committer_ended(self, error: BaseException | None) -> None:
        if error is None:
            self._drained.set_result(None)
        elif isinstance(error, LogError):
            self._drained.set_exception(CollectorFailed(str(error)))
        elif isinstance(error, sqlite3.DatabaseError):
            self._drained.set_exception(CollectorFailed(str(unreadable(self.settings.log, error))))
        else:
            self._drained.set_exception(error)
        self.stop()

    async def _tick(self) -> None:
        last = self._loop.time()
        shortest = min(self.settings.idle_timeout, self.settings.line_timeout).total_seconds()
        while True:
            await asyncio.sleep(min(_TICK_SECONDS, shortest / 4))
            now = self._loop.time()
            self.clock += min(now - last, _LONGEST_TICK_SECONDS)
            last = now
            for connection in list(self._connections):
                connection.look_at_the_clock()
            self._refusals.look_at_the_clock(now)


def serve(settings: Settings, report: Callable[[str], None]) -> None:
    """Collects until SIGTERM or SIGINT.

    Raises:
        LogError: if the log cannot be used.
        CollectorFailed: if the log can no longer be used.
        CannotListen: if the collector cannot listen on the address.
    """
    log = LogWriter(settings.log)
    try:
        asyncio.run(_serve(settings, log, report))
    finally:
        log.close()


async def _serve(settings: Settings, log: LogWriter, report: Callable[[str], None]) -> None:
    await Collector(settings, log, report).serve()


def _room_for(connections: int) -> int:
    """How many connections the limit of open files allows; the limit is first raised as far as possible."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - SPARE_FILES))


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")

"""Group commit: one thread that takes everything received, makes one chunk of it, and answers when it is durable.

While the log cannot be written (the disk is full, the file locked, the log too large) everything stays pending and
nothing is answered. No commit is made then, no heartbeat either: silence that the collector causes must not look like
silence of the clients.
"""

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from dataflow.collector.protocol import PLAIN
from dataflow.collector.settings import HEARTBEAT, LONGEST_GAP, Settings
from transforms.collection.log import LogWriter, Run
from transforms.specification import microseconds

APART_SECONDS: Final = 0.005
"""Commits begin at least so far apart: a steady trickle makes 200 chunks a second, not one for each line."""

CHUNK_BYTES: Final = 8 << 20
"""Lines that one chunk takes before the next is begun."""

ONE_RUN_US: Final = 1_000_000
"""Lines of a source that came within this time of each other share a run."""

PRUNE_SECONDS: Final = 5.0
SHORTEST_WAIT: Final = 0.05
LONGEST_WAIT: Final = 2.0
PATIENCE_SECONDS: Final = 3.0
"""How long a collector that shall end goes on trying to write what it received."""


@dataclass(eq=False, slots=True)
class Session:
    """The numbering of a source's records. `next` is the committer's to read and write."""

    source: str
    next: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """What a client sent: whole lines, or with no `data`, the HELLO of its session."""

    client: Hashable
    session: Session | None
    data: bytes
    count: int
    at: int


@dataclass(slots=True)
class Settled:
    """What became durable of one client: records and bytes, and the number of its next record; or its session is open.

    A session that is opened settles 0 records.
    """

    submissions: int = 0
    count: int = 0
    size: int = 0
    next: int | None = None


Answers = Sequence[tuple[Hashable, Settled]]


class LogFull(Exception):
    """The log has reached `max_log_bytes`."""


class Committer(threading.Thread):
    """Writes what clients sent to the log.

    Args:
        log: the log; this thread's alone from `start` until it ends.
        settle: takes what became durable, in order; called in this thread.
        tell: takes a sentence for whoever runs the collector.
        ended: called once, in this thread, with what ended it; None: it was asked to.
    """

    def __init__(
        self,
        log: LogWriter,
        settings: Settings,
        settle: Callable[[Answers], None],
        tell: Callable[[str], None],
        ended: Callable[[BaseException | None], None],
    ):
        super().__init__(name="committer", daemon=True)
        self._log = log
        self._settings = settings
        self._settle = settle
        self._tell = tell
        self._ended = ended
        self._pending: deque[Received] = deque()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._committed_at = time.monotonic()
        self._pruned_at = time.monotonic()

    def submit(self, received: Received) -> None:
        """Takes what a client sent; from the thread of the server."""
        self._pending.append(received)
        self._wake.set()

    def stop(self) -> None:
        """Lets the thread end when everything that was submitted is durable, or cannot be made so."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """Commits until it is stopped."""
        failure: BaseException | None = None
        try:
            while not (self._stopping.is_set() and not self._pending):
                self._step()
        except BaseException as error:  # noqa: BLE001  # a dead thread would leave every client without an answer
            failure = error
        self._ended(failure)

    def _step(self) -> None:
        if not self._pending:
            quiet = self._committed_at + HEARTBEAT.total_seconds() - time.monotonic()
            self._wake.wait(max(0.0, quiet))
            self._wake.clear()
        if self._pending:
            self._pace()
            self._commit_pending()
        elif time.monotonic() - self._committed_at >= HEARTBEAT.total_seconds():
            self._attempt(lambda: self._append([], {}))
        if time.monotonic() - self._pruned_at > PRUNE_SECONDS:
            self._pruned_at = time.monotonic()
            with suppress(sqlite3.OperationalError):  # the next time will do
                self._prune()

    def _pace(self) -> None:
        early = self._committed_at + APART_SECONDS - time.monotonic()
        if early > 0 and not self._stopping.is_set():
            self._stopping.wait(early)

    def _commit_pending(self) -> None:
        """Makes one chunk of what is pending, up to a HELLO that asks how far its source has come."""
        batch: list[Received] = []
        sources: set[str] = set()
        size = 0
        opened: Received | None = None
        while self._pending and size < CHUNK_BYTES:
            received = self._pending.popleft()
            if not received.data:
                if received.session is not None and received.session.source in sources:
                    opened = received
                    break
                self._open(received)
                continue
            batch.append(received)
            size += len(received.data)
            if received.session is not None:
                sources.add(received.session.source)
        if batch:
            self._commit(batch)
        if opened is not None:
            self._open(opened)

    def _open(self, received: Received) -> None:
        session = received.session
        if session is None:
            raise AssertionError("only a session is opened")

        def ask() -> None:
            session.next = self._log.next_of(session.source)

        if self._attempt(ask):
            self._settle([(received.client, Settled(submissions=1, next=session.next))])

    def _commit(self, batch: Sequence[Received]) -> None:
        by_source: dict[str, list[Received]] = {}
        sessions: dict[str, int] = {}
        settled: dict[Hashable, Settled] = {}
        for received in batch:
            session = received.session
            by_source.setdefault(PLAIN if session is None else session.source, []).append(received)
            answer = settled.setdefault(received.client, Settled())
            answer.submissions += 1
            answer.count += received.count
            answer.size += len(received.data)
            if session is not None:
                session.next += received.count
                sessions[session.source] = answer.next = session.next
        parts = [part for source, entries in by_source.items() for part in _runs(source, entries)]
        if self._attempt(lambda: self._append(parts, sessions)):
            self._settle(list(settled.items()))

    def _append(self, parts: Sequence[tuple[Run, bytes]], sessions: dict[str, int]) -> None:
        limit = self._settings.max_log_bytes
        if limit is not None and self._log.used() > limit:
            self._prune()
            if self._log.used() > limit:
                raise LogFull(f"the log has more than {limit:,} bytes that a reader has not passed")
        now = time.monotonic()
        listened = min(now - self._committed_at, LONGEST_GAP.total_seconds())
        self._log.append(parts, time.time_ns() // 1000, self._log.elapsed + int(listened * 1e6), sessions)
        self._committed_at = now

    def _attempt(self, action: Callable[[], None]) -> bool:
        """Does what the log may refuse for a while; False: the collector shall end, and it is not done."""
        wait, said, given_up = SHORTEST_WAIT, "", None
        while True:
            try:
                action()
            except (sqlite3.OperationalError, LogFull) as error:
                if str(error) != said:
                    said = str(error)
                    self._tell(f"the log cannot be written: {said}; clients wait")
                if self._stopping.is_set():
                    given_up = given_up or time.monotonic() + PATIENCE_SECONDS
                    if time.monotonic() > given_up:
                        self._pending.clear()
                        self._tell("what was received and not answered is not in the log")
                        return False
                    time.sleep(SHORTEST_WAIT)
                else:
                    self._stopping.wait(wait)
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                if said:
                    self._tell("the log can be written again")
                return True

    def _prune(self) -> None:
        self._log.prune(older_than=time.time_ns() // 1000 - microseconds(self._settings.keep))


def _runs(source: str, entries: Sequence[Received]) -> list[tuple[Run, bytes]]:
    """The lines of a source in the order received, as few runs as their times allow."""
    runs: list[tuple[Run, bytes]] = []
    group: list[Received] = []
    for received in entries:
        if group and abs(received.at - group[0].at) > ONE_RUN_US:
            runs.append(_run(source, group))
            group = []
        group.append(received)
    return [*runs, _run(source, group)]


def _run(source: str, group: Sequence[Received]) -> tuple[Run, bytes]:
    count = sum(received.count for received in group)
    return Run(source, group[0].at, count), b"".join(received.data for received in group)

"""Group commit: one thread collects everything received into one chunk, and answers when the chunk is durable.

While the log cannot be written (the disk is full, the file locked, the log too large) everything stays pending and
nothing is answered. Nothing is committed then, not even a heartbeat: silence that the collector causes must not look
like silence of the clients.
"""

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from dataflow.collector.protocol import PLAIN
from dataflow.collector.settings import HEARTBEAT, LONGEST_GAP, Settings
from transforms.collection.log import readers as log_readers
from transforms.collection.log.file import Run
from transforms.collection.log.writer import LogWriter
from transforms.specification import format_duration, microseconds

APART_SECONDS: Final = 0.005
"""The least time between two commits: a steady trickle makes 200 chunks a second, not one for each line."""

CHUNK_BYTES: Final = 8 << 20
"""Lines that one chunk accepts before the next begins."""

ONE_RUN_US: Final = 1_000_000
"""Lines of a source that arrived within this time of each other share a run."""

PRUNE_SECONDS: Final = 5.0
SHORTEST_WAIT: Final = 0.05
LONGEST_WAIT: Final = 1.0
SAID_AGAIN_SECONDS: Final = 60.0
"""How often a lasting problem is reported, with what it is then waiting for."""

SILENT_SECONDS: Final = 86_400.0
"""A reader that is silent for this long is named, because it may hold the log for ever."""

PATIENCE_SECONDS: Final = 3.0
"""How long a collector that is to end keeps trying to write what it received."""


@dataclass(eq=False, slots=True)
class Session:
    """The numbering of a source's records. Only the committer reads and writes `next`."""

    source: str
    next: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """What a client sent: whole lines or, without `data`, the HELLO of its session."""

    client: Hashable
    session: Session | None
    data: bytes
    count: int
    at: int


@dataclass(slots=True)
class Settled:
    """What became durable for one client: records, bytes, and the number of its next record.

    Opening a session settles 0 records.
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
        log: the log; used only by this thread from `start` until it ends.
        settle: receives what became durable, in order; called in this thread.
        report: receives a sentence for the operator of the collector.
        ended: called once, in this thread, with the error that ended it; None: it was stopped.
    """

    def __init__(
        self,
        log: LogWriter,
        settings: Settings,
        settle: Callable[[Answers], None],
        report: Callable[[str], None],
        ended: Callable[[BaseException | None], None],
    ):
        super().__init__(name="committer", daemon=True)
        self._log = log
        self._settings = settings
        self._settle = settle
        self._report = report
        self._ended = ended
        self._pending: deque[Received] = deque()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._committed_at = time.monotonic()
        self._pruned_at = time.monotonic()
        self._named: set[str] = set()

    def submit(self, received: Received) -> None:
        """Accepts what a client sent; called in the server's thread."""
        self._pending.append(received)
        self._wake.set()

    def stop(self) -> None:
        """Lets the thread end once everything submitted is durable, or cannot become so."""
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
            with suppress(sqlite3.OperationalError):  # the next time suffices
                self._log.prune(self._forgettable())
            self._name_silent_readers()

    def _pace(self) -> None:
        early = self._committed_at + APART_SECONDS - time.monotonic()
        if early > 0 and not self._stopping.is_set():
            self._stopping.wait(early)

    def _commit_pending(self) -> None:
        """Makes one chunk of what is pending, up to a HELLO, which asks for the number of its source's next record."""
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
            self._log.prune(self._forgettable())
            extent = self._log.extent
            # The newest chunk always stays: alone it may be too large, and only a later chunk lets it be forgotten.
            if self._log.used() > limit and extent.end_chunk - extent.first_chunk > 1:
                raise LogFull(f"the log has more than {limit:,} bytes")
        now = time.monotonic()
        listened = min(now - self._committed_at, LONGEST_GAP.total_seconds())
        self._log.append(parts, time.time_ns() // 1000, self._log.elapsed + int(listened * 1e6), sessions)
        self._committed_at = now

    def _attempt(self, action: Callable[[], None]) -> bool:
        """Does what the log may refuse for a while; False: the collector is to end, and the action failed."""
        wait, said, said_at, given_up = SHORTEST_WAIT, "", 0.0, None
        while True:
            try:
                action()
            except (sqlite3.OperationalError, LogFull) as error:
                waits = self._make_room(error)
                if str(error) != said or time.monotonic() - said_at > SAID_AGAIN_SECONDS:
                    said, said_at = str(error), time.monotonic()
                    self._report(f"the log cannot be written: {said}; clients wait{waits}")
                if self._stopping.is_set():
                    given_up = given_up or time.monotonic() + PATIENCE_SECONDS
                    if time.monotonic() > given_up:
                        self._pending.clear()
                        self._report("the log does not have what was received and not acknowledged")
                        return False
                    time.sleep(SHORTEST_WAIT)
                else:
                    self._stopping.wait(wait)
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                if said:
                    self._report("the log can be written again")
                return True

    def _make_room(self, error: Exception) -> str:
        """Takes the measure that helps against an error of the log, and describes what else would help."""
        if not isinstance(error, LogFull):
            if "locked" in str(error):  # by another program; any other transient error is a lack of room
                return ""
            try:
                if self._log.make_room(self._forgettable()):
                    return ""
            except sqlite3.OperationalError:
                return ". There is no room to forget what every reader has passed: the disk needs some more MB"
        return f". {self._waits_for()}"

    def _waits_for(self) -> str:
        """What keeps the log from forgetting its oldest chunk."""
        first, age = self._log.age(self._listened())
        since = format_duration(timedelta(seconds=max(age, 0) // 1_000_000))
        held = log_readers.held(self._settings.log, first)
        if not held:
            keep = format_duration(self._settings.keep)
            return f"Every reader has passed its oldest chunk, {first:,}, which is {since} old; --keep is {keep}"
        return f"Its oldest chunk, {first:,}, is {since} old and cannot be forgotten yet: {held}"

    def _name_silent_readers(self) -> None:
        """Names, once, readers that seem to be gone and still hold the log."""
        silent = {reader.name: reader for reader in log_readers.seen(self._settings.log)}
        silent = {name: reader for name, reader in silent.items() if reader.silent > SILENT_SECONDS}
        for name in sorted(silent.keys() - self._named):
            self._report(f"the log forgets nothing that a silent reader may need: {self._words_of(silent[name])}")
        self._named = set(silent)

    def _words_of(self, reader: log_readers.Reader) -> str:
        return log_readers.words_of(reader, self._settings.log)

    def _listened(self) -> int:
        """The present time of the log's clock, as if it had run since the last commit."""
        return self._log.elapsed + int((time.monotonic() - self._committed_at) * 1e6)

    def _forgettable(self) -> int:
        """The time of the log's clock before which a chunk must have been committed to be forgotten by age."""
        return self._listened() - microseconds(self._settings.keep)


def _runs(source: str, entries: Sequence[Received]) -> list[tuple[Run, bytes]]:
    """The lines of a source in the order received, in as few runs as their times allow."""
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

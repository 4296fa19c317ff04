"""The log: what the collector acknowledged, in order, in one folder that survives a crash.

An SQLite file in WAL mode holds chunks: each is one durable commit of the lines of many clients. A record's position
is its number since the log began; positions are dense. Chunks without records are heartbeats: they show readers that
time passed while every client was silent. One process writes; any number of processes read, and announce in
`readers/` up to where the log may be forgotten.
"""

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import pyarrow as pa

from transforms.collection.log.file import (
    CODEC,
    LAYOUT,
    Extent,
    Run,
    check_format,
    checksum_of,
    complete,
    decoded,
    elapsed_of,
    extent_of,
    is_empty,
    next_of,
    open_log,
    remedy,
    size,
    unreadable,
)
from transforms.collection.log.identity import LOCK, OpenFiles, lock
from transforms.collection.log.readers import make_spare, passed_by_all
from transforms.collection.log.repair import finish as finish_repair
from transforms.collection.log.reserve import RESERVE_BYTES, WORKING_BYTES, Reserve
from transforms.errors import LogDamaged, LogError
from transforms.process import durable

_FORGOTTEN_AT_ONCE: Final = 256
_BYTES_AT_ONCE: Final = 4 << 20
"""The most chunks, and bytes, forgotten in one transaction: what it writes has to fit in the reserve."""

_SHRUNK_AT_ONCE: Final = 4096
"""The most pages that one pruning returns to the disk: more would delay the collector's clients."""


class LogWriter:
    """Appends to a log; each log has only one writer.

    Threads must not share it at the same time, but each call may come from another thread.

    Raises:
        LogError: if another process writes to the log, or its format is newer than this program's.
    """

    def __init__(self, folder: str):
        try:
            if not os.path.isdir(folder):
                os.makedirs(folder)
                durable.keep_entries(os.path.dirname(os.path.abspath(folder)))
        except OSError as error:
            raise LogError(f"{folder}: {error.strerror}") from error
        self._lock = lock(folder)
        self._folder = folder
        self._reserve = Reserve(folder)
        try:
            finish_repair(folder)
            self._open_anyway()
        except (LogError, sqlite3.DatabaseError) as error:
            self._lock.close()
            raise error if isinstance(error, LogError) else unreadable(folder, error) from error
        self._keep_room()

    def _keep_room(self) -> None:
        """Creates the files that must exist when the disk becomes full."""
        make_spare(self._folder)
        self._reserve.make()

    def _open_anyway(self) -> None:
        try:
            self._open()
        except (LogError, sqlite3.Error):
            # Opening a log needs some space, which a full disk lacks.
            if self._reserve.free() > WORKING_BYTES or not self._reserve.release():
                raise
            self._open()

    def _open(self) -> None:
        self._database = open_log(self._folder, "rwc")
        try:
            self._begin()
        except BaseException:
            self._database.close()
            raise

    def _begin(self) -> None:
        database = self._database
        empty = is_empty(database)
        if empty:
            # The pragma has an effect only before the first table exists. On an existing log it would also be a write,
            # which fails on a full disk or while another program holds the file.
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        else:
            check_format(database, self._folder)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
        if empty:
            database.executescript(LAYOUT)
        with suppress(sqlite3.OperationalError):  # a full disk; the log still works as one of an earlier version
            complete(database)
        self._check_end()
        self.extent = extent_of(database)
        self.elapsed = elapsed_of(database)
        self._files = OpenFiles.of(self._folder, LOCK)

    def _check_end(self) -> None:
        """Refuses to append after a damaged chunk, whose numbers cannot be trusted."""
        row = self._database.execute("SELECT * FROM chunk ORDER BY id DESC LIMIT 1").fetchone()
        if row is not None:
            try:
                decoded(row, self._folder)
            except LogDamaged as error:
                raise LogDamaged(f"{error}; {remedy(self._folder)}") from None

    def append(
        self,
        parts: Sequence[tuple[Run, bytes]],
        received: int,
        elapsed: int,
        sessions: Mapping[str, int] | None = None,
    ) -> int:
        """Appends lines in one commit, durable on return; without parts it is a heartbeat.

        Args:
            parts: runs, and the lines of each; every line ends with a newline.
            received: the wall clock, in µs.
            elapsed: µs since a collector first listened; at least the value of the chunk before.
            sessions: the number of the next record of each of these sources.

        Returns:
            The position of the first record.

        Raises:
            sqlite3.Error: nothing was appended; the disk may be full, or another program may hold the file.
            LogLost: if the log was removed or replaced; the lines are in a file that no longer has a name.
            ValueError: if `elapsed` decreases.
        """
        if elapsed < self.elapsed:
            raise ValueError(f"elapsed must not go back from {self.elapsed}, is {elapsed}")
        extent = self.extent
        runs = json.dumps([[run.source, run.received, run.count] for run, _ in parts])
        data = b"".join(lines for _, lines in parts)
        payload = pa.compress(data, codec=CODEC, asbytes=True) if data else b""
        count = sum(run.count for run, _ in parts)
        row = (extent.end_chunk, extent.end_position, count, received, elapsed, runs, len(data), payload)
        if self._database.in_transaction:  # after a failed commit, the rollback may have failed too
            self._database.rollback()
        try:
            with self._database:
                insert = "INSERT INTO chunk VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
                self._database.execute(insert, (*row, checksum_of(row)))
                if sessions:
                    upsert = "INSERT INTO session VALUES (?, ?) ON CONFLICT DO UPDATE SET next = excluded.next"
                    self._database.executemany(upsert, sessions.items())
        except sqlite3.Error:
            # A step after the commit may fail although the commit succeeded: then the chunk exists, and stays.
            if self._database.in_transaction or extent_of(self._database) == extent:
                raise
        self._files.check()
        self.elapsed = elapsed
        self.extent = Extent(
            extent.first_chunk, extent.end_chunk + 1, extent.first_position, extent.end_position + count
        )
        return extent.end_position

    def next_of(self, source: str) -> int:
        """The number of the next record of a session, from 0.

        Raises:
            LogError: if the log was removed or replaced, or the number is damaged.
        """
        self._files.check()
        return next_of(self._database, source, self._folder)

    def size(self) -> int:
        """Bytes of the log on the disk."""
        return size(self._folder)

    def used(self) -> int:
        """Bytes in use in the log's file; the rest of the file is free for later chunks."""
        return (self._pages("page_count") - self._pages("freelist_count")) * self._pages("page_size")

    def _pages(self, name: str) -> int:
        return int(self._database.execute(f"PRAGMA {name}").fetchone()[0])

    def age(self, elapsed: int) -> tuple[int, int]:
        """The oldest chunk, and how long ago (µs) it was committed, when the log's clock shows `elapsed`."""
        row = self._database.execute("SELECT elapsed FROM chunk ORDER BY id LIMIT 1").fetchone()
        return self.extent.first_chunk, elapsed - int(row[0]) if row else 0

    def prune(self, older_than: int) -> int:
        """Forgets chunks that every reader has passed and that are older than `older_than` (µs) by the log's clock.

        A log without readers forgets nothing, and the newest chunk is always kept.

        Returns:
            How many chunks were forgotten.
        """
        end = self._end_of_forgettable(older_than)
        gone = 0
        while self.extent.first_chunk < end:
            gone += self._forget(end)
        # New chunks reuse free pages. Shrinking moves the newest pages there, so it has to be worth the cost.
        if gone and self.used() * 2 < size(self._folder):
            self._shrink(_SHRUNK_AT_ONCE)
        self._keep_room()
        return gone

    def make_room(self, older_than: int) -> bool:
        """Prunes on a full disk, using the space of the reserve, and returns free pages to the disk.

        Returns:
            Whether the disk has more room than before.

        Raises:
            sqlite3.OperationalError: if the disk lacks even the space to forget something.
        """
        end = self._end_of_forgettable(older_than)
        if self.extent.first_chunk >= end and self._pages("freelist_count") * self._pages("page_size") < WORKING_BYTES:
            return False
        self._reserve.release()
        try:
            # Some builds of SQLite overwrite deleted data with zeros, so deleting a chunk needs its own size.
            self._database.execute("PRAGMA secure_delete = OFF")
            self._apply()
            while self.extent.first_chunk < end:
                self._forget(end)
                self._apply()
            before = -1
            while self._reserve.free() < RESERVE_BYTES + WORKING_BYTES:
                if (left := self._pages("freelist_count")) in (0, before):
                    break
                before = left
                self._shrink(_FORGOTTEN_AT_ONCE)
                self._apply()
        finally:
            self._reserve.make(spare=0)
        return True

    @property
    def has_reserve(self) -> bool:
        """Whether there is a reserve, which pruning on a full disk needs."""
        return self._reserve.is_there()

    def _end_of_forgettable(self, older_than: int) -> int:
        """The chunk before which nothing has to be kept."""
        passed = passed_by_all(self._folder)
        if passed is None:
            return self.extent.first_chunk
        bound = min(passed, self.extent.end_chunk - 1)
        query = "SELECT id FROM chunk WHERE id >= ? OR elapsed >= ? ORDER BY id LIMIT 1"
        row = self._database.execute(query, (bound, older_than)).fetchone()
        return self.extent.first_chunk if row is None else int(row[0])

    def _forget(self, end: int) -> int:
        query = "SELECT id, length(payload) FROM chunk WHERE id < ? ORDER BY id LIMIT ?"
        bound, bytes_ = end, 0
        for number, size_ in self._database.execute(query, (end, _FORGOTTEN_AT_ONCE)).fetchall():
            bound, bytes_ = number + 1, bytes_ + size_
            if bytes_ > _BYTES_AT_ONCE:
                break
        with self._database:
            gone = self._database.execute("DELETE FROM chunk WHERE id < ?", (bound,)).rowcount
        self.extent = extent_of(self._database)
        return gone

    def _shrink(self, pages: int) -> None:
        # The statement works one page per row and returns no columns: `execute` would free only one page.
        self._database.executescript(f"PRAGMA incremental_vacuum({pages})")

    def _apply(self) -> None:
        """Moves commits from SQLite's WAL into the main file, and returns the space to the disk."""
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Closes the log and releases its lock."""
        self._database.close()
        self._lock.close()

"""The log: what the collector acknowledged, in order, in one folder that survives a crash.

An SQLite file in WAL mode holds chunks: one durable commit each, of the lines of many clients. A record's position
is its number since the log began; positions are dense. Chunks without records are heartbeats: they tell readers
that time passed while every client was silent. One process writes; any number read, and say in `readers/` how far
the log may be forgotten.
"""

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from transforms import durable
from transforms.collection.log_file import (
    CODEC,
    LAYOUT,
    check_format,
    checksum_of,
    decoded,
    elapsed_of,
    extent_of,
    is_empty,
    open_log,
    open_to_read,
    size,
)
from transforms.collection.log_file import FORMAT as FORMAT  # whoever uses the log finds its names here
from transforms.collection.log_file import Chunk as Chunk
from transforms.collection.log_file import Extent as Extent
from transforms.collection.log_file import LogError as LogError
from transforms.collection.log_file import Run as Run
from transforms.collection.log_file import log_file as log_file
from transforms.collection.log_inspection import damage as damage
from transforms.collection.log_readers import announce as announce
from transforms.collection.log_readers import passed_by_all as passed_by_all

_AT_ONCE: Final = 16 << 20
"""Bytes of lines that a reader takes from the file at once, before its caller has asked for them."""

_SHRUNK_AT_ONCE: Final = 4096
"""Pages that a pruning gives back to the disk: more would keep the collector from its clients."""


class LogWriter:
    """Appends to a log; the only one to do so.

    Not safe for threads to share, though each call may come from another.

    Raises:
        LogError: if another process writes to the log, or its format is newer than this program's.
    """

    def __init__(self, folder: str):
        try:
            if not os.path.isdir(folder):
                os.makedirs(folder)
                durable.keep_entries(os.path.dirname(os.path.abspath(folder)))
            self._lock = open(os.path.join(folder, "lock"), "w")  # noqa: SIM115  # held until `close`
        except OSError as error:
            raise LogError(f"{folder}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise LogError(f"{folder}: another collector writes to this log") from None
        self._folder = folder
        try:
            self._database = open_log(folder, "rwc")
            self._begin()
        except (LogError, sqlite3.Error) as error:
            self._lock.close()
            raise error if isinstance(error, LogError) else LogError(f"{folder}: {error}") from error

    def _begin(self) -> None:
        database = self._database
        empty = is_empty(database)
        if empty:
            # It speaks before the first table is made, or never; of a log that is there it would be a write, which
            # a full disk refuses, and a program that holds the file.
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        else:
            check_format(database, self._folder)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
        if empty:
            database.executescript(LAYOUT)
        self.extent = extent_of(database)
        self.elapsed = elapsed_of(database)

    def append(
        self,
        parts: Sequence[tuple[Run, bytes]],
        received: int,
        elapsed: int,
        sessions: Mapping[str, int] | None = None,
    ) -> int:
        """Appends lines in one commit, durable on return; no parts make a heartbeat.

        Args:
            parts: runs, and the lines of each, every line ended by a newline.
            received: the wall clock, in µs.
            elapsed: µs since a collector first listened; at least that of the chunk before.
            sessions: what the next record of each of these sources will be numbered.

        Returns:
            The position of the first record.

        Raises:
            sqlite3.Error: nothing was appended; the disk may be full, or another program may hold the file.
            ValueError: if `elapsed` goes back.
        """
        if elapsed < self.elapsed:
            raise ValueError(f"elapsed must not go back from {self.elapsed}, is {elapsed}")
        extent = self.extent
        runs = json.dumps([[run.source, run.received, run.count] for run, _ in parts])
        data = b"".join(lines for _, lines in parts)
        payload = pa.compress(data, codec=CODEC, asbytes=True) if data else b""
        count = sum(run.count for run, _ in parts)
        row = (extent.end_chunk, extent.end_position, count, received, elapsed, runs, len(data), payload)
        if self._database.in_transaction:  # a commit that failed may have failed to roll back, too
            self._database.rollback()
        try:
            with self._database:
                insert = "INSERT INTO chunk VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
                self._database.execute(insert, (*row, checksum_of(row)))
                if sessions:
                    upsert = "INSERT INTO session VALUES (?, ?) ON CONFLICT DO UPDATE SET next = excluded.next"
                    self._database.executemany(upsert, sessions.items())
        except sqlite3.Error:
            # What follows a commit may fail though the commit did not: then the chunk is there, and stays.
            if self._database.in_transaction or extent_of(self._database) == extent:
                raise
        self.elapsed = elapsed
        self.extent = Extent(
            extent.first_chunk, extent.end_chunk + 1, extent.first_position, extent.end_position + count
        )
        return extent.end_position

    def next_of(self, source: str) -> int:
        """The number of the next record of a session, from 0."""
        row = self._database.execute("SELECT next FROM session WHERE source = ?", (source,)).fetchone()
        return int(row[0]) if row else 0

    def size(self) -> int:
        """Bytes of the log on the disk."""
        return size(self._folder)

    def used(self) -> int:
        """Bytes of the log's file that hold something; the rest of it is room for what comes."""
        pages, free, page = (
            int(self._database.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * page

    def prune(self, older_than: int) -> int:
        """Forgets chunks that every reader has passed and that were committed before `older_than` (µs).

        A log without readers forgets nothing, and the newest chunk always stays.

        Returns:
            How many chunks were forgotten.
        """
        passed = passed_by_all(self._folder)
        if passed is None:
            return 0
        bound = min(passed, self.extent.end_chunk - 1)
        query = "SELECT id FROM chunk WHERE id >= ? OR received >= ? ORDER BY id LIMIT 1"
        row = self._database.execute(query, (bound, older_than)).fetchone()
        if row is None or row[0] <= self.extent.first_chunk:
            return 0
        with self._database:
            gone = self._database.execute("DELETE FROM chunk WHERE id < ?", row).rowcount
        self.extent = extent_of(self._database)
        # Free pages are where the next chunks go. Shrinking moves the newest there, so it has to be worth it.
        if self.used() * 2 < size(self._folder):
            # It is done a page a row, and has no columns: `execute` would do one page of it.
            self._database.executescript(f"PRAGMA incremental_vacuum({_SHRUNK_AT_ONCE})")
        return gone

    def close(self) -> None:
        self._database.close()
        self._lock.close()


class LogReader:
    """Reads a log while it is written.

    Raises:
        LogError: if there is no log, or its format is newer than this program's.
    """

    def __init__(self, folder: str):
        self.folder = folder
        self._database = open_to_read(folder)

    def extent(self) -> Extent:
        """What the log holds now."""
        return extent_of(self._database)

    def first_of(self, chunk: int) -> int | None:
        """The position of a chunk's first record, also of the chunk that comes next; None: there is no such chunk."""
        extent = self.extent()
        if chunk == extent.end_chunk:
            return extent.end_position
        row = self._database.execute("SELECT first FROM chunk WHERE id = ?", (chunk,)).fetchone()
        return None if row is None else int(row[0])

    def has(self, chunk: int) -> bool:
        """Whether this chunk, or a later one, is there already: cheap enough to be asked every few milliseconds."""
        return self._database.execute("SELECT 1 FROM chunk WHERE id >= ? LIMIT 1", (chunk,)).fetchone() is not None

    def chunks(self, start: int, end: int | None = None, target_bytes: int | None = None) -> Iterator[Chunk]:
        """Chunks from `start` to before `end`, or until they hold `target_bytes` of lines, whichever comes first.

        Raises:
            LogError: if a chunk is damaged, or was forgotten.
        """
        taken, expected = 0, start
        # No cursor stays open between chunks that a caller takes slowly: it would keep the file from shrinking.
        while target_bytes is None or taken < target_bytes:
            rows = self._rows(expected, end, _AT_ONCE if target_bytes is None else target_bytes - taken)
            if not rows:
                return
            for row in rows:
                chunk = decoded(row, self.folder)
                if chunk.id != expected:
                    raise LogError(f"{self.folder}: chunk {expected} is gone; the log begins at chunk {chunk.id}")
                expected += 1
                taken += len(chunk.data)
                yield chunk

    def _rows(self, start: int, end: int | None, wanted_bytes: int) -> list[tuple[Any, ...]]:
        """The chunks that it takes to have `wanted_bytes`, or fewer."""
        bounds = (start, (1 << 62) if end is None else end)
        where = "FROM chunk WHERE id >= ? AND id < ? ORDER BY id LIMIT"
        try:
            sizes = self._database.execute(f"SELECT size {where} 256", bounds).fetchall()
            total, count = 0, 0
            for (size_,) in sizes:
                if total >= min(wanted_bytes, _AT_ONCE):
                    break
                total, count = total + size_, count + 1
            return self._database.execute(f"SELECT * {where} {count}", bounds).fetchall()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise LogError(f"{self.folder}: the log is damaged: {error}") from error

    def sessions(self) -> dict[str, int]:
        """The sources of sessions, and the number of each one's next record."""
        return dict(self._database.execute("SELECT source, next FROM session ORDER BY source").fetchall())

    def close(self) -> None:
        self._database.close()

"""Reads a log while a collector writes to it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from transforms.collection.log.file import (
    Chunk,
    Extent,
    decoded,
    extent_of,
    identity_of,
    open_to_read,
    remedy,
    unreadable,
)
from transforms.collection.log.identity import OpenFiles
from transforms.errors import LogDamaged, LogError

_AT_ONCE: Final = 16 << 20
"""Bytes of lines that a reader fetches from the file at once, before its caller asks for them."""


class LogReader:
    """Reads a log while a collector writes to it.

    Raises:
        LogError: if there is no log, or its format is newer than this program's. All methods raise LogDamaged if
            what they need is damaged, and LogLost if the log was removed or replaced meanwhile.
    """

    def __init__(self, folder: str):
        self.folder = folder
        self._database = open_to_read(folder)
        self._files = OpenFiles.of(folder)
        with self._reading():
            self.identity = identity_of(self._database)

    def extent(self) -> Extent:
        """The range that the log holds now."""
        with self._reading():
            return extent_of(self._database)

    def first_of(self, chunk: int) -> int | None:
        """The position of a chunk's first record, or of the next chunk to come; None if there is no such chunk."""
        extent = self.extent()
        if chunk == extent.end_chunk:
            return extent.end_position
        with self._reading():
            row = self._database.execute("SELECT first FROM chunk WHERE id = ?", (chunk,)).fetchone()
        return None if row is None else int(row[0])

    def has(self, chunk: int) -> bool:
        """Whether this chunk or a later one exists: cheap enough to ask every few milliseconds."""
        self._files.check()
        query = "SELECT 1 FROM chunk WHERE id >= ? LIMIT 1"
        try:
            return self._database.execute(query, (chunk,)).fetchone() is not None
        except sqlite3.DatabaseError as error:
            raise unreadable(self.folder, error) from error

    def chunks(self, start: int, end: int | None = None, target_bytes: int | None = None) -> Iterator[Chunk]:
        """Chunks from `start` to before `end`, or until they hold `target_bytes` of lines, whichever comes first.

        Raises:
            LogError: if a chunk is damaged, or was forgotten.
        """
        taken, expected = 0, start
        # No SQL cursor stays open between chunks: a slow caller would keep the file from shrinking.
        while target_bytes is None or taken < target_bytes:
            rows = self._rows(expected, end, _AT_ONCE if target_bytes is None else target_bytes - taken)
            if not rows:
                return
            for row in rows:
                chunk = self._decoded(row, expected)
                expected += 1
                taken += len(chunk.data)
                yield chunk

    def _decoded(self, row: tuple[Any, ...], expected: int) -> Chunk:
        try:
            chunk = decoded(row, self.folder)
        except LogDamaged as error:
            raise LogDamaged(f"{error}; {remedy(self.folder)}") from None
        if chunk.id != expected:
            first = self.extent().first_chunk
            if expected > first:
                raise LogDamaged(
                    f"{self.folder}: chunk {expected} is missing: the log is damaged; {remedy(self.folder)}"
                )
            raise LogError(f"{self.folder}: chunk {expected} was forgotten; the log begins at chunk {first}")
        return chunk

    def _rows(self, start: int, end: int | None, wanted_bytes: int) -> list[tuple[Any, ...]]:
        """The rows of as many chunks as hold `wanted_bytes`, or fewer."""
        bounds = (start, (1 << 62) if end is None else end)
        where = "FROM chunk WHERE id >= ? AND id < ? ORDER BY id LIMIT"
        with self._reading():
            sizes = self._database.execute(f"SELECT size {where} 256", bounds).fetchall()
            total, count = 0, 0
            for (size_,) in sizes:
                if total >= min(wanted_bytes, _AT_ONCE):
                    break
                total, count = total + (size_ if isinstance(size_, int) else 0), count + 1
            return self._database.execute(f"SELECT * {where} {count}", bounds).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turns SQLite's errors into sentences, and checks first that the files are still those of the log.

        An OperationalError (a lock, a full disk) passes unchanged: the caller tries again.
        """
        self._files.check()
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise unreadable(self.folder, error) from error

    def sessions(self) -> dict[str, int]:
        """The sources of sessions, with the number of each one's next record."""
        with self._reading():
            return dict(self._database.execute("SELECT source, next FROM session ORDER BY source").fetchall())

    def close(self) -> None:
        """Closes the log."""
        self._database.close()

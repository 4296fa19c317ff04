"""The log's file: its layout in SQLite, how it is opened, and what a row of it holds."""

import json
import os
import secrets
import sqlite3
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa

from transforms.errors import LogDamaged, LogError, LogMissing

FORMAT: Final = 1
"""The version of the file's layout; a reader refuses a newer one."""

FILE: Final = "log.db"
CODEC: Final = "zstd"
LAYOUT: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY) WITHOUT ROWID;
INSERT INTO meta VALUES ('format', {FORMAT});
CREATE TABLE session (source TEXT PRIMARY KEY, next INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE chunk (
    id INTEGER PRIMARY KEY,      -- dense, from 1
    first INTEGER NOT NULL,      -- position of the first record
    count INTEGER NOT NULL,      -- records; 0 in a heartbeat
    received INTEGER NOT NULL,   -- when it was committed, in µs since the epoch, by the collector's clock
    elapsed INTEGER NOT NULL,    -- µs that collectors have been listening since the log began: never decreases
    runs TEXT NOT NULL,          -- [[source, received, count], ...] in the order of the records
    size INTEGER NOT NULL,       -- bytes of the lines
    payload BLOB NOT NULL,       -- the lines, each with its newline, compressed
    checksum INTEGER NOT NULL    -- CRC-32 of all the columns above
);
COMMIT;
"""
COMPLETION: Final = """
BEGIN IMMEDIATE;
CREATE TABLE session_copy (source TEXT PRIMARY KEY, next INTEGER NOT NULL, complement INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO session_copy SELECT source, next, ~next FROM session;
CREATE TRIGGER session_inserted AFTER INSERT ON session
BEGIN
    DELETE FROM session_copy WHERE source = NEW.source;
    INSERT INTO session_copy VALUES (NEW.source, NEW.next, ~NEW.next);
END;
CREATE TRIGGER session_updated AFTER UPDATE ON session
BEGIN UPDATE session_copy SET next = NEW.next, complement = ~NEW.next WHERE source = NEW.source; END;
COMMIT;
"""
"""Added to logs of earlier versions: each session's number in three copies, of which any two that agree are right.
The copies are in a separate table, filled by triggers, so that earlier versions can still read and write the log."""


def remedy(folder: str) -> str:
    """What to do about a damaged log."""
    return (
        f"`collect --log {folder} --inspect` shows what is lost, and `collect --log {folder} --repair` makes the log"
        " whole without it"
    )


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive records of one source in a chunk, and when they were received (µs)."""

    source: str
    received: int
    count: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """One durable commit: whole lines, the source of each, and the collector's clocks.

    `elapsed` is how long (µs) collectors have been listening to clients since the log began. Unlike `received` it
    never decreases, and it stops while no collector is listening.
    """

    id: int
    first: int
    received: int
    elapsed: int
    runs: tuple[Run, ...]
    data: bytes

    @property
    def count(self) -> int:
        """How many records it holds; 0 in a heartbeat."""
        return sum(run.count for run in self.runs)


@dataclass(frozen=True, slots=True)
class Extent:
    """The range that a log holds now: chunks [first_chunk, end_chunk), records [first_position, end_position)."""

    first_chunk: int
    end_chunk: int
    first_position: int
    end_position: int


def log_file(folder: str) -> str:
    """The file that holds a log's chunks."""
    return os.path.join(folder, FILE)


def size(folder: str) -> int:
    """Bytes of a log on the disk."""
    path, total = log_file(folder), 0
    for suffix in ("", "-wal"):
        with suppress(FileNotFoundError):
            total += os.path.getsize(path + suffix)
    return total


def open_log(folder: str, mode: str) -> sqlite3.Connection:
    """Opens the file; `mode` is SQLite's: `rwc` creates a missing file, `rw` does not."""
    path = quote(os.path.abspath(log_file(folder)))
    try:
        database = sqlite3.connect(f"file:{path}?mode={mode}", uri=True, timeout=5, check_same_thread=False)
        # Damaged text must fail by its checksum, as every other column does, and not when it is decoded.
        database.text_factory = lambda octets: octets.decode("utf-8", "surrogateescape")
        database.execute("PRAGMA schema_version").fetchone()
    except sqlite3.Error as error:
        raise LogError(f"{folder}: {error}") from error
    return database


def open_to_read(folder: str) -> sqlite3.Connection:
    """Opens an existing log for reading."""
    missing = LogMissing(f"{folder}: there is no log; `collect --log {folder}` creates one")
    if not os.path.exists(log_file(folder)):
        raise missing
    database = open_log(folder, "rw")
    try:
        if is_empty(database):
            raise missing
        database.execute("PRAGMA query_only = ON")
        check_format(database, folder)
    except (LogError, sqlite3.DatabaseError) as error:
        database.close()
        raise error if isinstance(error, LogError) else unreadable(folder, error) from error
    return database


def unreadable(folder: str, error: sqlite3.DatabaseError) -> LogError:
    """SQLite's error about a file that it cannot read, as a sentence that says what to do."""
    # An operational error concerns the machine, such as a lock or the disk; any other concerns the file.
    if isinstance(error, sqlite3.OperationalError):
        return LogError(f"{folder}: the log cannot be read: {error}")
    return LogDamaged(f"{folder}: the log is damaged: {error}; {remedy(folder)}")


def is_empty(database: sqlite3.Connection) -> bool:
    """Whether the file still has no table."""
    return database.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None


def check_format(database: sqlite3.Connection, folder: str) -> None:
    """Refuses a file that is not a log, or that a newer version wrote."""
    try:
        row = database.execute("SELECT value FROM meta WHERE name = 'format'").fetchone()
    except sqlite3.Error as error:
        raise LogError(f"{folder}: {FILE} is not a Streamgauge log ({error})") from error
    if row is None or not isinstance(row[0], int) or row[0] > FORMAT:
        found = "none" if row is None else row[0]
        raise LogError(f"{folder}: the log has format {found}, this version reads {FORMAT}; use a newer Streamgauge")


def complete(database: sqlite3.Connection) -> None:
    """Adds to a log what logs of earlier versions lack.

    Raises:
        sqlite3.OperationalError: if the disk has no room for it; the log is unchanged.
    """
    if not has_copies(database):
        try:
            database.executescript(COMPLETION)
        except sqlite3.Error:
            if database.in_transaction:
                database.rollback()
            raise
    if database.execute("SELECT 1 FROM meta WHERE name = 'id'").fetchone() is None:
        number = 1 + secrets.randbelow((1 << 53) - 1)  # any program that reads JSON can hold it
        with database:
            database.executemany("INSERT INTO meta VALUES (?, ?)", [("id", number), ("id complement", ~number)])


def has_copies(database: sqlite3.Connection) -> bool:
    """Whether the numbers of sessions have copies to check them against."""
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = 'session_copy'").fetchone() is not None


def identity_of(database: sqlite3.Connection) -> int | None:
    """The number that identifies this log; None if an earlier version made the log, or the number is damaged."""
    number = dict(database.execute("SELECT name, value FROM meta WHERE name LIKE 'id%'").fetchall())
    found = number.get("id")
    return found if isinstance(found, int) and found > 0 and number.get("id complement") == ~found else None


def next_of(database: sqlite3.Connection, source: str, folder: str) -> int:
    """The number of a session's next record, from 0.

    Raises:
        LogDamaged: if the number is no longer known.
    """
    row = database.execute("SELECT next FROM session WHERE source = ?", (source,)).fetchone()
    known = [] if row is None else [row[0]]
    if not has_copies(database):
        return int(known[0]) if known else 0
    copies = database.execute("SELECT next, complement FROM session_copy WHERE source = ?", (source,)).fetchone()
    if copies is not None:
        known += [copies[0], ~copies[1] if isinstance(copies[1], int) else None]
    if not known:
        return 0
    for value in known:
        if isinstance(value, int) and (known.count(value) > 1 or len(known) == 1):
            return value
    raise LogDamaged(f"{folder}: the number of the next record of {source} is damaged; {remedy(folder)}")


def extent_of(database: sqlite3.Connection) -> Extent:
    """The range that a log holds now."""
    first = database.execute("SELECT id, first FROM chunk ORDER BY id LIMIT 1").fetchone() or (1, 0)
    last = database.execute("SELECT id, first, count FROM chunk ORDER BY id DESC LIMIT 1").fetchone() or (0, 0, 0)
    return Extent(int(first[0]), int(last[0]) + 1, int(first[1]), int(last[1] + last[2]))


def elapsed_of(database: sqlite3.Connection) -> int:
    """The elapsed listening time (µs) at the end of the log."""
    row = database.execute("SELECT elapsed FROM chunk ORDER BY id DESC LIMIT 1").fetchone()
    return int(row[0]) if row else 0


def checksum_of(row: Sequence[Any]) -> int:
    """The checksum of all the other columns of a chunk."""
    *numbers_and_runs, payload = row
    return zlib.crc32(payload, zlib.crc32(json.dumps(numbers_and_runs, default=repr).encode("utf-8")))


def decoded(row: Sequence[Any], folder: str) -> Chunk:
    """The chunk that a row holds.

    Raises:
        LogDamaged: if it is damaged.
    """
    number, first, count, received, elapsed, runs, bytes_, payload, checksum = row
    if not isinstance(payload, bytes) or checksum_of(row[:-1]) != checksum:
        raise LogDamaged(f"{folder}: chunk {number} is damaged: its checksum does not match")
    data = pa.decompress(payload, bytes_, codec=CODEC, asbytes=True) if bytes_ else b""
    chunk = Chunk(number, first, received, elapsed, tuple(Run(*run) for run in json.loads(runs)), data)
    if chunk.count != count:
        raise LogDamaged(f"{folder}: chunk {number} is damaged: it holds {chunk.count} records, not {count}")
    return chunk

"""Repairs a damaged log: readable chunks stay as they are, and a placeholder replaces each record that is lost.

Positions stay dense: a lost chunk becomes a chunk of as many placeholder lines, which every job turns into dead
letters. The chunks around it determine the count. If SQLite cannot read its file, everything readable is copied into
a new file, and the old file is kept next to it.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Final

from transforms.collection.log.file import (
    LAYOUT,
    complete,
    has_copies,
    identity_of,
    log_file,
    open_log,
    open_to_read,
    unreadable,
)
from transforms.collection.log.identity import SIDES, locked
from transforms.collection.log.inspection import damaged_sessions, has_damaged_id
from transforms.collection.log.losses import Lost, extreme, losses_in, row_of
from transforms.errors import LogDamaged, LogError
from transforms.process import durable

_INSERT: Final = "INSERT OR REPLACE INTO chunk VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


def repair(folder: str) -> list[Lost]:
    """Makes a log whole.

    Returns:
        The chunks that were given up.

    Raises:
        LogError: if there is no log, a collector writes to it, it cannot be repaired, or the disk refuses.
    """
    with locked(folder):
        finish(folder)
        with closing(open_to_read(folder)) as database:
            lost = losses_in(database, folder)
            copies = not _is_sound(database)
            if copies:
                with _refusals_in_words(folder):
                    _copy(database, folder, lost)
        if copies:
            finish(folder)
        else:
            with _refusals_in_words(folder), closing(open_log(folder, "rw")) as database:
                _mend(database, lost)
        return lost


def finish(folder: str) -> None:
    """Puts the new file of a repair in place, if a complete one exists. The caller must have locked the log."""
    new, old = f"{log_file(folder)}.repaired", log_file(folder)
    if not os.path.exists(new):
        return
    aside = f"{old}.damaged"
    if not os.path.exists(aside):
        os.link(old, aside)
    for side in SIDES[1:]:
        with suppress(FileNotFoundError):
            os.replace(old + side, aside + side)
    os.replace(new, old)
    durable.keep_entries(folder)


@contextmanager
def _refusals_in_words(folder: str) -> Iterator[None]:
    """Turns errors of the system into sentences."""
    try:
        yield
    except LogError:
        raise
    except (sqlite3.Error, OSError) as error:
        raise LogError(f"{folder}: the log could not be repaired and is unchanged: {error}") from error


def _is_sound(database: sqlite3.Connection) -> bool:
    try:
        return database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except sqlite3.DatabaseError:
        return False


def _mend(database: sqlite3.Connection, lost: Sequence[Lost]) -> None:
    """Replaces lost chunks in place."""
    with database:
        database.executemany(_INSERT, (chunk.row() for chunk in lost))
        for source in damaged_sessions(database):
            _put_session(database, source, _number(database, source))
        if has_damaged_id(database):
            _put_id(database, 0)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _number(database: sqlite3.Connection, source: str) -> int:
    """The number of a session's next record: the value that two copies share, or the greatest, to avoid duplicates."""
    row = database.execute("SELECT next FROM session WHERE source = ?", (source,)).fetchone()
    copies = database.execute("SELECT next, ~complement FROM session_copy WHERE source = ?", (source,)).fetchone()
    known = [value for value in (*(row or ()), *(copies or ())) if isinstance(value, int) and value >= 0]
    return max(known, key=lambda value: (known.count(value), value), default=0)


def _put_session(database: sqlite3.Connection, source: str, number: int) -> None:
    database.execute("INSERT OR REPLACE INTO session VALUES (?, ?)", (source, number))
    if has_copies(database):
        database.execute("INSERT OR REPLACE INTO session_copy VALUES (?, ?, ?)", (source, number, ~number))


def _put_id(database: sqlite3.Connection, number: int) -> None:
    rows = [("id", number), ("id complement", ~number)]
    database.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)


def _copy(database: sqlite3.Connection, folder: str, lost: Sequence[Lost]) -> None:
    """Makes a new file of all that can be read."""
    path = f"{log_file(folder)}.repairing"
    for name in (path, f"{path}-journal", f"{path}-wal", f"{path}-shm"):
        with suppress(FileNotFoundError):
            os.unlink(name)
    given_up = {chunk.chunk: chunk for chunk in lost}
    with closing(sqlite3.connect(path)) as new:
        new.execute("PRAGMA auto_vacuum = INCREMENTAL")
        new.execute("PRAGMA synchronous = FULL")
        new.executescript(LAYOUT)
        with new:
            for number in range(extreme(database, "ASC"), extreme(database, "DESC") + 1):
                row = given_up[number].row() if number in given_up else row_of(database, number)
                if row is None:
                    raise LogError(f"{folder}: chunk {number} was readable and no longer is; try again")
                new.execute(_INSERT, row)
            for source, number in _sessions(database, folder).items():
                _put_session(new, source, number)
            _put_id(new, identity_of(database) or 0)
        complete(new)
        new.execute("PRAGMA journal_mode = WAL")
    os.replace(path, f"{log_file(folder)}.repaired")
    durable.keep_entries(folder)


def _sessions(database: sqlite3.Connection, folder: str) -> dict[str, int]:
    """The numbers of all sessions, from whichever of the two tables can be read."""
    errors, sources = [], set[str]()
    for table in ("session", "session_copy") if has_copies(database) else ("session",):
        try:
            sources |= {source for (source,) in database.execute(f"SELECT source FROM {table}")}
        except sqlite3.DatabaseError as error:
            errors.append(error)
    if not sources and errors:
        raise LogDamaged(
            f"{folder}: the log cannot be repaired, because it no longer says how many records each session has sent"
            f" ({errors[0]}): move it aside, create a new log, and give its jobs another `state` and other sinks"
        ) from unreadable(folder, errors[0])
    return {source: _either(database, source) for source in sources}


def _either(database: sqlite3.Connection, source: str) -> int:
    known = []
    for query in (
        "SELECT next FROM session WHERE source = ?",
        "SELECT next FROM session_copy WHERE source = ? AND next = ~complement",
    ):
        with suppress(sqlite3.DatabaseError):
            known += [value for (value,) in database.execute(query, (source,)) if isinstance(value, int)]
    return max(known, default=0)

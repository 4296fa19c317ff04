"""Repairing a damaged log: what can be read stays as it is, and each record that cannot is given up in its place.

Positions stay dense: a chunk that is lost becomes one of as many lines that say so, which every job makes dead letters
of. How many they are, the chunks around it tell. Where SQLite itself cannot read its file, all that can be read goes
into a new one, and the old one stays beside it.
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
        What was given up.

    Raises:
        LogError: if there is no log, a collector writes to it, it cannot be repaired, or the disk refuses.
    """
    with locked(folder):
        finish(folder)
        with closing(open_to_read(folder)) as database:
            lost = losses_in(database, folder)
            copies = not _is_sound(database)
            if copies:
                with _told(folder):
                    _copy(database, folder, lost)
        if copies:
            finish(folder)
        else:
            with _told(folder), closing(open_log(folder, "rw")) as database:
                _mend(database, lost)
        return lost


def finish(folder: str) -> None:
    """Puts the new file of a repair in place, if there is one that is complete. Only for who has locked the log."""
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
def _told(folder: str) -> Iterator[None]:
    """Says in a sentence what the system refuses."""
    try:
        yield
    except LogError:
        raise
    except (sqlite3.Error, OSError) as error:
        raise LogError(f"{folder}: the log could not be repaired, and is as it was: {error}") from error


def _is_sound(database: sqlite3.Connection) -> bool:
    try:
        return database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except sqlite3.DatabaseError:
        return False


def _mend(database: sqlite3.Connection, lost: Sequence[Lost]) -> None:
    """Gives chunks up where they are."""
    with database:
        database.executemany(_INSERT, (chunk.row() for chunk in lost))
        for source in damaged_sessions(database):
            _put_session(database, source, _number(database, source))
        if has_damaged_id(database):
            _put_id(database, 0)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _number(database: sqlite3.Connection, source: str) -> int:
    """The number of a session's next record: what two places agree on, else the greatest, so that none comes twice."""
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
    """Makes a new file of what can be read."""
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
                    raise LogError(f"{folder}: chunk {number} could be read, and cannot any more; try again")
                new.execute(_INSERT, row)
            for source, number in _sessions(database, folder).items():
                _put_session(new, source, number)
            _put_id(new, identity_of(database) or 0)
        complete(new)
        new.execute("PRAGMA journal_mode = WAL")
    os.replace(path, f"{log_file(folder)}.repaired")
    durable.keep_entries(folder)


def _sessions(database: sqlite3.Connection, folder: str) -> dict[str, int]:
    """The numbers of all sessions, of whichever of the two tables can be read."""
    errors, sources = [], set[str]()
    for table in ("session", "session_copy") if has_copies(database) else ("session",):
        try:
            sources |= {source for (source,) in database.execute(f"SELECT source FROM {table}")}
        except sqlite3.DatabaseError as error:
            errors.append(error)
    if not sources and errors:
        raise LogDamaged(
            f"{folder}: the log cannot be repaired, for it does not say any more how many records each session has sent"
            f" ({errors[0]}): move it aside, begin another one, and give its jobs another `state` and other sinks"
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

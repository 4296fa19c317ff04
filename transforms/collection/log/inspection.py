"""Inspects a log: its contents in figures, and whether it is whole."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from transforms.collection.log.file import Extent, decoded, extent_of, has_copies, identity_of, open_to_read, unreadable
from transforms.errors import LogError


@dataclass(frozen=True, slots=True)
class LogSummary:
    """A log in figures: times in µs, sizes in bytes; an empty log has no times."""

    extent: Extent
    heartbeats: int
    line_bytes: int
    compressed_bytes: int
    oldest: int | None
    newest: int | None
    elapsed: int
    sessions: dict[str, int]


def summarize(folder: str) -> LogSummary:
    """Counts the contents of a log.

    Raises:
        LogError: if there is no log, its format is newer than this program's, or it cannot be read to its end.
    """
    with closing(open_to_read(folder)) as database:
        try:
            row = database.execute(
                "SELECT coalesce(sum(count = 0), 0), coalesce(sum(size), 0), coalesce(sum(length(payload)), 0),"
                " min(received), max(received), coalesce(max(elapsed), 0) FROM chunk"
            ).fetchone()
            sessions = dict(database.execute("SELECT source, next FROM session ORDER BY source").fetchall())
            extent = extent_of(database)
        except sqlite3.DatabaseError as error:
            raise unreadable(folder, error) from error
        heartbeats, line_bytes, compressed_bytes, oldest, newest, elapsed = row
        return LogSummary(extent, heartbeats, line_bytes, compressed_bytes, oldest, newest, elapsed, sessions)


def damage(folder: str) -> list[str]:
    """What is wrong with a log: damaged chunks and gaps, in sentences; empty when it is whole."""
    found: list[str] = []
    with closing(open_to_read(folder)) as database:
        try:
            for (sentence,) in database.execute("PRAGMA quick_check(10)").fetchall():
                if sentence != "ok":
                    found.append(f"{folder}: {sentence}")
            found += _broken(database, folder)
            found += [f"{folder}: the session {source} is damaged" for source in damaged_sessions(database)]
            if has_damaged_id(database):
                found.append(f"{folder}: the log's id is damaged")
        except sqlite3.DatabaseError as error:
            found.append(f"{folder}: {error}")
    return found


def _broken(database: sqlite3.Connection, folder: str) -> Iterator[str]:
    position = chunk_id = None
    for row in database.execute("SELECT * FROM chunk ORDER BY id"):
        try:
            chunk = decoded(row, folder)
        except LogError as error:
            yield str(error)
            position = chunk_id = None
            continue
        if position is not None and (chunk.first, chunk.id) != (position, chunk_id):
            yield f"{folder}: chunk {chunk.id} does not follow the one before it"
        if chunk.data.count(b"\n") != chunk.count or (chunk.data and not chunk.data.endswith(b"\n")):
            yield f"{folder}: chunk {chunk.id} is damaged: it does not hold {chunk.count} lines"
        position, chunk_id = chunk.first + chunk.count, chunk.id + 1


def damaged_sessions(database: sqlite3.Connection) -> list[str]:
    """The sources whose numbers differ between their copies."""
    if not has_copies(database):
        return []
    query = (
        "SELECT source FROM session EXCEPT SELECT s.source FROM session s JOIN session_copy c"
        " ON c.source = s.source AND c.next IS s.next AND c.complement IS ~s.next AND typeof(s.next) = 'integer'"
        " UNION SELECT source FROM session_copy WHERE source NOT IN (SELECT source FROM session) ORDER BY 1"
    )
    return [source for (source,) in database.execute(query)]


def has_damaged_id(database: sqlite3.Connection) -> bool:
    """Whether the log has an id that cannot be right; 0 is the id of a log whose own id was lost."""
    known = dict(database.execute("SELECT name, value FROM meta WHERE name LIKE 'id%'").fetchall())
    return bool(known) and identity_of(database) is None and (known.get("id"), known.get("id complement")) != (0, ~0)

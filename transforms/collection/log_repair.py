"""Repairing a damaged log: what can be read stays as it is, and each record that cannot is given up in its place.

Positions stay dense: a chunk that is lost becomes one of as many lines that say so, which every job makes dead letters
of. How many they are, the chunks around it tell. Where SQLite itself cannot read its file, all that can be read goes
into a new one, and the old one stays beside it.
"""

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from transforms import durable
from transforms.collection.log_file import (
    CODEC,
    LAYOUT,
    Chunk,
    LogDamaged,
    LogError,
    checksum_of,
    complete,
    decoded,
    has_copies,
    identity_of,
    log_file,
    open_log,
    open_to_read,
    unreadable,
)
from transforms.collection.log_identity import SIDES, locked
from transforms.collection.log_inspection import damaged_sessions, has_damaged_id

LOST: Final = ""
"""The source of records that a repair gave up; no session can have it."""

PLACEHOLDER: Final = b"lost\n"
_INSERT: Final = "INSERT OR REPLACE INTO chunk VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_MOST_GUESSED: Final = 1 << 24
"""Records of a chunk at most, where only the damaged chunk itself says how many there are."""


_MOST_BYTES: Final = 1 << 28
"""Bytes of a chunk's lines at most: more than a collector takes at once."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A chunk that is lost: its records, and as far as it can still be read, how many of which source."""

    chunk: int
    first: int
    count: int
    received: int
    elapsed: int
    sources: Mapping[str, int]

    def words(self) -> str:
        """What is lost with it, in a sentence."""
        if not self.count:
            return f"chunk {self.chunk:,}: no records"
        of = ", ".join(f"{source} {count:,}" for source, count in sorted(self.sources.items()))
        whose = f", as far as can be read of {of}" if of else ""
        return f"chunk {self.chunk:,}: the {self.count:,} records from {self.first:,} on{whose}"

    def row(self) -> tuple[Any, ...]:
        """What takes its place."""
        data = PLACEHOLDER * self.count
        payload = pa.compress(data, codec=CODEC, asbytes=True) if data else b""
        runs = json.dumps([[LOST, self.received, self.count]] if self.count else [])
        row = (self.chunk, self.first, self.count, self.received, self.elapsed, runs, len(data), payload)
        return (*row, checksum_of(row))


def losses(folder: str) -> list[Lost]:
    """What a repair would give up.

    Raises:
        LogError: if there is no log, or it cannot be repaired.
    """
    with closing(open_to_read(folder)) as database:
        return _losses(database, folder)


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
            lost = _losses(database, folder)
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


def _losses(database: sqlite3.Connection, folder: str) -> list[Lost]:
    try:
        begin, end = _readable(database, "ASC"), _readable(database, "DESC")
    except sqlite3.DatabaseError as error:
        raise LogDamaged(
            f"{folder}: the log cannot be repaired, for the pages that say where it ends cannot be read ({error}): move"
            " it aside, begin another one, and give the jobs that read it another `state`"
        ) from error
    lost: list[Lost] = []
    stretch: list[tuple[int, Sequence[Any] | None]] = []
    before: Chunk | None = None
    for number in range(begin, end + 1):
        row = _row(database, number)
        chunk = _whole(row, folder)
        if chunk is None:
            stretch.append((number, row))
            continue
        if stretch or (before is not None and before.first + before.count != chunk.first):
            lost += _given_up(stretch, before, chunk, folder)
            stretch = []
        before = chunk
    return [*lost, *(_given_up(stretch, before, None, folder) if stretch else ())]


def _readable(database: sqlite3.Connection, order: str) -> int:
    """The first or the last chunk; 0 or -1 if there is none. At the beginning, pages that cannot be read are passed."""
    query = f"SELECT id FROM chunk WHERE id >= ? ORDER BY id {order} LIMIT 1"
    try:
        row = database.execute(query, (0,)).fetchone()
        return int(row[0]) if row else (0 if order == "ASC" else -1)
    except sqlite3.DatabaseError:
        if order == "DESC":
            raise
    low, high = 0, _readable(database, "DESC")  # `low` cannot be read, `high` can
    while high - low > 1:
        middle = (low + high) // 2
        try:
            database.execute(query, (middle,)).fetchone()
            high = middle
        except sqlite3.DatabaseError:
            low = middle
    return int(database.execute(query, (high,)).fetchone()[0])


def _row(database: sqlite3.Connection, number: int) -> Sequence[Any] | None:
    try:
        row: Sequence[Any] | None = database.execute("SELECT * FROM chunk WHERE id = ?", (number,)).fetchone()
    except sqlite3.DatabaseError:
        return None
    return row


def _whole(row: Sequence[Any] | None, folder: str) -> Chunk | None:
    if row is None:
        return None
    try:
        chunk = decoded(row, folder)
    except (LogDamaged, ValueError, TypeError):
        return None
    lines = chunk.data.count(b"\n") == chunk.count and (not chunk.data or chunk.data.endswith(b"\n"))
    return chunk if lines else None


def _given_up(
    stretch: Sequence[tuple[int, Sequence[Any] | None]], before: Chunk | None, after: Chunk | None, folder: str
) -> Iterator[Lost]:
    """The chunks of a stretch that is lost, between two that are whole; None: there is none on that side."""
    claimed = [_claimed(row) for _, row in stretch]
    begin = before.first + before.count if before is not None else _begin_of(stretch[0], sum(claimed), after)
    total = after.first - begin if after is not None else sum(claimed)
    if total < 0 or (total and not stretch):
        where = after.id if after is not None else stretch[-1][0]
        raise LogDamaged(
            f"{folder}: the log cannot be repaired: chunk {where} is whole and does not follow the one before it; move"
            " the log aside, begin another one, and give the jobs that read it another `state`"
        )
    if sum(claimed) != total:
        claimed = [total] + [0] * (len(claimed) - 1)
    near = before or after
    received, elapsed = (near.received, near.elapsed) if near is not None else (0, 0)
    for (number, row), count in zip(stretch, claimed, strict=True):
        yield Lost(number, begin, count, received, elapsed, _sources(row))
        begin += count


def _begin_of(stretch: tuple[int, Sequence[Any] | None], claimed: int, after: Chunk | None) -> int:
    """The position at which a log begins whose first chunk is damaged."""
    number, row = stretch
    first = row[1] if row is not None and isinstance(row[1], int) else -1
    if number == 1:
        return 0
    if after is None:
        return max(first, 0)
    return first if 0 <= first <= after.first else max(after.first - claimed, 0)


def _claimed(row: Sequence[Any] | None) -> int:
    """How many records a damaged chunk seems to have had: what most of its columns say."""
    if row is None:
        return 0
    said = [row[2], sum(_sources(row).values()), _lines(row)]
    numbers = [value for value in said if isinstance(value, int) and 0 <= value <= _MOST_GUESSED]
    return max(numbers, key=Counter(numbers).__getitem__, default=0)


def _lines(row: Sequence[Any]) -> int | None:
    if not isinstance(row[6], int) or not 0 <= row[6] <= _MOST_BYTES or not isinstance(row[7], bytes):
        return None
    try:
        data: bytes = pa.decompress(row[7], row[6], codec=CODEC, asbytes=True) if row[6] else b""
    except (pa.ArrowException, OSError):
        return None
    return data.count(b"\n")


def _sources(row: Sequence[Any] | None) -> dict[str, int]:
    found: Counter[str] = Counter()
    with suppress(ValueError, TypeError):
        for source, _, count in json.loads(row[5]) if row is not None else ():
            if isinstance(source, str) and isinstance(count, int) and 0 <= count <= _MOST_GUESSED:
                found[source] += count
    return dict(found)


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
            for number in range(_readable(database, "ASC"), _readable(database, "DESC") + 1):
                row = given_up[number].row() if number in given_up else _row(database, number)
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
            f" ({errors[0]}): move it aside, begin another one, and give the jobs that read it another `state`"
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

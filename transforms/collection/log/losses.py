"""The losses of a damaged log: which chunks cannot be read, and how many records each of them had.

If a lost chunk cannot show its own count, the chunks before and after it determine the count.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from transforms.collection.log.file import CODEC, Chunk, checksum_of, decoded, open_to_read
from transforms.errors import LogDamaged

LOST: Final = ""
"""The source of records that a repair gave up; no session can have it."""

PLACEHOLDER: Final = b"lost\n"
_MOST_GUESSED: Final = 1 << 24
"""The most records of a chunk, if only the damaged chunk itself says how many there are."""


_MOST_BYTES: Final = 1 << 28
"""The most bytes of a chunk's lines: more than a collector accepts at once."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A lost chunk: its records and, as far as they can still be read, the count of each source."""

    chunk: int
    first: int
    count: int
    received: int
    elapsed: int
    sources: Mapping[str, int]

    def words(self) -> str:
        """The loss in a sentence."""
        if not self.count:
            return f"chunk {self.chunk:,}: no records"
        of = ", ".join(f"{source} {count:,}" for source, count in sorted(self.sources.items()))
        whose = f", as far as can be read of {of}" if of else ""
        return f"chunk {self.chunk:,}: the {self.count:,} records from {self.first:,} on{whose}"

    def row(self) -> tuple[Any, ...]:
        """The row that replaces it."""
        data = PLACEHOLDER * self.count
        payload = pa.compress(data, codec=CODEC, asbytes=True) if data else b""
        runs = json.dumps([[LOST, self.received, self.count]] if self.count else [])
        row = (self.chunk, self.first, self.count, self.received, self.elapsed, runs, len(data), payload)
        return (*row, checksum_of(row))


def losses(folder: str) -> list[Lost]:
    """The chunks that a repair would give up.

    Raises:
        LogError: if there is no log, or it cannot be repaired.
    """
    with closing(open_to_read(folder)) as database:
        return losses_in(database, folder)


def losses_in(database: sqlite3.Connection, folder: str) -> list[Lost]:
    """Like `losses`, for a log that is already open."""
    try:
        begin, end = extreme(database, "ASC"), extreme(database, "DESC")
    except sqlite3.DatabaseError as error:
        raise LogDamaged(
            f"{folder}: the log cannot be repaired, because the pages that say where it ends cannot be read ({error}):"
            " move it aside, create a new log, and give the jobs that read it another `state` and other sinks"
        ) from error
    lost: list[Lost] = []
    stretch: list[tuple[int, Sequence[Any] | None]] = []
    before: Chunk | None = None
    for number in range(begin, end + 1):
        row = row_of(database, number)
        chunk = _whole(row, folder)
        if chunk is None:
            stretch.append((number, row))
            continue
        if stretch or (before is not None and before.first + before.count != chunk.first):
            lost += _given_up(stretch, before, chunk, folder)
            stretch = []
        before = chunk
    return [*lost, *(_given_up(stretch, before, None, folder) if stretch else ())]


def extreme(database: sqlite3.Connection, order: str) -> int:
    """The first or the last chunk; 0 or -1 if there is none. Unreadable pages at the beginning are skipped."""
    query = f"SELECT id FROM chunk WHERE id >= ? ORDER BY id {order} LIMIT 1"
    try:
        row = database.execute(query, (0,)).fetchone()
        return int(row[0]) if row else (0 if order == "ASC" else -1)
    except sqlite3.DatabaseError:
        if order == "DESC":
            raise
    low, high = 0, extreme(database, "DESC")  # `low` cannot be read, `high` can
    while high - low > 1:
        middle = (low + high) // 2
        try:
            database.execute(query, (middle,)).fetchone()
            high = middle
        except sqlite3.DatabaseError:
            low = middle
    return int(database.execute(query, (high,)).fetchone()[0])


def row_of(database: sqlite3.Connection, number: int) -> Sequence[Any] | None:
    """The row of a chunk; None if it is missing or cannot be read."""
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
    """The chunks of a lost stretch between two whole chunks; None: there is no whole chunk on that side."""
    claimed = [_claimed(row) for _, row in stretch]
    begin = before.first + before.count if before is not None else _begin_of(stretch[0], sum(claimed), after)
    total = after.first - begin if after is not None else sum(claimed)
    if total < 0 or (total and not stretch):
        where = after.id if after is not None else stretch[-1][0]
        raise LogDamaged(
            f"{folder}: the log cannot be repaired: chunk {where} is whole and does not follow the chunk before it;"
            " move the log aside, create a new log, and give the jobs that read it another `state` and other sinks"
        )
    if sum(claimed) != total:
        claimed = [total] + [0] * (len(claimed) - 1)
    near = before or after
    received, elapsed = (near.received, near.elapsed) if near is not None else (0, 0)
    for (number, row), count in zip(stretch, claimed, strict=True):
        yield Lost(number, begin, count, received, elapsed, _sources(row))
        begin += count


def _begin_of(stretch: tuple[int, Sequence[Any] | None], claimed: int, after: Chunk | None) -> int:
    """The position at which a log with a damaged first chunk begins."""
    number, row = stretch
    first = row[1] if row is not None and isinstance(row[1], int) else -1
    if number == 1:
        return 0
    if after is None:
        return max(first, 0)
    return first if 0 <= first <= after.first else max(after.first - claimed, 0)


def _claimed(row: Sequence[Any] | None) -> int:
    """How many records a damaged chunk seems to have had: the value that most of its columns agree on."""
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

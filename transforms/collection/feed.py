"""What an endless source is made of, free of Beam: feeds, which are read a portion at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import pyarrow as pa

from transforms.collection.cursor import SourceCursor
from transforms.time.watermark import NEVER

FLUSH_BYTES: Final = 16 << 20
"""Text that is parsed at a time when there is more: as much as a block of a file."""

_LEAST_BYTES: Final = 16 << 10
_FIRST_BYTES: Final = 256 << 10
_LONG_SECONDS: Final = 4.0
_SHORT_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Portion:
    """What was read at a time: good records, dead letters, ledger entries, and what is left behind it.

    Args:
        records: how many were read.
        received: when the newest of them came (µs since the epoch).
    """

    batches: Sequence[pa.RecordBatch]
    dead: pa.RecordBatch
    entries: pa.RecordBatch
    cursor: SourceCursor
    records: int
    received: int

    def outputs(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """What it gives to the pipeline, and where to: `batches`, `dead_letters`, `ledger`."""
        yield from (("batches", batch) for batch in self.batches if batch.num_rows)
        if self.dead.num_rows:
            yield "dead_letters", self.dead
        if self.entries.num_rows:
            yield "ledger", self.entries


class Appetite:
    """How much text is handed over at a time: as much as what follows is done with in two to four seconds.

    A job hears between two portions that it shall stop, and with a slow step a large one takes minutes. It begins with
    little, and a fast job has the largest portions after a few.
    """

    def __init__(self) -> None:
        self.bytes = _FIRST_BYTES
        self._is_warm = False

    def took(self, seconds: float, size: int) -> None:
        """Learns how long a portion of `size` bytes took whatever follows."""
        if not self._is_warm:  # the first one waits for what is loaded and compiled
            self._is_warm = True
        elif seconds > _LONG_SECONDS:
            self.bytes = max(self.bytes // 2, _LEAST_BYTES)
        elif seconds < _SHORT_SECONDS and size >= self.bytes // 2:
            self.bytes = min(self.bytes * (8 if seconds < _SHORT_SECONDS / 8 else 2), FLUSH_BYTES)


class Feed(Protocol):
    """An endless source, as one process reads it. It travels to workers before it is opened."""

    def open(self) -> None:
        """Gets ready to read."""

    def close(self) -> None:
        """Lets go of everything."""

    def has(self, cursor: SourceCursor) -> bool:
        """Whether there is something to read, or may be in a moment: asked every few milliseconds."""

    def read(self, cursor: SourceCursor) -> Portion | None:
        """The next portion; None: there is nothing new."""

    def is_at_end(self, cursor: SourceCursor) -> bool:
        """Whether nothing more is there now, when nothing new could be read."""

    def end(self) -> int:
        """The position behind the last record there is now."""


def bulletin_of(portion: Portion, feed: Feed, now: float) -> dict[str, Any]:
    """What there is to say about a feed when a portion was read."""
    watermark = portion.cursor.progress.watermark
    return {
        "watermark": watermark if watermark > NEVER else None,
        "position": portion.cursor.position,
        "end": feed.end(),
        "lag_s": max(now - portion.received / 1e6, 0.0),
    }

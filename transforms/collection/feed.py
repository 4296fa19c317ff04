"""Feeds: endless sources as they are read, one portion at a time; free of Beam."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import pyarrow as pa

from transforms.collection.cursor import SourceCursor
from transforms.time.watermark import NEVER

FLUSH_BYTES: Final = 16 << 20
"""Bytes of text parsed at a time when more is waiting: as much as a block of a file."""

_LEAST_BYTES: Final = 16 << 10
_FIRST_BYTES: Final = 256 << 10
_LONG_SECONDS: Final = 4.0
_SHORT_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Portion:
    """What was read at a time: good records, dead letters, ledger entries, and the source cursor after them.

    Args:
        records: how many records were read.
        received: when the newest of them arrived (µs since the epoch).
    """

    batches: Sequence[pa.RecordBatch]
    dead: pa.RecordBatch
    entries: pa.RecordBatch
    cursor: SourceCursor
    records: int
    received: int

    def outputs(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """The portion's batches with their outputs: `batches`, `dead_letters`, `ledger`."""
        yield from (("batches", batch) for batch in self.batches if batch.num_rows)
        if self.dead.num_rows:
            yield "dead_letters", self.dead
        if self.entries.num_rows:
            yield "ledger", self.entries


class Appetite:
    """Adapts the size of portions to what the rest of the pipeline processes in two to four seconds.

    A job sees a request to stop only between two portions, and with a slow step a large portion takes minutes. Sizes
    start small; a fast job reaches the largest size after a few portions.
    """

    def __init__(self) -> None:
        self.bytes = _FIRST_BYTES
        self._is_warm = False

    def took(self, seconds: float, size: int) -> None:
        """Records how long the pipeline took to process a portion of `size` bytes."""
        if not self._is_warm:  # the first portion includes the time to load and compile code
            self._is_warm = True
        elif seconds > _LONG_SECONDS:
            self.bytes = max(self.bytes // 2, _LEAST_BYTES)
        elif seconds < _SHORT_SECONDS and size >= self.bytes // 2:
            self.bytes = min(self.bytes * (8 if seconds < _SHORT_SECONDS / 8 else 2), FLUSH_BYTES)


class Feed(Protocol):
    """An endless source as one process reads it. It is sent to workers before it is opened."""

    def open(self) -> None:
        """Prepares for reading."""

    def close(self) -> None:
        """Releases all resources."""

    def has(self, cursor: SourceCursor) -> bool:
        """Whether there is something to read, or may be soon: asked every few milliseconds."""

    def read(self, cursor: SourceCursor) -> Portion | None:
        """The next portion; None if there is nothing new."""

    def is_at_end(self, cursor: SourceCursor) -> bool:
        """Whether the source has nothing more now, after a reading that found nothing."""

    def end(self) -> int:
        """The position after the last record that exists now."""


def bulletin_of(portion: Portion, feed: Feed, now: float) -> dict[str, Any]:
    """The status fields of a feed after a portion was read."""
    watermark = portion.cursor.progress.watermark
    return {
        "watermark": watermark if watermark > NEVER else None,
        "position": portion.cursor.position,
        "end": feed.end(),
        "lag_s": max(now - portion.received / 1e6, 0.0),
    }

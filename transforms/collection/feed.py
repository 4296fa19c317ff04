"""What an endless source is made of, free of Beam: feeds, which are read a portion at a time."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Protocol

import pyarrow as pa

from transforms.collection.log.chunks import ChunkParser, Flush
from transforms.collection.log.hold import Hold, IdleHold
from transforms.collection.log.writer import Chunk, LogReader
from transforms.collection.rest import Rest
from transforms.errors import LogOther
from transforms.time.watermark import NEVER

LOG: Final = "log"
"""In what a job knows of its beginning: which log it reads."""

FLUSH_BYTES: Final = 16 << 20
"""Text that is parsed at a time when there is more: as much as a block of a file."""

_LEAST_BYTES: Final = 16 << 10
_FIRST_BYTES: Final = 256 << 10
_LONG_SECONDS: Final = 4.0
_SHORT_SECONDS: Final = 2.0

FLUSH_CHUNKS: Final = 4_096
"""Chunks that are parsed at a time at most: weeks of heartbeats are no reason not to hear that the job shall stop."""


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
    rest: Rest
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

    def has(self, rest: Rest) -> bool:
        """Whether there is something to read, or may be in a moment: asked every few milliseconds."""

    def read(self, rest: Rest) -> Portion | None:
        """The next portion; None: there is nothing new."""

    def is_at_end(self, rest: Rest) -> bool:
        """Whether nothing more is there now, when nothing new could be read."""

    def end(self) -> int:
        """The position behind the last record there is now."""


@dataclass
class LogFeed:
    """The collector's log.

    Args:
        hold: what the job that reads it says to the collector.
    """

    folder: str
    parser: ChunkParser
    hold: Hold

    def open(self) -> None:
        self._reader = LogReader(self.folder)
        self._idle = IdleHold(self.hold)
        self._appetite = Appetite()
        self._handed_over: tuple[float, int] | None = None

    def close(self) -> None:
        self._reader.close()

    def has(self, rest: Rest) -> bool:
        if self._handed_over is not None:  # whoever asks is done with it
            then, size = self._handed_over
            self._appetite.took(time.monotonic() - then, size)
            self._handed_over = None
        return self._reader.has(rest.chunk)

    def read(self, rest: Rest) -> Portion | None:
        refuse_other_log(self._reader, rest)
        chunks = chunks_from(self._reader, rest, most_bytes=self._appetite.bytes)
        if not chunks:
            self._idle.look(rest.chunk)
            return None
        portion = portion_of(chunks, self.parser.parse(chunks, rest.progress), rest)
        self._handed_over = time.monotonic(), sum(len(chunk.data) for chunk in chunks)
        return portion

    def is_at_end(self, rest: Rest) -> bool:
        return not self._reader.has(rest.chunk)

    def end(self) -> int:
        return self._reader.extent().end_position


def refuse_other_log(reader: LogReader, rest: Rest) -> None:
    """Raises LogError if a log is another one than that which was read so far, as far as both are known."""
    known = (rest.began or {}).get(LOG)
    if known is not None and reader.identity is not None and known != reader.identity:
        raise LogOther(f"{reader.folder}: this is another log than the one that the job has read so far")


def log_portion(reader: LogReader, parser: ChunkParser, rest: Rest, end: int | None = None) -> Portion | None:
    """The next chunks before chunk `end`; None: there are none.

    Raises:
        LogError: if the log does not hold them any more, or is another log than the one that was read so far.
    """
    chunks = chunks_from(reader, rest, end)
    return portion_of(chunks, parser.parse(chunks, rest.progress), rest) if chunks else None


def chunks_from(reader: LogReader, rest: Rest, end: int | None = None, most_bytes: int = FLUSH_BYTES) -> list[Chunk]:
    """The next chunks before chunk `end`, with about so much text at most."""
    return list(islice(reader.chunks(rest.chunk, end, most_bytes), FLUSH_CHUNKS))


def portion_of(chunks: Sequence[Chunk], flush: Flush, rest: Rest) -> Portion:
    """What some chunks hold as a portion."""
    last, records = chunks[-1], sum(chunk.count for chunk in chunks)
    left = rest.after(last.id + 1, last.first + last.count, flush.progress)
    return Portion((flush.batch,), flush.dead, flush.entries, left, records, last.received)


def bulletin_of(portion: Portion, feed: Feed, now: float) -> dict[str, Any]:
    """What there is to say about a feed when a portion was read."""
    watermark = portion.rest.progress.watermark
    return {
        "watermark": watermark if watermark > NEVER else None,
        "position": portion.rest.position,
        "end": feed.end(),
        "lag_s": max(now - portion.received / 1e6, 0.0),
    }

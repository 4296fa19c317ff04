"""The collector's log as a feed: its chunks, a portion at a time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from transforms.collection.cursor import SourceCursor
from transforms.collection.feed import FLUSH_BYTES, Appetite, Portion
from transforms.collection.log.chunks import ChunkParser, Flush
from transforms.collection.log.file import Chunk
from transforms.collection.log.hold import Hold, IdleHold
from transforms.collection.log.reading import LogReader
from transforms.errors import LogOther

LOG: Final = "log"
"""In what a job knows of its beginning: which log it reads."""

FLUSH_CHUNKS: Final = 4_096
"""Chunks that are parsed at a time at most: weeks of heartbeats are no reason not to hear that the job shall stop."""


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

    def has(self, cursor: SourceCursor) -> bool:
        if self._handed_over is not None:  # whoever asks is done with it
            then, size = self._handed_over
            self._appetite.took(time.monotonic() - then, size)
            self._handed_over = None
        return self._reader.has(cursor.chunk)

    def read(self, cursor: SourceCursor) -> Portion | None:
        refuse_other_log(self._reader, cursor)
        chunks = chunks_from(self._reader, cursor, most_bytes=self._appetite.bytes)
        if not chunks:
            self._idle.look(cursor.chunk)
            return None
        portion = portion_of(chunks, self.parser.parse(chunks, cursor.progress), cursor)
        self._handed_over = time.monotonic(), sum(len(chunk.data) for chunk in chunks)
        return portion

    def is_at_end(self, cursor: SourceCursor) -> bool:
        return not self._reader.has(cursor.chunk)

    def end(self) -> int:
        return self._reader.extent().end_position


def refuse_other_log(reader: LogReader, cursor: SourceCursor) -> None:
    """Raises LogError if a log is another one than that which was read so far, as far as both are known."""
    known = (cursor.began or {}).get(LOG)
    if known is not None and reader.identity is not None and known != reader.identity:
        raise LogOther(f"{reader.folder}: this is another log than the one that the job has read so far")


def log_portion(reader: LogReader, parser: ChunkParser, cursor: SourceCursor, end: int | None = None) -> Portion | None:
    """The next chunks before chunk `end`; None: there are none.

    Raises:
        LogError: if the log does not hold them any more, or is another log than the one that was read so far.
    """
    chunks = chunks_from(reader, cursor, end)
    return portion_of(chunks, parser.parse(chunks, cursor.progress), cursor) if chunks else None


def chunks_from(
    reader: LogReader, cursor: SourceCursor, end: int | None = None, most_bytes: int = FLUSH_BYTES
) -> list[Chunk]:
    """The next chunks before chunk `end`, with about so much text at most."""
    return list(islice(reader.chunks(cursor.chunk, end, most_bytes), FLUSH_CHUNKS))


def portion_of(chunks: Sequence[Chunk], flush: Flush, cursor: SourceCursor) -> Portion:
    """What some chunks hold as a portion."""
    last, records = chunks[-1], sum(chunk.count for chunk in chunks)
    left = cursor.after(last.id + 1, last.first + last.count, flush.progress)
    return Portion((flush.batch,), flush.dead, flush.entries, left, records, last.received)

"""The collector's log as a feed: reads its chunks one portion at a time."""

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
from transforms.time.watermark import Progress

LOG: Final = "log"
"""The key, in what a job knows of its beginning, that says which log it reads."""

FLUSH_CHUNKS: Final = 4_096
"""The most chunks parsed at a time: even weeks of heartbeats must not delay a request to stop."""


@dataclass
class LogFeed:
    """The collector's log.

    Args:
        hold: announces to the collector what the job still needs.
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
        if self._handed_over is not None:  # the caller has finished with the previous portion
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
        portion = portion_of(chunks, self.parser.parse(chunks, cursor.own(Progress)), cursor)
        self._handed_over = time.monotonic(), sum(len(chunk.data) for chunk in chunks)
        return portion

    def is_at_end(self, cursor: SourceCursor) -> bool:
        return not self._reader.has(cursor.chunk)

    def end(self) -> int:
        return self._reader.extent().end_position


def refuse_other_log(reader: LogReader, cursor: SourceCursor) -> None:
    """Raises LogError if this is not the log that the job has read so far, as far as both are known."""
    known = (cursor.began or {}).get(LOG)
    if known is not None and reader.identity is not None and known != reader.identity:
        raise LogOther(f"{reader.folder}: this is another log than the one that the job has read so far")


def log_portion(reader: LogReader, parser: ChunkParser, cursor: SourceCursor, end: int | None = None) -> Portion | None:
    """The next chunks before chunk `end`; None: there are none.

    Raises:
        LogError: if the log no longer holds them, or is not the log that was read so far.
    """
    chunks = chunks_from(reader, cursor, end)
    return portion_of(chunks, parser.parse(chunks, cursor.own(Progress)), cursor) if chunks else None


def chunks_from(
    reader: LogReader, cursor: SourceCursor, end: int | None = None, most_bytes: int = FLUSH_BYTES
) -> list[Chunk]:
    """The next chunks before chunk `end`, with at most about `most_bytes` of text."""
    return list(islice(reader.chunks(cursor.chunk, end, most_bytes), FLUSH_CHUNKS))


def portion_of(chunks: Sequence[Chunk], flush: Flush, cursor: SourceCursor) -> Portion:
    """The contents of some chunks as a portion."""
    last, records = chunks[-1], sum(chunk.count for chunk in chunks)
    left = cursor.after(last.id + 1, last.first + last.count, flush.progress)
    return Portion((flush.batch,), flush.dead, flush.entries, left, records, last.received)

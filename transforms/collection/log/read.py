"""Reading a log to an end: the bounded form of following it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import apache_beam as beam

from transforms.collection.cursor import SourceCursor
from transforms.collection.log.chunks import ChunkParser
from transforms.collection.log.feed import log_portion
from transforms.collection.log.reading import LogReader
from transforms.process.progress import Bulletin
from transforms.record.branches import BOOKS, Emitted, Outputs, branched, branching


class ReadLogFn(beam.DoFn):
    """(where to begin, where to end) to batches, with the side outputs `dead_letters` and `ledger`."""

    def __init__(self, folder: str, parser: ChunkParser, bulletin: Bulletin):
        self._folder = folder
        self._parser = parser
        self._bulletin = bulletin

    def process(self, element: tuple[SourceCursor, int]) -> Iterator[Emitted]:
        cursor, end = element
        reader = LogReader(self._folder)
        try:
            while (portion := log_portion(reader, self._parser, cursor, end)) is not None:
                cursor = portion.cursor
                self._bulletin.tally.add(portion.records, portion.dead.num_rows)
                yield from branched(portion.outputs())
        finally:
            reader.close()


@dataclass(eq=False, kw_only=True)
class ReadLog(beam.PTransform):
    """Reads a log from `start` to the chunk before `end`.

    Out: `batches`, `dead_letters` and `ledger`, like `Follow`.
    """

    folder: str
    parser: ChunkParser
    start: SourceCursor
    end: int
    bulletin: Bulletin = field(default_factory=Bulletin)

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, pipeline: beam.Pipeline) -> Outputs:
        whole = pipeline | "Whole" >> beam.Create([(self.start, self.end)])
        return whole | "Read" >> branching(ReadLogFn(self.folder, self.parser, self.bulletin), *BOOKS)

"""How Beam reads numbered files to an end, and deletes those that were counted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa

from streamgauge_example.numbered import NumberedFeed, numbers
from transforms.collection.source import SourceSpan
from transforms.process import versions
from transforms.process.progress import Bulletin
from transforms.record.branches import BOOKS, branched, branching


class ReadNumberedFn(beam.DoFn):
    def __init__(self, feed: NumberedFeed, span: SourceSpan, bulletin: Bulletin):
        self._feed, self._span, self._bulletin = feed, span, bulletin

    def process(self, once: int) -> Iterator[Any]:
        cursor = self._span.start
        while cursor.chunk < self._span.end and (portion := self._feed.read(cursor)) is not None:
            cursor = portion.cursor
            self._bulletin.tally.add(portion.records, portion.dead.num_rows)
            yield from branched(portion.outputs())


class ReadNumbered(beam.PTransform):
    def __init__(self, feed: NumberedFeed, span: SourceSpan, bulletin: Bulletin):
        super().__init__()
        self._fn = ReadNumberedFn(feed, span, bulletin)

    def expand(self, pipeline: beam.Pipeline) -> Any:
        return pipeline | "Once" >> beam.Create([0]) | "Read" >> branching(self._fn, *BOOKS)


class RemoveFn(beam.DoFn):
    """Deletes the files before the newest checkpoint, which has their records."""

    def __init__(self, folder: Path, manifest: str):
        self._folder, self._manifest = folder, manifest

    def process(self, tick: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        newest = versions.content(self._manifest)["checkpoints"][-1]
        for number in numbers(self._folder):
            if number < newest["source"]["progress"]["file"]:
                (self._folder / f"{number}.jsonl").unlink()
        yield tick

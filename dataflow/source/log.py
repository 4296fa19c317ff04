"""The collector's log as a source that can be followed."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc

from dataflow.checkpoints import reader_name
from dataflow.job import Job
from dataflow.source.live import Part, resumed
from transforms.collection.chunks import SOURCE, ChunkParser
from transforms.collection.feed import Feed, LogFeed
from transforms.collection.files import SourceError
from transforms.collection.follow import AnnounceFn
from transforms.collection.log import LogReader, announce
from transforms.collection.read_log import ReadLog
from transforms.collection.repair import Overlay
from transforms.collection.rest import Rest
from transforms.storage.checkpoint import MANIFEST, Checkpoint, Manifest
from transforms.watermark import Progress


def reached(source: Mapping[str, Any]) -> Mapping[str, int]:
    """Of a checkpoint's source: the position of the log's first record that was not read."""
    return {SOURCE: int(source["position"])}


@dataclass(frozen=True)
class LogSource:
    """The collector's log."""

    job: Job
    grows = False

    def describe(self) -> str:
        return f"log {self.job.log.path}"

    def reached(self) -> Callable[[Mapping[str, Any]], Mapping[str, int]]:
        return reached

    def span(self) -> tuple[int, int]:
        extent = self.job.log_extent()
        return extent.first_position, extent.end_position

    def begin(self, say: Callable[[str], None]) -> Rest:
        extent = self.job.log_extent()
        if extent.first_chunk > 1:
            say(f"the log begins at record {extent.first_position:,}: what came before was forgotten")
        return Rest(extent.first_chunk, Progress(), extent.first_position, time.time())

    def resume(self, checkpoint: Checkpoint) -> Rest:
        path, extent = self.job.log.path, self.job.log_extent()
        with closing(LogReader(path)) as reader:
            position = reader.first_of(checkpoint.chunk)
        if position != checkpoint.source["position"]:
            raise SourceError(
                f"{path}: the log holds chunks {extent.first_chunk:,} to {extent.end_chunk - 1:,}, and this job goes on"
                f" at {checkpoint.chunk:,}, record {checkpoint.source['position']:,}; was it replaced? Remove its"
                " `state` to begin anew"
            )
        return resumed(checkpoint, Progress.from_json(checkpoint.source["progress"]))

    def hold(self, manifest: Manifest | None) -> None:
        oldest = self.job.log_extent().first_chunk if manifest is None else manifest.oldest.chunk
        with suppress(OSError):
            announce(self.job.log.path, reader_name(self.job), oldest)

    def feed(self, overlay: Overlay) -> Feed:
        return LogFeed(self.job.log.path, self._parser(overlay))

    def behind(self) -> beam.DoFn:
        return AnnounceFn(self.job.log.path, reader_name(self.job), f"{self.job.state}/{MANIFEST}")

    def words_of(self, part: Part) -> str:
        return f"chunks {part.start.chunk:,} to {part.end - 1:,}"

    def is_empty(self, part: Part) -> bool:
        return bool(part.start.chunk >= part.end)

    def end(self) -> int | None:
        with closing(LogReader(self.job.log.path)) as reader:
            return reader.extent().end_position

    def reading(self, part: Part, overlay: Overlay) -> beam.PTransform:
        return ReadLog(folder=self.job.log.path, parser=self._parser(overlay), start=part.start, end=part.end)

    def whole(self) -> Part:
        extent = self.job.log_extent()
        return Part(Rest(extent.first_chunk, Progress()), extent.end_chunk)

    def until(self, checkpoint: Checkpoint) -> Part | None:
        return Part(Rest(1, Progress()), checkpoint.chunk) if self.job.log_extent().first_chunk == 1 else None

    def between(self, before: Checkpoint, after: Checkpoint) -> Part | None:
        if before.chunk < self.job.log_extent().first_chunk:
            return None
        return Part(resumed(before, Progress.from_json(before.source["progress"])), after.chunk)

    def inside(self, rows: pa.Table, column: str, before: Checkpoint | None, after: Checkpoint) -> pa.Table:
        rows = rows.filter(pc.greater_equal(rows[column], before.source["position"] if before else 0))
        return rows.filter(pc.less(rows[column], after.source["position"]))

    def _parser(self, overlay: Overlay) -> ChunkParser:
        spec = self.job.spec
        return ChunkParser(self.job.schema, spec.watermark, spec.record.max_future, overlay.get(SOURCE, {}))

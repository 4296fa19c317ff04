"""The collector's log as a source that can be followed."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam

from dataflow.job.digest import digest
from dataflow.job.plan import Job
from dataflow.source.live import SourceSpan, resumed
from transforms.collection.cursor import SourceCursor
from transforms.collection.feed import Feed
from transforms.collection.log.announce import AnnounceFn
from transforms.collection.log.chunks import SOURCE, ChunkParser
from transforms.collection.log.feed import LOG, LogFeed
from transforms.collection.log.hold import Hold
from transforms.collection.log.read import ReadLog
from transforms.collection.log.writer import LogReader
from transforms.collection.repair import Overlay
from transforms.errors import SourceError
from transforms.process.progress import Bulletin
from transforms.specification import microseconds
from transforms.storage.checkpoint.folder import MANIFEST
from transforms.storage.checkpoint.manifest import Checkpoint, Manifest
from transforms.time.watermark import Progress


def reached(source: Mapping[str, Any]) -> Mapping[str, int]:
    """The position of the log's first unread record, from a checkpoint's source."""
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

    def begin(self, say: Callable[[str], None]) -> SourceCursor:
        extent = self.job.log_extent()
        if extent.first_chunk > 1:
            say(f"the log begins at record {extent.first_position:,}: earlier records were forgotten")
        return SourceCursor(extent.first_chunk, Progress(), extent.first_position, time.time(), began=self._began())

    def resume(self, checkpoint: Checkpoint) -> SourceCursor:
        path, extent = self.job.log.path, self.job.log_extent()
        with closing(LogReader(path)) as reader:
            position, identity = reader.first_of(checkpoint.chunk), reader.identity
        known = (checkpoint.source.get("began") or {}).get(LOG)
        is_other = known is not None and identity is not None and known != identity
        if is_other or position != checkpoint.source["position"]:
            raise SourceError(
                f"{path}: the log holds chunks {extent.first_chunk:,} to {extent.end_chunk - 1:,}"
                f"{' and is not the log that the job has read so far' if is_other else ''}, and this job resumes"
                f" at {checkpoint.chunk:,}, record {checkpoint.source['position']:,}; was it replaced? `--begin-anew`"
                " empties the job's tables and begins with what this log holds"
            )
        cursor = resumed(checkpoint, Progress.from_json(checkpoint.source["progress"]))
        return replace(cursor, began=self._began())

    def hold(self, manifest: Manifest | None) -> None:
        oldest = self.job.log_extent().first_chunk if manifest is None else manifest.oldest.chunk
        with suppress(OSError):
            self._hold().announce(oldest)

    def feed(self, overlay: Overlay, bulletin: Bulletin) -> Feed:
        return LogFeed(self.job.log.path, self._parser(overlay), self._hold())

    def after_checkpoint(self) -> beam.DoFn:
        return AnnounceFn(self._hold())

    def words_of(self, part: SourceSpan) -> str:
        return f"chunks {part.start.chunk:,} to {part.end - 1:,}"

    def is_empty(self, part: SourceSpan) -> bool:
        return bool(part.start.chunk >= part.end)

    def end(self) -> int | None:
        with closing(LogReader(self.job.log.path)) as reader:
            return reader.extent().end_position

    def reading(self, part: SourceSpan, overlay: Overlay, bulletin: Bulletin) -> beam.PTransform:
        return ReadLog(
            folder=self.job.log.path, parser=self._parser(overlay), start=part.start, end=part.end, bulletin=bulletin
        )

    def whole(self) -> SourceSpan:
        extent = self.job.log_extent()
        return SourceSpan(SourceCursor(extent.first_chunk, Progress()), extent.end_chunk)

    def until(self, checkpoint: Checkpoint) -> SourceSpan | None:
        return (
            SourceSpan(SourceCursor(1, Progress()), checkpoint.chunk)
            if self.job.log_extent().first_chunk == 1
            else None
        )

    def between(self, before: Checkpoint, after: Checkpoint) -> SourceSpan | None:
        if before.chunk < self.job.log_extent().first_chunk:
            return None
        return SourceSpan(resumed(before, Progress.from_json(before.source["progress"])), after.chunk)

    def _hold(self) -> Hold:
        path, manifest = self.job.log.path, f"{self.job.state}/{MANIFEST}"
        return Hold(path, _reader_name(self.job), manifest, microseconds(self.job.log.retain) / 1e6)

    def _began(self) -> dict[str, int] | None:
        with closing(LogReader(self.job.log.path)) as reader:
            return None if reader.identity is None else {LOG: reader.identity}

    def _parser(self, overlay: Overlay) -> ChunkParser:
        spec = self.job.spec
        return ChunkParser(self.job.schema, spec.watermark, spec.record.max_future, overlay.get(SOURCE, {}))


def _reader_name(job: Job) -> str:
    """The job's name among the log's readers: two jobs of one name with separate states are two readers."""
    return f"{job.spec.job}-{digest(job.state)[:8]}"

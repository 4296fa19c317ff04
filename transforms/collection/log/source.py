"""The collector's log as a source: followed, and read again as far as it still goes back."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar

from transforms.collection.cursor import SourceCursor
from transforms.collection.feed import Feed
from transforms.collection.log.chunks import SOURCE, ChunkParser
from transforms.collection.log.feed import LOG, LogFeed
from transforms.collection.log.file import Extent
from transforms.collection.log.hold import Hold
from transforms.collection.log.reading import LogReader
from transforms.collection.log.spec import LogSourceSpec, LogSpec
from transforms.collection.repair import Overlay
from transforms.collection.source import Occupied, Source, SourceCheckpoint, SourceSpan
from transforms.errors import LogError, LogMissing, SourceError
from transforms.location import NamedPath, identity, resolved
from transforms.process.progress import Bulletin
from transforms.specification import Spec, seconds
from transforms.time.watermark import Progress


@dataclass(frozen=True, kw_only=True)
class LogSource(Source):
    """The collector's log. A stretch of it ends before a chunk."""

    options: LogSpec

    kind: ClassVar[str] = "log"
    spec: ClassVar[type[Spec]] = LogSourceSpec
    follows: ClassVar[bool] = True
    replays: ClassVar[bool] = True
    lateness_is_fixed: ClassVar[bool] = True
    progress: ClassVar[type[Progress]] = Progress

    @classmethod
    def resolved(cls, spec: LogSourceSpec, folder: str) -> LogSourceSpec:
        return LogSourceSpec(log=spec.log.model_copy(update={"path": resolved(spec.log.path, folder)}))

    @classmethod
    def paths(cls, spec: LogSourceSpec) -> Iterator[NamedPath]:
        yield NamedPath(("log", "path"), spec.log.path, stays=True)

    @classmethod
    def occupied(cls, spec: LogSourceSpec) -> Iterator[Occupied]:
        yield Occupied("the log", spec.log.path, frozenset({identity(spec.log.path)}))

    @classmethod
    def form(cls, spec: LogSourceSpec) -> str:
        return "jsonl"

    @property
    def retain(self) -> timedelta:
        return self.options.retain

    def describe(self) -> str:
        return f"log {self.options.path}"

    def title(self) -> str:
        return f"log: {self.options.path}"

    def on_cluster(self) -> str:
        return (
            f"the log {self.options.path} can be read only on the collector's machine, where every TaskManager of this"
            " job must run; for more than one machine, use source.kafka"
        )

    def whole(self) -> SourceSpan:
        extent = self._extent()
        return SourceSpan(SourceCursor(extent.first_chunk, Progress()), extent.end_chunk)

    def reading(self, span: SourceSpan, overlay: Overlay, bulletin: Bulletin) -> Any:
        from transforms.collection.log.read import ReadLog

        folder, parser = self.options.path, self._parser(overlay)
        return ReadLog(folder=folder, parser=parser, start=span.start, end=span.end, bulletin=bulletin)

    # Following.

    def missing(self) -> str:
        try:
            LogReader(self.options.path).close()
        except LogMissing as error:
            return str(error)
        return ""

    def hold(self, oldest: SourceCheckpoint | None) -> None:
        needed = self._extent().first_chunk if oldest is None else oldest.chunk
        with suppress(OSError):
            self._hold().announce(needed)

    def begin(self, say: Callable[[str], None]) -> SourceCursor:
        extent = self._extent()
        if extent.first_chunk > 1:
            say(f"the log begins at record {extent.first_position:,}: earlier records were forgotten")
        return SourceCursor(extent.first_chunk, Progress(), extent.first_position, time.time(), began=self._began())

    def resume(self, checkpoint: SourceCheckpoint) -> SourceCursor:
        path, extent, cursor = self.options.path, self._extent(), self.resumed(checkpoint)
        with closing(LogReader(path)) as reader:
            position, identity = reader.first_of(cursor.chunk), reader.identity
        known = (cursor.began or {}).get(LOG)
        is_other = known is not None and identity is not None and known != identity
        if is_other or position != cursor.position:
            raise SourceError(
                f"{path}: the log holds chunks {extent.first_chunk:,} to {extent.end_chunk - 1:,}"
                f"{' and is not the log that the job has read so far' if is_other else ''}, and this job resumes"
                f" at {cursor.chunk:,}, record {cursor.position:,}; was it replaced? `--begin-anew`"
                " empties the job's tables and begins with what this log holds"
            )
        return replace(cursor, began=self._began())

    def feed(self, overlay: Overlay, bulletin: Bulletin) -> Feed:
        return LogFeed(self.options.path, self._parser(overlay), self._hold())

    def after_checkpoint(self) -> Any:
        from transforms.collection.log.announce import AnnounceFn

        return AnnounceFn(self._hold())

    def span(self) -> tuple[int, int]:
        extent = self._extent()
        return extent.first_position, extent.end_position

    def end(self) -> int | None:
        with suppress(sqlite3.Error, LogError), closing(LogReader(self.options.path)) as reader:
            return reader.extent().end_position
        return None

    def reached(self, source: Mapping[str, Any]) -> Mapping[str, int]:
        return {SOURCE: int(source["position"])}

    # Reading a stretch again.

    def until(self, checkpoint: SourceCheckpoint) -> SourceSpan | None:
        end, is_whole = self.resumed(checkpoint).chunk, self._extent().first_chunk == 1
        return SourceSpan(SourceCursor(1, Progress()), end) if is_whole else None

    def to_hold_more(self) -> str:
        return "Keep more of it with `collect --keep` and `source.log.retain`"

    def between(self, before: SourceCheckpoint, after: SourceCheckpoint) -> SourceSpan | None:
        is_whole = before.chunk >= self._extent().first_chunk
        return SourceSpan(self.resumed(before), after.chunk) if is_whole else None

    def is_empty(self, span: SourceSpan) -> bool:
        return bool(span.start.chunk >= span.end)

    def words_of(self, span: SourceSpan) -> str:
        return f"chunks {span.start.chunk:,} to {span.end - 1:,}"

    def _extent(self) -> Extent:
        try:
            reader = LogReader(self.options.path)
        except LogError as error:
            raise SourceError(str(error)) from None
        with closing(reader):
            return reader.extent()

    def _hold(self) -> Hold:
        work = self.work
        return Hold(self.options.path, work.reader, work.manifest, seconds(self.options.retain))

    def _began(self) -> dict[str, int] | None:
        with closing(LogReader(self.options.path)) as reader:
            return None if reader.identity is None else {LOG: reader.identity}

    def _parser(self, overlay: Overlay) -> ChunkParser:
        work = self.work
        return ChunkParser(work.schema, work.watermark, work.record.max_future, overlay.get(SOURCE, {}))

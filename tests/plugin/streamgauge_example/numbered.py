"""A folder of numbered files as a source, in two kinds: files that stay, and files that go once they were counted.

A file appears whole, by a rename, and never changes: 1.jsonl, 2.jsonl and so on. One file is one portion.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from transforms.collection.cursor import SourceCursor
from transforms.collection.feed import Portion
from transforms.collection.parsing.json_lines import parse_json
from transforms.collection.parsing.lines import Lines
from transforms.collection.parsing.parsed import Parsed, Schema, conform
from transforms.collection.repair import Overlay, applicable, one_line_each
from transforms.collection.source import Occupied, Source, SourceCheckpoint, SourceSpan
from transforms.errors import SourceError
from transforms.location import NamedPath, identity, resolved
from transforms.process.progress import Bulletin
from transforms.record import ledger
from transforms.record.batch import EVENT_TIME, POSITION, RANGE, WATERMARK, Origin, one_batch, set_column
from transforms.specification import Spec, microseconds
from transforms.time.event_time import as_instants
from transforms.time.watermark import NEVER


class Folder(Spec):
    path: str


class NumberedSpec(Spec):
    """Numbered files, which stay."""

    numbered: Folder


class MailboxSpec(Spec):
    """Numbered files, of which each is deleted once a checkpoint has its records."""

    mailbox: Folder


@dataclass(frozen=True, slots=True)
class NumberedProgress:
    """The file to read next, how many records the files before it have, and how far event time has passed (µs)."""

    file: int
    records: int = 0
    watermark: int = NEVER
    clock: None = None

    def to_json(self) -> dict[str, Any]:
        return {"file": self.file, "records": self.records, "watermark": self.watermark}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "NumberedProgress":
        return NumberedProgress(content["file"], content["records"], content["watermark"])


@dataclass(frozen=True)
class NumberedFeed:
    """The files as a worker reads them, one at a time."""

    source: str
    folder: Path
    schema: Schema
    out_of_orderness: int
    overlay: Overlay

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def has(self, cursor: SourceCursor) -> bool:
        return self._path(cursor).exists()

    def is_at_end(self, cursor: SourceCursor) -> bool:
        return not self.has(cursor)

    def end(self) -> int:
        return max(numbers(self.folder), default=0)

    def read(self, cursor: SourceCursor) -> Portion | None:
        if not self.has(cursor):
            if cursor.chunk < self.end():
                raise SourceError(f"{self._path(cursor)} is gone, and was not read yet")
            return None
        before, lines = cursor.own(NumberedProgress), Lines(self._path(cursor).read_bytes(), 0)
        positions = np.arange(len(lines), dtype=np.int64) + before.records
        found = self._parsed(lines, positions)
        batch, dead, watermark = self._placed(found.batch, before, before.watermark), found.dead, before.watermark
        if batch.num_rows:
            watermark = max(watermark, int(as_instants(batch[EVENT_TIME]).max()) - self.out_of_orderness)
        if applied := applicable(self.overlay.get(self.source, {}), positions, lines.payload):
            again = self._parsed(Lines(one_line_each(applied), 0), np.array(list(applied), np.int64))
            others = (_without(batch, POSITION, applied), _without(dead, "position", applied))
            # A repaired record is counted however late it is.
            batch = one_batch([others[0], self._placed(again.batch, before, NEVER)])
            dead = one_batch([others[1], again.dead])
        entry = ledger.entry(self.source, before.records, read=len(lines), dead=dead.num_rows)
        progress = NumberedProgress(before.file + 1, before.records + len(lines), watermark)
        left = cursor.after(progress.file, progress.file - 1, progress)
        return Portion((batch,), dead, entry, left, len(lines), int(time.time() * 1e6))

    def _path(self, cursor: SourceCursor) -> Path:
        return self.folder / f"{cursor.chunk}.jsonl"

    def _parsed(self, lines: Lines, positions: Any) -> Parsed:
        refused = lines.unreadable(self.schema.max_line)
        return conform(
            self.schema,
            parse_json(lines, self.schema, refused),
            refused,
            positions=positions,
            originals=lines.payloads,
            carried=lines.payloads,
            origin=Origin(self.source),
        )

    def _placed(self, batch: pa.RecordBatch, before: NumberedProgress, watermark: int) -> pa.RecordBatch:
        for name, value in ((RANGE, before.records), (WATERMARK, watermark)):
            batch = set_column(batch, name, pa.array(np.full(batch.num_rows, value, np.int64)))
        return batch


@dataclass(frozen=True, kw_only=True)
class NumberedSource(Source):
    options: Folder

    kind: ClassVar[str] = "numbered"
    spec: ClassVar[type[Spec]] = NumberedSpec
    follows: ClassVar[bool] = True
    replays: ClassVar[bool] = True
    lateness_is_fixed: ClassVar[bool] = True
    progress: ClassVar[type[NumberedProgress]] = NumberedProgress

    @classmethod
    def resolved(cls, spec: Any, folder: str) -> Any:
        return cls.spec.model_validate({cls.kind: {"path": resolved(getattr(spec, cls.kind).path, folder)}})

    @classmethod
    def paths(cls, spec: Any) -> Iterator[NamedPath]:
        yield NamedPath((cls.kind, "path"), getattr(spec, cls.kind).path, stays=True)

    @classmethod
    def occupied(cls, spec: Any) -> Iterator[Occupied]:
        path = getattr(spec, cls.kind).path
        yield Occupied("the files that the job reads", path, frozenset({identity(path)}))

    def describe(self) -> str:
        return f"folder {self.options.path}"

    def whole(self) -> SourceSpan:
        return SourceSpan(self.begin(print), self._last() + 1)

    def reading(self, span: SourceSpan, overlay: Overlay, bulletin: Bulletin) -> Any:
        from streamgauge_example.reading import ReadNumbered

        return ReadNumbered(self.feed(overlay, bulletin), span, bulletin)

    # Following.

    def missing(self) -> str:
        return "" if self._folder.is_dir() else f"there is no folder {self._folder} yet"

    def begin(self, say: Callable[[str], None]) -> SourceCursor:
        first = self._first()
        return SourceCursor(first, NumberedProgress(first), first - 1, time.time())

    def resume(self, checkpoint: SourceCheckpoint) -> SourceCursor:
        cursor = self.resumed(checkpoint)
        if self._first() > cursor.chunk:
            raise SourceError(
                f"{self._folder} begins with file {self._first()}, and this job resumes at {cursor.chunk}"
            )
        return cursor

    def feed(self, overlay: Overlay, bulletin: Bulletin) -> NumberedFeed:
        wait = microseconds(self.work.watermark.out_of_orderness)
        return NumberedFeed(self.kind, self._folder, self.work.schema, wait, overlay)

    def span(self) -> tuple[int, int]:
        return self._first() - 1, self._last()

    def reached(self, source: Mapping[str, Any]) -> Mapping[str, int]:
        return {self.kind: source["progress"]["records"]}

    # Reading a stretch again.

    def until(self, checkpoint: SourceCheckpoint) -> SourceSpan | None:
        return SourceSpan(self.begin(print), checkpoint.chunk) if self._first() == 1 else None

    def between(self, before: SourceCheckpoint, after: SourceCheckpoint) -> SourceSpan | None:
        return SourceSpan(self.resumed(before), after.chunk) if self._first() <= before.chunk else None

    def is_empty(self, span: SourceSpan) -> bool:
        return bool(span.start.chunk >= span.end)

    def words_of(self, span: SourceSpan) -> str:
        return f"files {span.start.chunk} to {span.end - 1}"

    @property
    def _folder(self) -> Path:
        return Path(self.options.path)

    def _first(self) -> int:
        """The first file; without one, the one that would be."""
        return min(numbers(self._folder), default=1)

    def _last(self) -> int:
        if why := self.missing():
            raise SourceError(why)
        return max(numbers(self._folder), default=0)


@dataclass(frozen=True, kw_only=True)
class MailboxSource(NumberedSource):
    kind: ClassVar[str] = "mailbox"
    spec: ClassVar[type[Spec]] = MailboxSpec
    replays: ClassVar[bool] = False

    def after_checkpoint(self) -> Any:
        from streamgauge_example.reading import RemoveFn

        return RemoveFn(self._folder, self.work.manifest)


def numbers(folder: Path) -> list[int]:
    return [int(path.stem) for path in folder.glob("*.jsonl")]


def _without(batch: pa.RecordBatch, column: str, positions: Mapping[int, bytes]) -> pa.RecordBatch:
    return batch.filter(pa.array(~np.isin(batch[column].to_numpy(), list(positions))))

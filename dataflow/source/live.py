"""What a job needs from an endless source: where it begins and resumes, and how to read a part of the source again."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import apache_beam as beam
import pyarrow as pa

from transforms.collection.cursor import SourceCursor
from transforms.collection.feed import Feed
from transforms.collection.repair import Overlay
from transforms.process.progress import Bulletin
from transforms.storage.checkpoint.manifest import Checkpoint, Manifest
from transforms.time.tick import READ, name_of

Seeds = Mapping[int, Sequence[tuple[int, pa.RecordBatch]]]
"""By aggregation: the shards, and the snapshot with which each begins."""


@dataclass(frozen=True)
class SourceSpan:
    """A part of a source, from `start` to before `end`, with the state from the records before it.

    `end` is a chunk of a log, or an offset for each partition of a topic. With `through`, only windows that close by
    that watermark are stored, and the remaining state is written to the folder `snapshots`.
    """

    start: SourceCursor
    end: Any
    seeds: Seeds = field(default_factory=dict)
    through: int | None = None
    snapshots: str = ""


class LiveSource(Protocol):
    """An endless source."""

    grows: bool
    """Whether the last ledger row of a source may still grow."""

    def describe(self) -> str:
        """What it is, in words."""

    def reached(self) -> Callable[[Mapping[str, Any]], Mapping[str, int]]:
        """A function of a checkpoint's source: for each source of the ledger, the first unread position."""

    def span(self) -> tuple[int, int]:
        """The position of the first record that it holds, and the one after its last; for partitions, the sums."""

    def begin(self, say: Callable[[str], None]) -> SourceCursor:
        """Where a job without a checkpoint begins."""

    def resume(self, checkpoint: Checkpoint) -> SourceCursor:
        """Where a job resumes. Raises SourceError if the source no longer holds the records that follow."""

    def hold(self, manifest: Manifest | None) -> None:
        """Makes the source keep what the job needs from now on."""

    def feed(self, overlay: Overlay, bulletin: Bulletin) -> Feed:
        """The source as a worker reads it."""

    def after_checkpoint(self) -> beam.DoFn:
        """Informs the source after each checkpoint."""

    def words_of(self, part: SourceSpan) -> str:
        """A part of the source, in words."""

    def is_empty(self, part: SourceSpan) -> bool:
        """Whether there is nothing to read in a part."""

    def end(self) -> int | None:
        """The position after the last record; None: the reader itself reports it."""

    def reading(self, part: SourceSpan, overlay: Overlay, bulletin: Bulletin) -> beam.PTransform:
        """Reads a part."""

    def whole(self) -> SourceSpan:
        """All that the source holds now."""

    def until(self, checkpoint: Checkpoint) -> SourceSpan | None:
        """All records from the job's beginning to a checkpoint; None if the source no longer holds all of them."""

    def between(self, before: Checkpoint, after: Checkpoint) -> SourceSpan | None:
        """The records between two checkpoints; None if the source no longer holds all of them."""


def resumed(checkpoint: Checkpoint, progress: Any) -> SourceCursor:
    """The source cursor after a checkpoint. The names of its ticks follow the checkpoint's name."""
    shift = checkpoint.name - name_of(checkpoint.chunk, READ)
    position, began = checkpoint.source["position"], checkpoint.source.get("began")
    return SourceCursor(checkpoint.chunk, progress, position, time.time(), shift=shift, began=began)

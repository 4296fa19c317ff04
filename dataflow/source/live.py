"""What a source without an end can tell: where a job begins in it, goes on, and how to read it again to an end."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import apache_beam as beam
import numpy as np
import pyarrow as pa

from transforms.collection.cursor import SourceCursor
from transforms.collection.feed import Feed
from transforms.collection.repair import Overlay
from transforms.storage.checkpoint.manifest import Checkpoint, Manifest
from transforms.time.tick import READ, name_of

Seeds = Mapping[int, Sequence[tuple[int, pa.RecordBatch]]]
"""By aggregation: shards, and the snapshot that each begins with."""


@dataclass(frozen=True)
class SourceSpan:
    """A part of a source, from `start` to before `end`, and what is known of the records before it.

    `end` is a chunk of a log, and an offset of each partition of a topic. With `through`, only windows that have closed
    by that watermark are stored, and the state that is left goes into the folder `snapshots`.
    """

    start: SourceCursor
    end: Any
    seeds: Seeds = field(default_factory=dict)
    through: int | None = None
    snapshots: str = ""


class LiveSource(Protocol):
    """A source without an end."""

    grows: bool
    """Whether the last ledger row of a source may still grow."""

    def describe(self) -> str:
        """What it is, for people."""

    def reached(self) -> Callable[[Mapping[str, Any]], Mapping[str, int]]:
        """What finds in a checkpoint's source, by each source of the ledger, the first position that was not read."""

    def span(self) -> tuple[int, int]:
        """The position of the first record that it holds, and that behind the last; of partitions, the sums."""

    def begin(self, say: Callable[[str], None]) -> SourceCursor:
        """Where a job begins that goes on from nothing."""

    def resume(self, checkpoint: Checkpoint) -> SourceCursor:
        """Where a job goes on. SourceError, if the source does not hold any more what comes next."""

    def hold(self, manifest: Manifest | None) -> None:
        """From now on, the source shall keep what the job needs."""

    def feed(self, overlay: Overlay) -> Feed:
        """The source as a worker reads it."""

    def behind(self) -> beam.DoFn:
        """What the source is told behind each checkpoint."""

    def words_of(self, part: SourceSpan) -> str:
        """What of the source a part is, for people."""

    def is_empty(self, part: SourceSpan) -> bool:
        """Whether there is nothing to read in a part."""

    def end(self) -> int | None:
        """The position behind the last record; None: the reader itself says."""

    def reading(self, part: SourceSpan, overlay: Overlay) -> beam.PTransform:
        """Reads a part."""

    def whole(self) -> SourceSpan:
        """Everything that there is now."""

    def until(self, checkpoint: Checkpoint) -> SourceSpan | None:
        """Everything from the job's beginning to a checkpoint; None: it is not all there any more."""

    def between(self, before: Checkpoint, after: Checkpoint) -> SourceSpan | None:
        """What was read between two checkpoints; None: it is not all there any more."""


def inside(source: LiveSource, rows: pa.Table, column: str, before: Checkpoint | None, after: Checkpoint) -> pa.Table:
    """Of dead letters or ledger rows, those of records that were read after one checkpoint and before another.

    Args:
        column: the one that holds positions.
        before: None: from the source's beginning on.
    """
    reached = source.reached()
    rows = not_read(rows, column, reached(before.source) if before is not None else {})
    return rows.filter(pa.array(rows[column].to_numpy() < _bounds(rows, reached(after.source))))


def not_read(rows: pa.Table, column: str, reached: Mapping[str, int]) -> pa.Table:
    """Of dead letters or ledger rows, those of records that had not been read at a place.

    Args:
        column: the one that holds positions.
        reached: of each source, the first position that had not been read.
    """
    return rows.filter(pa.array(rows[column].to_numpy() >= _bounds(rows, reached)))


def _bounds(rows: pa.Table, reached: Mapping[str, int]) -> Any:
    """Of each row's source, the first position that was not read."""
    sources = pa.chunked_array(rows["source"]).combine_chunks().dictionary_encode()
    bounds = np.array([reached.get(source, 0) for source in sources.dictionary.to_pylist()], np.int64)
    return bounds[sources.indices.to_numpy(zero_copy_only=False)]


def resumed(checkpoint: Checkpoint, progress: Any) -> SourceCursor:
    """What is left behind a checkpoint. Its names go on behind the checkpoint's."""
    shift = checkpoint.name - name_of(checkpoint.chunk, READ)
    position, began = checkpoint.source["position"], checkpoint.source.get("began")
    return SourceCursor(checkpoint.chunk, progress, position, time.time(), shift=shift, began=began)

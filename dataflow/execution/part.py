"""What a bounded run reads: a stretch of its source, and the state from the records before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from transforms.collection.source import SourceSpan

Seeds = Mapping[int, Sequence[tuple[int, pa.RecordBatch]]]
"""By aggregation: the shards, and the snapshot with which each begins."""


@dataclass(frozen=True)
class Part:
    """The part of a source that a bounded run reads.

    Args:
        span: what is read.
        seeds: the state from the records before it.
        through: only windows that close by this watermark (µs) are stored, and the remaining state is written to the
            folder `snapshots`; None: all windows are.
    """

    span: SourceSpan
    seeds: Seeds = field(default_factory=dict)
    through: int | None = None
    snapshots: str = ""

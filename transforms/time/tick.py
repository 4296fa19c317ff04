"""Ticks: the checkpoint barriers of a live pipeline, which mark that everything before them has arrived.

Beam's time in a live pipeline is not event time but the source's progress: the data of a chunk has a timestamp that
grows with the chunk's number (`transforms.time.moment`), so Beam's watermark and timers only show what has arrived.
Event time travels in the ticks, as data. A tick says: everything before chunk `chunk` has been sent, and event time has
passed `watermark`. Its timer fires when all of that has arrived; the state then comes from exactly the records before
the tick: one consistent cut, which a checkpoint requires.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import pyarrow as pa

READ, IDLE, LAST = range(3)
"""Why there is a tick at a chunk: everything before it was read; nothing new arrived for long; the job ends."""

PARTIAL: Final = "partial"
ROWS: Final = "rows"
RETRACTED: Final = "retracted"
SNAPSHOT: Final = "snapshot"
TICK: Final = "tick"
"""The kinds of parcels."""
_LABEL: Final = b"streamgauge.parcel"


def name_of(chunk: int, why: int) -> int:
    """The name of a tick: names increase along the source, and a chunk has one for each reason."""
    return 4 * chunk + why


@dataclass(frozen=True, slots=True)
class Tick:
    """A checkpoint barrier: everything before `chunk` has been sent.

    Args:
        name: identifies the tick, by `name_of`.
        chunk: the first chunk that has not been read.
        watermark: the watermark (µs).
        keeps: whether to keep a checkpoint here.
        source: what the source needs to resume from here.
    """

    name: int
    chunk: int
    watermark: int
    keeps: bool = False
    source: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Tick":
        return Tick(**json.loads(text))


def parcel(batch: pa.RecordBatch, kind: str, **label: Any) -> pa.RecordBatch:
    """A batch whose schema metadata says what kind it is: one PCollection carries several kinds."""
    return batch.replace_schema_metadata({_LABEL: json.dumps({"kind": kind, **label}).encode()})


def label_of(batch: pa.RecordBatch) -> dict[str, Any]:
    """The label of a parcel; it always has `kind`."""
    written: dict[str, Any] = json.loads((batch.schema.metadata or {})[_LABEL])
    return written


def content_of(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A parcel's batch without its label."""
    return batch.replace_schema_metadata(None)


def tick_parcel(tick: Tick) -> pa.RecordBatch:
    """A tick as a parcel."""
    return parcel(pa.record_batch([pa.array([tick.to_json()])], ["tick"]), TICK)


def tick_of(batch: pa.RecordBatch) -> Tick:
    """The tick in a parcel."""
    return Tick.from_json(batch["tick"][0].as_py())

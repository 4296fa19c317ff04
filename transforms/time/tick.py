"""Ticks: how a live pipeline knows that everything up to a place in its source has arrived.

Beam's time in a live pipeline is not event time but the source's own progress: what is made of a chunk has a
timestamp that grows with the chunk's number (`moment`), so that Beam's watermark and timers say what has arrived and
nothing else. Event time travels in the ticks, as data. A tick says: everything before chunk `chunk` has been sent,
and event time has passed `watermark`. Its timer fires when all of it has arrived, and the state it finds is made of
exactly the records before it: one consistent cut, which is what a checkpoint needs.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import pyarrow as pa
from apache_beam.utils.timestamp import Timestamp

SENT: Final = -1
CLOSING: Final = 0
KEEPING: Final = 1
PASSED: Final = 2
READ, IDLE, LAST = range(3)
"""Why there is a tick at a chunk: everything before it was read; nothing new came for long; the job ends."""

PARTIAL: Final = "partial"
ROWS: Final = "rows"
SNAPSHOT: Final = "snapshot"
TICK: Final = "tick"
"""What a parcel may be."""
_STEP: Final = 1_000
_TICK: Final = 1_000_000
"""A tick has a second (µs): Beam's Java runners cut the watermark of a source that pauses to whole seconds."""
_LABEL: Final = b"streamgauge.parcel"


def name_of(chunk: int, why: int) -> int:
    """The name of a tick: they grow along the source, and there is one of each sort at a chunk."""
    return 4 * chunk + why


def moment(name: int, step: int) -> Timestamp:
    """Beam's time of a step at a tick. Runners keep milliseconds, so a step is one, and the last is a whole second.

    What belongs to the chunks before the tick is `SENT`; windows close at `CLOSING`; what that gave is kept at
    `KEEPING`; and when all is done the source's watermark has `PASSED`.
    """
    return Timestamp(micros=name * _TICK + (step - PASSED) * _STEP)


def tick_after(timestamp: Timestamp) -> int:
    """The name of the first tick at or after a moment."""
    return -(-timestamp.micros // _TICK)


@dataclass(frozen=True, slots=True)
class Tick:
    """Everything before `chunk` has been sent.

    Args:
        name: what tells the tick from others, by `name_of`.
        chunk: the first chunk that has not been read.
        watermark: up to where event time has passed (µs).
        keeps: whether to keep a checkpoint here.
        source: what the source needs to go on from here.
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
    """A batch that says in its schema's metadata what it is: one PCollection carries several kinds of them."""
    return batch.replace_schema_metadata({_LABEL: json.dumps({"kind": kind, **label}).encode()})


def label_of(batch: pa.RecordBatch) -> dict[str, Any]:
    """What a parcel says it is; `kind` is always there."""
    written: dict[str, Any] = json.loads((batch.schema.metadata or {})[_LABEL])
    return written


def content_of(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A parcel's batch without its label."""
    return batch.replace_schema_metadata(None)


def tick_parcel(tick: Tick) -> pa.RecordBatch:
    """A tick on its way."""
    return parcel(pa.record_batch([pa.array([tick.to_json()])], ["tick"]), TICK)


def tick_of(batch: pa.RecordBatch) -> Tick:
    """The tick in a parcel."""
    return Tick.from_json(batch["tick"][0].as_py())

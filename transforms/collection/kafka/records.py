"""Messages of a topic as records: parsed, judged by partition, and accounted for.

The result does not depend on how the messages were cut into readings: a record is judged by what its own partition
had before it, and the ledger has fixed ranges of offsets. Only a partition that stopped holding the watermark, or was
added later, is also judged by the watermark reported meanwhile, because windows closed by it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import numpy as np
import pyarrow as pa

from transforms.collection.future import without_future
from transforms.collection.kafka.progress import KafkaProgress, PartitionProgress
from transforms.collection.parsing.avro import AvroDecoder
from transforms.collection.parsing.json_lines import parse_json
from transforms.collection.parsing.lines import Lines
from transforms.collection.parsing.parsed import Parsed, Schema, conform
from transforms.collection.parsing.values import Refusals
from transforms.collection.repair import Overlay, applicable
from transforms.record import ledger
from transforms.record.arrays import Longs
from transforms.record.batch import (
    EVENT_TIME,
    POSITION,
    RANGE,
    WATERMARK,
    Origin,
    one_batch,
    set_column,
    with_origin,
)
from transforms.record.dead_letter import SCHEMA
from transforms.specification import microseconds
from transforms.time.event_time import as_instants
from transforms.time.watermark import NEVER, WatermarkSpec

RANGE_OFFSETS: Final = 10_000
"""The number of offsets that a ledger row covers."""

NO_TIME: Final = -1
"""The timestamp of a message without one."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Consecutive messages of one partition.

    Args:
        offsets: increasing, with gaps where a topic was compacted or a transaction ended.
        timestamps: when each was created or appended, as the topic is configured (µs); NO_TIME where it has none.
        values: None is a tombstone.
        next: the offset at which to resume: after the last message, or further if nothing follows it.
    """

    partition: int
    offsets: Longs
    timestamps: Longs
    values: Sequence[bytes | None]
    next: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reading of a topic returned, each partition once, and how long it listened.

    Args:
        listened: how long (µs) the reader listened.
        with_more: partitions that may already have more to read.
        is_full: whether the reading reached its size limit, so that more can be read at once.
    """

    fetched: Sequence[Fetched]
    listened: int = 0
    with_more: frozenset[int] = frozenset()
    is_full: bool = False

    @property
    def count(self) -> int:
        """The number of messages."""
        return sum(len(part.offsets) for part in self.fetched)


@dataclass(frozen=True, slots=True)
class KafkaFlush:
    """The contents of a reading: a batch per partition, dead letters, ledger entries, and the topic's progress."""

    batches: tuple[pa.RecordBatch, ...]
    dead: pa.RecordBatch
    entries: pa.RecordBatch
    progress: KafkaProgress


@dataclass(frozen=True)
class KafkaParser:
    """Parses messages into records.

    In addition to the columns, batches carry POSITION (the offset), EVENT_TIME and PAYLOAD; RANGE, the first offset of
    the record's ledger row; and WATERMARK: the greatest event time before it in its partition, minus
    `out_of_orderness`, and never less than the watermark reported before the reading.

    Args:
        max_future: records further ahead of their message's timestamp become dead letters `future`; None: no limit.
        overlay: repairs by source and offset.
        avro: decodes the values to JSON; None: they are JSON.
    """

    topic: str
    schema: Schema
    watermark: WatermarkSpec
    max_future: timedelta | None = None
    overlay: Overlay = field(default_factory=dict)
    avro: AvroDecoder | None = None

    def source(self, partition: int) -> str:
        """The name of a partition in the tables."""
        return f"{self.topic}/{partition}"

    def parse(self, reading: Reading, before: KafkaProgress) -> KafkaFlush:
        """The records of a reading, given the progress of the topic before it."""
        # All partitions are parsed together: a reading may have a few messages of each of a hundred.
        values = [value for part in reading.fetched for value in part.values]
        parsed = self._records(values)
        bounds = np.cumsum([0, *(len(part.values) for part in reading.fetched)])
        batches, letters, entries = [], [], [ledger.entries("", np.empty(0, np.int64))]
        progress: dict[int, PartitionProgress] = {}
        for part, start, end in zip(reading.fetched, bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            known = before.partitions.get(part.partition, PartitionProgress(0))
            batch, dead, latest = self._judged(part, _between(parsed, start, end), known.latest, before.watermark)
            progress[part.partition] = PartitionProgress(part.next, latest)
            if batch.num_rows:
                batches.append(batch)
            letters.append(dead)
            entries.append(_entries(self.source(part.partition), part.offsets, dead))
        after = before.advance(self.watermark, progress, reading.listened, reading.with_more)
        return KafkaFlush(tuple(batches), one_batch(letters, SCHEMA), one_batch(entries), after)

    def _records(self, values: Sequence[bytes | None], *, takes_json: bool = False) -> Parsed:
        """The records of messages; their positions are the indices of the messages."""
        refused: Refusals = {}
        texts = values if self.avro is None else self.avro.as_json(values, refused, takes_json=takes_json)
        lines = one_line_each(texts)
        for row, why in lines.unreadable(self.schema.max_line).items():
            if why[0] == "malformed":
                why = (
                    "malformed",
                    "the value is empty" if values[row] is not None else "a tombstone: there is no value",
                )
            refused.setdefault(row, why)
        return conform(
            self.schema,
            parse_json(lines, self.schema, refused),
            refused,
            positions=np.arange(len(values), dtype=np.int64),
            originals=lambda rows: [values[row] or b"" for row in rows],
            carried=lambda: pa.array(values, pa.binary()),
            origin=Origin(),
        )

    def _judged(
        self, part: Fetched, parsed: Parsed, latest: int, reported: int
    ) -> tuple[pa.RecordBatch, pa.RecordBatch, int]:
        """A partition's good records and dead letters, and its greatest event time so far."""
        places = parsed.batch[POSITION].to_numpy()
        batch, dead = self._without_future(part, parsed, places)
        times = as_instants(batch[EVENT_TIME])
        # A repaired record is accepted however late it is. It does not advance the watermark: the record that it
        # replaces did, and the tables already depend on that watermark.
        greatest = np.maximum.accumulate(np.concatenate([[latest], times]))
        wait = microseconds(self.watermark.out_of_orderness)
        stood = np.maximum(np.where(greatest > NEVER, greatest - wait, NEVER), reported)[:-1]
        batch = self._placed(batch, part, stood)
        repairs = self.overlay.get(self.source(part.partition), {})
        applied = applicable(repairs, part.offsets, lambda row: part.values[row] or b"")
        if applied:
            gone = list(applied)
            repaired = self._repaired(part, applied)
            batch = one_batch([batch.filter(pa.array(~np.isin(batch[POSITION].to_numpy(), gone))), repaired[0]])
            dead = one_batch([dead.filter(pa.array(~np.isin(dead["position"].to_numpy(), gone))), repaired[1]])
        return batch, dead, int(greatest[-1])

    def _repaired(self, part: Fetched, applied: Mapping[int, bytes]) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """The repaired records that replace others: in the topic's format, or in JSON."""
        rows = np.searchsorted(part.offsets, np.array(list(applied), np.int64))
        instead = Fetched(part.partition, part.offsets[rows], part.timestamps[rows], list(applied.values()), part.next)
        parsed = self._records(instead.values, takes_json=True)
        batch, dead = self._without_future(instead, parsed, parsed.batch[POSITION].to_numpy())
        return self._placed(batch, instead, np.full(batch.num_rows, NEVER)), dead

    def _placed(self, batch: pa.RecordBatch, part: Fetched, stood: Longs) -> pa.RecordBatch:
        """The batch with its offsets, ranges and watermarks."""
        offsets = part.offsets[batch[POSITION].to_numpy()]
        ranges = offsets // RANGE_OFFSETS * RANGE_OFFSETS
        for name, longs in ((POSITION, offsets), (RANGE, ranges), (WATERMARK, stood)):
            batch = set_column(batch, name, pa.array(longs))
        # Arrival order is undefined across partitions; `first` and `last` use the partition's number to break ties.
        return with_origin(batch, Origin(self.source(part.partition), part.partition))

    def _without_future(self, part: Fetched, parsed: Parsed, places: Longs) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """The records that are not too far ahead of their messages; the others become further dead letters."""
        source, batch = self.source(part.partition), parsed.batch
        dead = _placed_letters(parsed.dead, source, part.offsets)
        times, made = as_instants(batch[EVENT_TIME]), part.timestamps[places]
        if self.max_future is None or not len(times):
            return batch, dead
        batch, letters = without_future(
            batch,
            np.where(made == NO_TIME, 0, times - made),
            self.max_future,
            source=source,
            positions=part.offsets[places],
            column=self.schema.event_time.column,
            receipt="its message's timestamp",
        )
        return batch, one_batch([dead, letters])


def one_line_each(values: Iterable[bytes | None]) -> Lines:
    """Values as lines. JSON spread over several lines becomes one line; a newline inside a string is still refused."""
    texts = [value or b"" for value in values]
    data = b"\n".join(texts) + b"\n" if texts else b""
    if data.count(b"\n") != len(texts):
        # A tab is white space like a newline, and equally forbidden within a string.
        data = b"".join(text.rstrip(b"\n").replace(b"\n", b"\t") + b"\n" for text in texts)
    return Lines(data, 0)


def _between(parsed: Parsed, start: int, end: int) -> Parsed:
    """The records of one partition among all records, with positions counted from its first."""

    def cut(batch: pa.RecordBatch, name: str) -> pa.RecordBatch:
        first, last = np.searchsorted(batch[name].to_numpy(), [start, end]).tolist()
        part = batch.slice(first, last - first)
        return set_column(part, name, pa.array(part[name].to_numpy() - start))

    return Parsed(cut(parsed.batch, POSITION), cut(parsed.dead, "position"), end - start)


def _placed_letters(dead: pa.RecordBatch, source: str, offsets: Longs) -> pa.RecordBatch:
    places = offsets[dead["position"].to_numpy()]
    columns = [pa.array([source] * len(places), pa.string()), pa.array(places), *dead.columns[2:]]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _entries(source: str, offsets: Longs, dead: pa.RecordBatch) -> pa.RecordBatch:
    ranges, read = np.unique(offsets // RANGE_OFFSETS * RANGE_OFFSETS, return_counts=True)
    bad = ledger.tally(dead["position"].to_numpy() // RANGE_OFFSETS * RANGE_OFFSETS, ranges)
    return ledger.entries(source, ranges, read=read, dead=bad)

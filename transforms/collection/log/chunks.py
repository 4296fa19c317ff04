"""Chunks of the log as records: parsed, judged by the clock of the log, and accounted for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import numpy as np
import pyarrow as pa

from transforms.collection.future import without_future
from transforms.collection.log.file import Chunk
from transforms.collection.log.losses import LOST
from transforms.collection.parsing.json_lines import parse_json
from transforms.collection.parsing.lines import Lines
from transforms.collection.parsing.parsed import Parsed, Schema, conform
from transforms.collection.repair import Repair, applicable, one_line_each
from transforms.record import ledger
from transforms.record.arrays import Longs
from transforms.record.batch import (
    EVENT_TIME,
    POSITION,
    RANGE,
    WATERMARK,
    Origin,
    empty,
    one_batch,
    set_column,
)
from transforms.record.dead_letter import SCHEMA
from transforms.time.event_time import as_instants
from transforms.time.watermark import NEVER, Progress, WatermarkSpec

SOURCE: Final = "log"
"""The name of a log in the tables."""


@dataclass(frozen=True, slots=True)
class Flush:
    """The contents of some chunks: good records, dead letters, a ledger entry per chunk, and the log's progress."""

    batch: pa.RecordBatch
    dead: pa.RecordBatch
    entries: pa.RecordBatch
    progress: Progress


@dataclass(frozen=True)
class ChunkParser:
    """Makes records of chunks.

    In addition to the columns, batches carry POSITION and EVENT_TIME; PAYLOAD; RANGE, the first position of the
    record's chunk, which is the key of its ledger row; and WATERMARK, the watermark before that chunk.

    Args:
        max_future: records further ahead of their receive time become dead letters `future`; None: no limit.
        overlay: repairs by position.
    """

    schema: Schema
    watermark: WatermarkSpec
    max_future: timedelta | None = None
    overlay: Mapping[int, Repair] = field(default_factory=dict)

    def parse(self, chunks: Sequence[Chunk], before: Progress) -> Flush:
        """The records of consecutive chunks, given the progress of the log before them."""
        counts = np.array([chunk.count for chunk in chunks], np.int64)
        firsts = np.array([chunk.first for chunk in chunks], np.int64)
        lines = Lines(b"".join(chunk.data for chunk in chunks), 0)
        if len(lines) != counts.sum():
            raise AssertionError(f"chunks of {counts.sum()} records hold {len(lines)} lines")
        positions = np.arange(len(lines), dtype=np.int64) + (firsts[0] if len(firsts) else 0)
        parsed = self._records(lines, positions)
        batch, future = self._without_future(parsed.batch, chunks)
        # A repaired record is accepted however late it is. It does not advance the watermark: the record that it
        # replaces did, and the tables already depend on that watermark.
        progress, stood = self._watermarks(batch, chunks, before)
        batch, dead = _placed(batch, firsts, stood), _named_lost(one_batch([parsed.dead, future]), chunks)
        applied = applicable(self.overlay, positions, lines.payload)
        if applied:
            batch, dead = _not_at(batch, POSITION, applied), _not_at(dead, "position", applied)
            repaired = self._records(Lines(one_line_each(applied), 0), np.array(list(applied), np.int64))
            good, future = self._without_future(repaired.batch, chunks)
            batch = one_batch([batch, _placed(good, firsts, np.full(len(firsts), NEVER))])
            dead = one_batch([dead, repaired.dead, future])
        held = counts > 0
        bad = np.bincount(_chunk_of(as_longs(dead["position"]), firsts), minlength=len(firsts))
        return Flush(batch, dead, ledger.entries(SOURCE, firsts[held], read=counts[held], dead=bad[held]), progress)

    def _records(self, lines: Lines, positions: Longs) -> Parsed:
        refused = lines.unreadable(self.schema.max_line)
        return conform(
            self.schema,
            parse_json(lines, self.schema, refused),
            refused,
            positions=positions,
            originals=lines.payloads,
            carried=lines.payloads,
            origin=Origin(SOURCE),
        )

    def _without_future(self, batch: pa.RecordBatch, chunks: Sequence[Chunk]) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """The batch without records too far ahead of their receive time, and those records as dead letters."""
        times = as_instants(batch[EVENT_TIME])
        if self.max_future is None or not len(times):
            return batch, empty(SCHEMA)
        received = np.repeat(*_runs(chunks, "received"))
        positions = as_longs(batch[POSITION])
        return without_future(
            batch,
            times - received[positions - chunks[0].first],
            self.max_future,
            source=SOURCE,
            positions=positions,
            column=self.schema.event_time.column,
            receipt="when it was received",
        )

    def _watermarks(self, batch: pa.RecordBatch, chunks: Sequence[Chunk], before: Progress) -> tuple[Progress, Longs]:
        """The progress of the log after all chunks, and the watermark before each."""
        sizes = _runs(chunks, "received")[1]
        latest = np.full(len(sizes), np.iinfo(np.int64).min)
        if batch.num_rows:
            run_of = np.repeat(np.arange(len(sizes)), sizes)[as_longs(batch[POSITION]) - chunks[0].first]
            np.maximum.at(latest, run_of, as_instants(batch[EVENT_TIME]))
        stood, progress, run_number = np.empty(len(chunks), np.int64), before, 0
        for number, chunk in enumerate(chunks):
            stood[number] = progress.watermark
            by_source: dict[str, int] = {}
            for run in chunk.runs:
                time = int(latest[run_number])
                run_number += 1
                if time > np.iinfo(np.int64).min:
                    by_source[run.source] = max(time, by_source.get(run.source, time))
            progress = self.watermark.advance(progress, chunk.elapsed, by_source)
        return progress, stood


def as_longs(values: pa.Array) -> Longs:
    """A column of int64 without nulls as numpy."""
    longs: Longs = values.to_numpy(zero_copy_only=False)
    return longs


def _runs(chunks: Sequence[Chunk], name: str) -> tuple[Longs, Longs]:
    """A field of every run of the chunks, and how many records each run has."""
    runs = [run for chunk in chunks for run in chunk.runs]
    return np.array([getattr(run, name) for run in runs], np.int64), np.array([run.count for run in runs], np.int64)


def _chunk_of(positions: Longs, firsts: Longs) -> Longs:
    """The chunk that holds each position; if several begin there, the last, because the others are empty."""
    return np.searchsorted(firsts, positions, side="right") - 1


def _placed(batch: pa.RecordBatch, firsts: Longs, stood: Longs) -> pa.RecordBatch:
    """The batch with RANGE and WATERMARK; `stood` has one watermark per chunk."""
    chunks = _chunk_of(as_longs(batch[POSITION]), firsts)
    return set_column(set_column(batch, RANGE, pa.array(firsts[chunks])), WATERMARK, pa.array(stood[chunks]))


def _named_lost(dead: pa.RecordBatch, chunks: Sequence[Chunk]) -> pa.RecordBatch:
    """The dead letters; the detail of each record that a repair of the log gave up says so."""
    lost = {chunk.id: chunk for chunk in chunks for run in chunk.runs if run.source == LOST}
    if not lost:
        return dead
    details = dead["detail"].to_pylist()
    positions = as_longs(dead["position"])
    for chunk in lost.values():
        for row in np.flatnonzero((positions >= chunk.first) & (positions < chunk.first + chunk.count)):
            details[row] = f"the record was lost: chunk {chunk.id} of the log was damaged, and a repair gave it up"
    return set_column(dead, "detail", pa.array(details, pa.string()))


def _not_at(batch: pa.RecordBatch, column: str, positions: Mapping[int, bytes]) -> pa.RecordBatch:
    """The rows at other positions."""
    return batch.filter(pa.array(~np.isin(as_longs(batch[column]), list(positions))))

"""What a log should give: a study of a log and a job, computed in one batch, against which lives are held."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, cast

import numpy as np
import pyarrow as pa
from pydantic import PrivateAttr

from dataflow.execution.checkpoints import timeline_of
from dataflow.job.plan import Job
from tests.live.world import Wrong
from transforms.aggregation.lateness import judge, timely
from transforms.collection.log.chunks import ChunkParser, Flush
from transforms.collection.log.file import Chunk
from transforms.preprocessing.preprocess import entries, preprocess
from transforms.record import ledger
from transforms.record.batch import POSITION
from transforms.record.hashing import hash_rows
from transforms.specification import Micros, microseconds
from transforms.storage.checkpoint.expiry import Mark
from transforms.storage.tables import DEAD_LETTERS, LEDGER
from transforms.time.watermark import Progress, WatermarkSpec

Key = tuple[Any, ...]
Tables = Mapping[str, Mapping[Key, Mapping[str, Any]]]
LEFT_OUT = frozenset({"revision", "failed_at", "attempts"})
DETERMINED = 8
"""Rows from which a model's figures are promised."""


def rows_by_key(rows: Sequence[Mapping[str, Any]], key: Sequence[str], where: str) -> dict[Key, Mapping[str, Any]]:
    """The rows of a table by its key."""
    found: dict[Key, Mapping[str, Any]] = {}
    for row in rows:
        place = tuple(row[name] for name in key)
        if place in found:
            raise Wrong(f"{where}: {place} is there twice")
        found[place] = row
    return found


class Recorded(WatermarkSpec):
    """A watermark that remembers how far the log had come after each chunk."""

    _after: list[Progress] = PrivateAttr(default_factory=list)

    def advance(self, before: Progress, elapsed: int, latest: Mapping[str, int]) -> Progress:
        progress = super().advance(before, elapsed, latest)
        self._after.append(progress)
        return progress

    @property
    def after(self) -> Sequence[Progress]:
        return self._after


@cache
def hash_of(values: tuple[Any, ...], types: tuple[pa.DataType, ...]) -> int:
    """The hash of one key; there are few, and asking the engine each time is what a life would mostly do."""
    columns = [pa.array([value], kind) for value, kind in zip(values, types, strict=True)]
    return int(hash_rows(columns, 1)[0])


def remembered_hashes(columns: Sequence[pa.Array], rows: int) -> Any:
    types = tuple(column.type for column in columns)
    keys = zip(*(column.to_pylist() for column in columns), strict=True) if columns else iter([()] * rows)
    return np.array([hash_of(key, types) for key in keys], np.uint64)


@dataclass
class Study:
    """A log, a job, and what of both is the same in every life.

    Args:
        watermark_of: what lives, and not the batch, judge lateness by.
        cuts: parses the log once and cuts what each flush gives out of that, which is much faster.
    """

    job: Job
    log: Sequence[Chunk]
    watermark_of: Callable[[Job], WatermarkSpec] = lambda job: job.spec.watermark
    cuts: bool = True
    parser_type: type[ChunkParser] = ChunkParser
    sent: dict[Any, Any] = field(default_factory=dict)

    def parser(self, watermark: WatermarkSpec) -> ChunkParser:
        return self.parser_type(self.job.schema, watermark, self.job.spec.record.max_future)

    def flush(self, chunks: Sequence[Chunk], before: Progress) -> Flush:
        """What chunks hold; made once, for it depends on the log only."""
        key = ("flush", chunks[0].id, len(chunks))
        if key not in self.sent:
            make = self.cut if self.cuts else self.parser(self.watermark_of(self.job)).parse
            self.sent[key] = make(chunks, before)
        flush: Flush = self.sent[key]
        return flush

    @cached_property
    def parsed(self) -> tuple[Flush, Sequence[Progress]]:
        """The whole log as lives read it, and how far it had come after each chunk."""
        watermark = self.watermark_of(self.job)
        recording = cast(type[Recorded], type("Recorded", (Recorded, type(watermark)), {}))
        recorded = recording.model_validate(watermark.model_dump())
        return self.parser(recorded).parse(self.log, Progress()), recorded.after

    def cut(self, chunks: Sequence[Chunk], before: Progress) -> Flush:
        """What parsing these chunks gives, out of the whole."""
        flush, after = self.parsed
        start, end = chunks[0].first, chunks[-1].first + chunks[-1].count

        def inside(batch: pa.RecordBatch, name: str) -> pa.RecordBatch:
            places = batch[name].to_numpy()
            return batch.filter(pa.array((places >= start) & (places < end)))

        return Flush(
            inside(flush.batch, POSITION),
            inside(flush.dead, "position"),
            inside(flush.entries, "first_position"),
            after[chunks[-1].id - 1],
        )

    @cached_property
    def whole(self) -> Tables:
        """The tables that one batch computation over the whole log gives."""
        job = self.job
        clean = ChunkParser(job.schema, job.spec.watermark, job.spec.record.max_future)
        is_clean = self.watermark_of(job) is job.spec.watermark and self.parser_type is ChunkParser
        flush = self.parsed[0] if is_clean and self.cuts else clean.parse(self.log, Progress())
        cleaned = preprocess(flush.batch, job.steps)
        judged = judge(cleaned.batch, [aggregation.spec for aggregation in job.aggregations])
        tables: dict[str, Any] = {}
        for number, aggregation in enumerate(job.aggregations):
            timeline = timeline_of(aggregation)
            partial = aggregation.summary.summarize(timely(judged.batch, number))
            _, rows, _ = timeline.advance(timeline.start(), [partial], None)
            tables |= {name: batch.to_pylist() for name, batch in rows.items()}
        letters = [flush.dead, *cleaned.dead, *judged.dead]
        tables[DEAD_LETTERS] = [row for batch in letters for row in batch.to_pylist()]
        books = [flush.entries, entries(flush.batch, cleaned), judged.entries]
        tables[LEDGER] = ledger.merge(books).to_pylist()
        return {name: rows_by_key(rows, job.tables[name].key, f"batch {name}") for name, rows in tables.items()}

    @cached_property
    def lateness(self) -> Mapping[str, Micros]:
        """How long each table waits (µs) until a window closes."""
        return {
            output.table: microseconds(aggregation.spec.allowed_lateness)
            for aggregation in self.job.aggregations
            for output in aggregation.outputs
        }

    @cached_property
    def closing(self) -> Mapping[str, Sequence[tuple[int, Key]]]:
        """The windows of each table, and when each closes (µs)."""
        return {
            table: [(int(row["window_end"].timestamp() * 1e6) + wait, key) for key, row in self.whole[table].items()]
            for table, wait in self.lateness.items()
        }

    def check_provisional(self, name: str, rows: Sequence[Mapping[str, Any]], through: int) -> None:
        """Raises Wrong unless each provisional row is of a window that had not closed by `through`, or lies within one.

        What it lies within has grown since, in a life that was killed.
        """
        places = len(self.job.tables[name].key)
        for row in rows:
            start, end, *key = (row[column] for column in self.job.tables[name].key)
            around = (
                when > through and [*place[2:places]] == key and place[0] <= start and end <= place[1]
                for when, place in self.closing[name]
            )
            if not any(around):
                raise Wrong(f"{name} {(start, end, *key)}: is provisional, and no open window is around it")

    def check(
        self,
        name: str,
        found: Sequence[Mapping[str, Any]],
        where: str,
        through: int,
        position: int,
        expired: Mark | None = None,
    ) -> int:
        """Raises Wrong unless rows are those of windows closed by `through`, or of records before `position`.

        Those up to the mark `expired` may be gone; gives how many are.
        """
        got = rows_by_key(found, self.job.tables[name].key, f"{where} {name}")
        if name in self.lateness:
            want = {key: self.whole[name][key] for when, key in self.closing[name] if when <= through}
            gone = {key for when, key in self.closing[name] if expired is not None and when <= expired.watermark}
        else:
            place = "position" if name == DEAD_LETTERS else "first_position"
            want = {key: row for key, row in self.whole[name].items() if row[place] < position}
            read = {} if expired is None else expired.booked if name == LEDGER else expired.reached
            gone = {key for key, row in want.items() if row[place] < read.get(row["source"], -1)}
        gone -= got.keys()
        want = {key: row for key, row in want.items() if key not in gone}
        if got.keys() != want.keys():
            missing, extra = want.keys() - got.keys(), got.keys() - want.keys()
            raise Wrong(f"{where} {name}: missing {sorted(map(str, missing))[:3]}, extra {sorted(map(str, extra))[:3]}")
        for key, row in want.items():
            for column, value in row.items():
                if column in LEFT_OUT or same(got[key][column], value) or ("n" in row and row["n"] < DETERMINED):
                    continue
                raise Wrong(f"{where} {name} {key}: {column} is {got[key][column]!r}, must be {value!r}")
        return len(gone)


def same(a: Any, b: Any) -> bool:
    """Equal, figures but for their last digits."""
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= 1e-6 * max(1.0, abs(a), abs(b))
    return bool(a == b)

"""Following the log: an endless splittable source, and its bounded form that ends at the log's present end."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Duration

import transforms.coder  # noqa: F401  # registers the Arrow coder
from transforms.collection.chunks import ChunkParser, Flush
from transforms.collection.log import Chunk, LogReader, announce
from transforms.event_time import EARLIEST, Window, as_timestamps
from transforms.progress import BULLETIN, TALLY
from transforms.tick import IDLE, LAST, PASSED, READ, SENT, Tick, moment, name_of, tick_of, tick_parcel
from transforms.watermark import END, NEVER, Progress

FLUSH_BYTES: Final = 16 << 20
"""Text that is parsed at a time when there is more: as much as a block of a file."""

FLUSH_CHUNKS: Final = 4_096
"""Chunks that are parsed at a time at most: weeks of heartbeats are no reason not to hear that the job shall stop."""

STOP: Final = "stop"
FINISH: Final = "finish"
"""What a job may be asked for: to stop where it is, or when all is read."""

_POLL_SECONDS: Final = 0.005
_MOST_UNTOLD: Final = 32
"""Flushes that may go by without a tick: what they gave waits unmerged until there is one."""

TAGS: Final = ("dead_letters", "ledger", "ticks")


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left to read of a log: everything from `chunk`, or nothing; and how far it had come there.

    Args:
        position: that of the first record of `chunk`.
        kept_at: when the last tick went out that keeps a checkpoint, in s of this process's monotonic clock.
        is_kept: whether that tick was at `chunk`.
        told: the watermark of the last tick.
        untold: how many flushes were sent since.
        shift: how much greater the names of ticks are than those of a first launch: greater than that of the
            checkpoint that this launch goes on from, whose files are named after it.
    """

    chunk: int
    progress: Progress
    position: int = 0
    kept_at: float = 0.0
    is_kept: bool = False
    told: int = NEVER
    untold: int = 0
    shift: int = 0
    ended: bool = False

    def after(self, chunk: Chunk, progress: Progress) -> "Rest":
        """What is left behind a chunk."""
        position, untold = chunk.first + chunk.count, self.untold + 1
        return replace(self, chunk=chunk.id + 1, progress=progress, position=position, is_kept=False, untold=untold)

    def tick(self, why: int, *, keeps: bool) -> Tick:
        """The tick that says that everything before was sent."""
        source = {"progress": self.progress.to_json(), "position": self.position} if keeps else {}
        name = name_of(self.chunk, why) + self.shift
        return Tick(name, self.chunk, self.progress.watermark, keeps, source)


class RestTracker(RestrictionTracker):
    """Claims chunks one after the other. The rest of an endless log is never divided: its far half would hold the
    watermark for ever."""

    def __init__(self, rest: Rest):
        self._rest = rest
        self._left: Rest | None = None

    def current_restriction(self) -> Rest:
        return self._rest

    def try_claim(self, rest: Rest) -> bool:
        """Claims everything before `rest`; false once the runner has taken the rest away."""
        if self._left is not None:
            return False
        self._rest = rest
        return True

    def try_split(self, fraction_of_remainder: float) -> tuple[Rest, Rest] | None:
        if fraction_of_remainder != 0 or self._rest.ended or self._left is not None:
            return None
        self._left = self._rest
        self._rest = replace(self._rest, ended=True)
        return self._rest, self._left

    def check_done(self) -> bool:
        if not self._rest.ended:
            raise ValueError(f"the log was left at chunk {self._rest.chunk} without saying when to go on")
        return True

    def current_progress(self) -> RestrictionProgress:
        return RestrictionProgress(completed=0, remaining=1)

    def is_bounded(self) -> bool:
        return False


class RestProvider(RestrictionProvider):
    """Beam's view of a log: one restriction, of no known size."""

    def initial_restriction(self, element: Rest) -> Rest:
        return element

    def create_tracker(self, restriction: Rest) -> RestTracker:
        return RestTracker(restriction)

    def restriction_size(self, element: Rest, restriction: Rest) -> int:
        return 1

    def truncate(self, element: Rest, restriction: Rest) -> None:
        return None


@dataclass(frozen=True)
class Following:
    """How a log is followed.

    Args:
        folder: the log.
        control: a file in which `stop` or `finish` asks the job to end.
        drains: whether all windows close when it ends; nothing can go on from there.
        keep_every: s between checkpoints.
        pace: s to stay with the runner's call while there is nothing new; a wake-up takes milliseconds.
        linger: s between two flushes at least: more of them would only wait for each other in the runner.
        windows: of each aggregation, and how long (µs) they wait for late records: when ticks are worth sending.
    """

    folder: str
    control: str
    drains: bool = False
    keep_every: float = 10.0
    pace: float = 1.0
    linger: float = 0.05
    windows: tuple[tuple[Window, int], ...] = ()

    def is_due(self, rest: Rest) -> bool:
        """Whether a tick has something to do: a slice has ended, or its lateness has, since the last one."""
        if rest.untold >= _MOST_UNTOLD:
            return True
        before, now = rest.told, rest.progress.watermark
        if now <= before or now < EARLIEST:
            return False
        times = [(window, time) for window, wait in self.windows for time in {0, wait}]
        return before < EARLIEST or any(
            len(set(window.slices(as_timestamps(np.array([before - wait, now - wait]))))) > 1 for window, wait in times
        )


_REST: Final = RestProvider()


class FollowFn(beam.DoFn):
    """Where to begin in a log, to batches; tagged `dead_letters`, `ledger` and `ticks` beside them."""

    def __init__(self, following: Following, parser: ChunkParser):
        self._following = following
        self._parser = parser

    def setup(self) -> None:
        self._reader = LogReader(self._following.folder)
        self._flushed = 0.0

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator]  # Beam has no types for it
    def process(
        self,
        element: Rest,
        tracker: Any = beam.DoFn.RestrictionParam(_REST),
        watermark: Any = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider()),
    ) -> Iterator[Any]:
        rest: Rest = tracker.current_restriction()
        if rest.ended:
            return
        asked = self._wait(rest, time.monotonic() + self._following.pace)
        chunks = [] if asked == STOP else self._read(rest)
        flush = self._parser.parse(chunks, rest.progress) if chunks else None
        due = time.monotonic() - rest.kept_at >= self._following.keep_every
        if flush is not None:
            rest, why, keeps = rest.after(chunks[-1], flush.progress), READ, due
        elif asked:
            rest, why, keeps = replace(rest, ended=True), LAST, True
        else:
            why, keeps = IDLE, due and not rest.is_kept
        if keeps:
            rest = replace(rest, kept_at=time.monotonic(), is_kept=True)
        if flush is not None or keeps:
            is_told = keeps or self._following.is_due(rest)
            if is_told:
                rest = replace(rest, told=rest.progress.watermark, untold=0)
            if not tracker.try_claim(rest):
                return
            tick = rest.tick(why, keeps=keeps)
            if rest.ended and self._following.drains:
                tick = replace(tick, watermark=END)
            yield from self._sent(flush, tick, is_told=is_told)
            watermark.set_watermark(MAX_TIMESTAMP if rest.ended else moment(tick.name, PASSED))
        if flush is not None:
            self._tell(flush, chunks)
        if not rest.ended:
            # Every flush is handed to the runner at once.
            tracker.defer_remainder(Duration(micros=0))

    def _read(self, rest: Rest) -> list[Chunk]:
        there = self._reader.chunks(rest.chunk, target_bytes=FLUSH_BYTES)
        chunks = list(islice(there, FLUSH_CHUNKS))
        self._flushed = time.monotonic()
        return chunks

    def _sent(self, flush: Flush | None, tick: Tick, *, is_told: bool) -> Iterator[Any]:
        """What a flush gave, and, if it is worth it, the tick behind it, all at the tick's moment."""
        at = moment(tick.name, SENT)
        for output in outputs(flush) if flush is not None else ():
            if isinstance(output, beam.pvalue.TaggedOutput):
                yield beam.pvalue.TaggedOutput(output.tag, TimestampedValue(output.value, at))
            else:
                yield TimestampedValue(output, at)
        if is_told:
            yield beam.pvalue.TaggedOutput("ticks", TimestampedValue(tick_parcel(tick), at))

    def _wait(self, rest: Rest, until: float) -> str:
        """Waits for something new, at most so long; gives what somebody asked for meanwhile."""
        time.sleep(max(self._flushed + self._following.linger - time.monotonic(), 0.0))
        while True:
            asked = asked_for(self._following.control)
            if asked or self._reader.has(rest.chunk) or time.monotonic() >= until:
                return asked
            time.sleep(_POLL_SECONDS)

    def _tell(self, flush: Flush, chunks: list[Any]) -> None:
        TALLY.add(sum(chunk.count for chunk in chunks), flush.dead.num_rows)
        last = chunks[-1]
        BULLETIN.set(
            watermark=flush.progress.watermark if flush.progress.heard else None,
            position=last.first + last.count,
            end=self._reader.extent().end_position,
            lag_s=max(time.time() - last.received / 1e6, 0.0),
        )

    def teardown(self) -> None:
        self._reader.close()


def outputs(flush: Flush) -> Iterator[Any]:
    """What a flush gives to the pipeline."""
    if flush.batch.num_rows:
        yield flush.batch
    if flush.dead.num_rows:
        yield beam.pvalue.TaggedOutput("dead_letters", flush.dead)
    if flush.entries.num_rows:
        yield beam.pvalue.TaggedOutput("ledger", flush.entries)


def ask(control: str, what: str) -> None:
    """Asks whoever follows a log, in whatever process, to end; an empty text takes it back."""
    with open(f"{control}.new", "w", encoding="utf-8") as file:
        file.write(what)
    os.replace(f"{control}.new", control)


def asked_for(control: str) -> str:
    """What was asked for; empty: nothing."""
    try:
        with open(control, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


class AnnounceFn(beam.DoFn):
    """Ticks behind which everything is stored, to a word to the collector: what it need not keep for this job."""

    def __init__(self, folder: str, reader: str, manifest: str):
        self._folder = folder
        self._reader = reader
        self._manifest = manifest

    def process(self, tick: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        with open(self._manifest, encoding="utf-8") as file:
            oldest = json.load(file)["checkpoints"][0]["chunk"]
        with suppress(OSError):  # the log's disk may be full; what is not said now is said behind the next checkpoint
            announce(self._folder, self._reader, min(oldest, tick_of(tick).chunk))
        yield tick


@dataclass(eq=False, kw_only=True)
class FollowLog(beam.PTransform):
    """Reads a log for ever.

    Out: `batches` as `ChunkParser` makes them, `dead_letters`, `ledger` and `ticks`, all with the source's progress
    as their timestamps (`transforms.tick`).
    """

    following: Following
    parser: ChunkParser
    start: Rest

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, pipeline: beam.Pipeline) -> Any:
        typed = dict.fromkeys(TAGS, pa.RecordBatch)
        follow = beam.ParDo(FollowFn(self.following, self.parser)).with_output_types(pa.RecordBatch, **typed)
        return pipeline | "Start" >> beam.Create([self.start]) | "Follow" >> follow.with_outputs(*TAGS, main="batches")


class ReadLogFn(beam.DoFn):
    """(where to begin, where to end) to batches; tagged `dead_letters` and `ledger` beside them."""

    def __init__(self, folder: str, parser: ChunkParser):
        self._folder = folder
        self._parser = parser

    def process(self, element: tuple[Rest, int]) -> Iterator[Any]:
        rest, end = element
        reader = LogReader(self._folder)
        try:
            while rest.chunk < end:
                chunks = list(islice(reader.chunks(rest.chunk, end, FLUSH_BYTES), FLUSH_CHUNKS))
                flush = self._parser.parse(chunks, rest.progress)
                rest = rest.after(chunks[-1], flush.progress)
                TALLY.add(sum(chunk.count for chunk in chunks), flush.dead.num_rows)
                yield from outputs(flush)
        finally:
            reader.close()


@dataclass(eq=False, kw_only=True)
class ReadLog(beam.PTransform):
    """Reads a log from `start` to the chunk before `end`.

    Out: `batches`, `dead_letters` and `ledger`, as `FollowLog`.
    """

    folder: str
    parser: ChunkParser
    start: Rest
    end: int

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, pipeline: beam.Pipeline) -> Any:
        tags = TAGS[:2]
        read = beam.ParDo(ReadLogFn(self.folder, self.parser)).with_output_types(
            pa.RecordBatch, **dict.fromkeys(tags, pa.RecordBatch)
        )
        whole = pipeline | "Whole" >> beam.Create([(self.start, self.end)])
        return whole | "Read" >> read.with_outputs(*tags, main="batches")

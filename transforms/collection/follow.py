"""Following a source for ever: a splittable DoFn that hands on portions and says by ticks how far it is."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import apache_beam as beam
import numpy as np
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Duration

from transforms.collection.control import STOP, asked_for
from transforms.collection.cursor import CursorProvider, SourceCursor
from transforms.collection.feed import Feed, Portion, bulletin_of
from transforms.process.progress import BULLETIN, TALLY
from transforms.record.branches import BOOKS, branching
from transforms.time.event_time import EARLIEST, Window, as_timestamps
from transforms.time.tick import IDLE, LAST, PASSED, READ, SENT, moment, tick_parcel
from transforms.time.watermark import END

_POLL_SECONDS: Final = 0.005


@dataclass(frozen=True)
class Following:
    """How a source is followed.

    Args:
        control: a file in which `stop` or `finish` asks the job to end.
        drains: whether all windows close when it ends; nothing can go on from there.
        keep_every: s between checkpoints.
        pace: s to stay with the runner's call while there is nothing new; a wake-up takes milliseconds.
        hold: s to stay with it while there is, unless there is a tick to tell: to an engine that remembers every call
            for ever, few of them are better. 0: each portion is handed over at once.
        pause: s that the runner shall wait behind a tick: one that passes the watermark of a call on only
            when no other call has begun would otherwise keep it back.
        most_untold: portions that may go by without a tick: what they gave waits unmerged until there is one.
        linger: s between two portions at least: more of them would only wait for each other in the runner.
        windows: of each aggregation, and how long (µs) they wait for late records: when ticks are worth sending.
    """

    control: str
    drains: bool = False
    keep_every: float = 10.0
    pace: float = 1.0
    hold: float = 0.0
    pause: float = 0.0
    most_untold: int = 32
    linger: float = 0.05
    windows: tuple[tuple[Window, int], ...] = ()

    def is_due(self, cursor: SourceCursor) -> bool:
        """Whether a tick has something to do: a slice has ended, or its lateness has, since the last one."""
        if cursor.untold >= self.most_untold:
            return True
        before, now = cursor.told, cursor.progress.watermark
        if now <= before or now < EARLIEST:
            return False
        times = [(window, time) for window, wait in self.windows for time in {0, wait}]
        return before < EARLIEST or any(
            len(set(window.slices(as_timestamps(np.array([before - wait, now - wait]))))) > 1 for window, wait in times
        )

    def keeps(self, cursor: SourceCursor, now: float) -> bool:
        """Whether it is time for a checkpoint; a clock that was set back is no reason to wait."""
        return not 0 <= now - cursor.kept_at < self.keep_every


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a reader: what it read, if anything, what is left behind it, and why and what a tick would say."""

    cursor: SourceCursor
    portion: Portion | None
    why: int
    keeps: bool
    is_told: bool

    @property
    def is_empty(self) -> bool:
        return self.portion is None and not self.keeps


_REST: Final = CursorProvider()


class FollowFn(beam.DoFn):
    """Where to begin in a source, to batches; tagged `dead_letters`, `ledger` and `ticks` beside them."""

    def __init__(self, following: Following, feed: Feed):
        self._following = following
        self._feed = feed

    def setup(self) -> None:
        self._feed.open()
        self._read_at = 0.0

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator]  # Beam has no types for it
    def process(
        self,
        element: SourceCursor,
        tracker: Any = beam.DoFn.RestrictionParam(_REST),
        watermark: Any = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider()),
    ) -> Iterator[Any]:
        cursor: SourceCursor = tracker.current_restriction()
        leave = time.monotonic() + self._following.hold
        while not cursor.ended:
            turn = self._turn(cursor)
            if not turn.is_empty:
                cursor = turn.cursor
                if not tracker.try_claim(cursor):
                    return
                yield from self._sent(turn)
                tick = cursor.tick(turn.why, keeps=False)
                watermark.set_watermark(MAX_TIMESTAMP if cursor.ended else moment(tick.name, PASSED))
            if turn.portion is not None:
                TALLY.add(turn.portion.records, turn.portion.dead.num_rows)
                BULLETIN.set(**bulletin_of(turn.portion, self._feed, time.time()))
            if not cursor.ended and (turn.is_told or time.monotonic() >= leave):
                tracker.defer_remainder(Duration(seconds=self._following.pause if turn.is_told else 0))
                return

    def _turn(self, cursor: SourceCursor) -> Turn:
        asked = self._wait(cursor, time.monotonic() + self._following.pace)
        portion = None if asked == STOP else self._feed.read(cursor)
        self._read_at = time.monotonic()
        now = time.time()
        due = self._following.keeps(cursor, now)
        if portion is not None:
            cursor, why, keeps = portion.cursor, READ, due
        elif asked == STOP or (asked and self._feed.is_at_end(cursor)):
            cursor, why, keeps = replace(cursor, ended=True), LAST, True
        else:
            why, keeps = IDLE, due and not cursor.is_kept
        if keeps:
            cursor = replace(cursor, kept_at=now, is_kept=True)
        is_told = keeps or (portion is not None and self._following.is_due(cursor))
        if is_told:
            cursor = replace(cursor, told=cursor.progress.watermark, untold=0)
        return Turn(cursor, portion, why, keeps, is_told)

    def _sent(self, turn: Turn) -> Iterator[Any]:
        """What a turn gave, and, if it is worth it, the tick behind it, all at the tick's moment."""
        tick = turn.cursor.tick(turn.why, keeps=turn.keeps)
        if turn.cursor.ended and self._following.drains:
            tick = replace(tick, watermark=END)
        at = moment(tick.name, SENT)
        for output in outputs(turn.portion) if turn.portion is not None else ():
            if isinstance(output, beam.pvalue.TaggedOutput):
                yield beam.pvalue.TaggedOutput(output.tag, TimestampedValue(output.value, at))
            else:
                yield TimestampedValue(output, at)
        if turn.is_told:
            yield beam.pvalue.TaggedOutput("ticks", TimestampedValue(tick_parcel(tick), at))

    def _wait(self, cursor: SourceCursor, until: float) -> str:
        """Waits for something new, at most so long; gives what somebody asked for meanwhile."""
        time.sleep(max(self._read_at + self._following.linger - time.monotonic(), 0.0))
        while True:
            asked = asked_for(self._following.control)
            if asked or self._feed.has(cursor) or time.monotonic() >= until:
                return asked
            time.sleep(_POLL_SECONDS)

    def teardown(self) -> None:
        self._feed.close()


def outputs(portion: Portion) -> Iterator[Any]:
    """What a portion gives to the pipeline: batches as they are, the rest tagged."""
    for tag, batch in portion.outputs():
        yield batch if tag == "batches" else beam.pvalue.TaggedOutput(tag, batch)


@dataclass(eq=False, kw_only=True)
class Follow(beam.PTransform):
    """Reads a source for ever.

    Out: `batches` as the feed makes them, `dead_letters`, `ledger` and `ticks`, all with the source's progress
    as their timestamps (`transforms.time.tick`).
    """

    following: Following
    feed: Feed
    start: SourceCursor

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, pipeline: beam.Pipeline) -> Any:
        start = pipeline | "Start" >> beam.Create([self.start]).with_output_types(SourceCursor)
        return start | "Follow" >> branching(FollowFn(self.following, self.feed), *BOOKS, "ticks")

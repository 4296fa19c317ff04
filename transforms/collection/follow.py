"""Follows a source for ever: a splittable DoFn that emits portions, and ticks that mark its progress."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import apache_beam as beam
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Duration

from transforms.collection.control import STOP, asked_for
from transforms.collection.cursor import SourceCursor
from transforms.collection.feed import Feed, Portion, bulletin_of
from transforms.collection.restriction import CursorProvider
from transforms.process.progress import Bulletin
from transforms.record.branches import BOOKS, Emitted, Outputs, branched, branching
from transforms.specification import Micros, Seconds
from transforms.time.event_time import EARLIEST
from transforms.time.moment import PASSED, SENT, moment
from transforms.time.tick import IDLE, LAST, READ, tick_parcel
from transforms.time.watermark import END
from transforms.time.window import Window

_POLL_SECONDS: Final = 0.005


@dataclass(frozen=True)
class Following:
    """How a source is followed.

    Args:
        control: a file in which `stop` or `finish` asks the job to end.
        drains: whether all windows close when the job ends; it cannot resume afterwards.
        keep_every: seconds between checkpoints.
        pace: seconds to keep a bundle open while there is nothing new; resuming takes milliseconds.
        hold: seconds to keep a bundle open while data keeps arriving, unless a tick is due; Flink keeps state for
            every resume, so fewer are better. 0: each portion is handed over at once.
        pause: seconds that the runner waits after a tick before it resumes the source; otherwise a runner that
            advances the watermark only between bundles would hold it back.
        most_without_tick: the most portions without a tick: their partial results wait unmerged until the next one.
        linger: least seconds between two portions: more portions would only queue up in the runner.
        windows: each aggregation's window, and its wait (µs) for late records; they decide when ticks are due.
    """

    control: str
    drains: bool = False
    keep_every: Seconds = Seconds(10.0)
    pace: Seconds = Seconds(1.0)
    hold: Seconds = Seconds(0.0)
    pause: Seconds = Seconds(0.0)
    most_without_tick: int = 32
    linger: Seconds = Seconds(0.05)
    windows: tuple[tuple[Window, Micros], ...] = ()

    def is_due(self, cursor: SourceCursor) -> bool:
        """Whether a tick has an effect: since the last one, a slice has ended or its wait for late records has."""
        if cursor.since_tick >= self.most_without_tick:
            return True
        before, now = cursor.last_tick, cursor.progress.watermark
        if now <= before or now < EARLIEST:
            return False
        times = [(window, time) for window, wait in self.windows for time in {0, wait}]
        return before < EARLIEST or any(window.may_end(before - wait, now - wait) for window, wait in times)

    def keeps(self, cursor: SourceCursor, now: float) -> bool:
        """Whether a checkpoint is due; a clock that was set back does not delay it."""
        return not 0 <= now - cursor.kept_at < self.keep_every


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a reader: the portion, if any; the cursor after it; the reason for a tick; and whether it is sent."""

    cursor: SourceCursor
    portion: Portion | None
    why: int
    keeps: bool
    has_tick: bool

    @property
    def is_empty(self) -> bool:
        return self.portion is None and not self.keeps


_REST: Final = CursorProvider()


class FollowFn(beam.DoFn):
    """Reads a source from a cursor; emits batches, with the side outputs `dead_letters`, `ledger` and `ticks`."""

    def __init__(self, following: Following, feed: Feed, bulletin: Bulletin):
        self._following = following
        self._feed = feed
        self._bulletin = bulletin

    def setup(self) -> None:
        self._feed.open()
        self._read_at = 0.0

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator]  # Beam has no types for it
    def process(
        self,
        element: SourceCursor,
        tracker: Any = beam.DoFn.RestrictionParam(_REST),
        watermark: Any = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider()),
    ) -> Iterator[Emitted]:
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
                self._bulletin.tally.add(turn.portion.records, turn.portion.dead.num_rows)
                self._bulletin.set(**bulletin_of(turn.portion, self._feed, time.time()))
            if not cursor.ended and (turn.has_tick or time.monotonic() >= leave):
                tracker.defer_remainder(Duration(seconds=self._following.pause if turn.has_tick else 0))
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
        has_tick = keeps or (portion is not None and self._following.is_due(cursor))
        if has_tick:
            cursor = replace(cursor, last_tick=cursor.progress.watermark, since_tick=0)
        return Turn(cursor, portion, why, keeps, has_tick)

    def _sent(self, turn: Turn) -> Iterator[Emitted]:
        """The outputs of a turn and then its tick, if it has one, all with the tick's timestamp."""
        tick = turn.cursor.tick(turn.why, keeps=turn.keeps)
        if turn.cursor.ended and self._following.drains:
            tick = replace(tick, watermark=END)
        at = moment(tick.name, SENT)
        for output in branched(turn.portion.outputs()) if turn.portion is not None else ():
            if isinstance(output, beam.pvalue.TaggedOutput):
                yield beam.pvalue.TaggedOutput(output.tag, TimestampedValue(output.value, at))
            else:
                yield TimestampedValue(output, at)
        if turn.has_tick:
            yield beam.pvalue.TaggedOutput("ticks", TimestampedValue(tick_parcel(tick), at))

    def _wait(self, cursor: SourceCursor, until: float) -> str:
        """Waits until there is something new, a request to end, or the time `until`; returns the request."""
        time.sleep(max(self._read_at + self._following.linger - time.monotonic(), 0.0))
        while True:
            asked = asked_for(self._following.control)
            if asked or self._feed.has(cursor) or time.monotonic() >= until:
                return asked
            time.sleep(_POLL_SECONDS)

    def teardown(self) -> None:
        self._feed.close()


@dataclass(eq=False, kw_only=True)
class Follow(beam.PTransform):
    """Reads a source for ever.

    Out: `batches` from the feed, `dead_letters`, `ledger` and `ticks`, all with the source's progress as their
    timestamps (`transforms.time.tick`).
    """

    following: Following
    feed: Feed
    start: SourceCursor
    bulletin: Bulletin = field(default_factory=Bulletin)

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, pipeline: beam.Pipeline) -> Outputs:
        start = pipeline | "Start" >> beam.Create([self.start]).with_output_types(SourceCursor)
        return start | "Follow" >> branching(FollowFn(self.following, self.feed, self.bulletin), *BOOKS, "ticks")

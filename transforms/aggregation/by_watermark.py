"""Drives a timeline over an unbounded collection of any pipeline: windows close as Beam's watermark passes them.

A job that reads an endless source itself has ticks, which `transforms.aggregation.live` follows. This driver uses
only what every Beam pipeline has: the timestamps of its elements, and event-time timers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders import BytesCoder, FastPrimitivesCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.utils.timestamp import Timestamp

from transforms.aggregation.accumulator import as_numpy
from transforms.aggregation.live import decode_state, encode_state
from transforms.aggregation.summary import ROWS, Summary, key_column
from transforms.aggregation.timeline import Output, Timeline
from transforms.record.branches import Emitted, Tables
from transforms.record.coder import RecordBatchCoder
from transforms.specification import Micros
from transforms.time.event_time import as_timestamps
from transforms.time.watermark import END, NEVER
from transforms.time.window import SLICE

LATE: Final = "late"
RETRACTED: Final = "retracted"
_MOST_WAITING: Final = 64
"""The most partials that wait for a window's end unmerged."""


class SummarizeEachFn(beam.DoFn):
    """Batches to (shard, partial), each at once: a partial keeps its batch's timestamp, and so holds the watermark."""

    def __init__(self, summary: Summary, shards: int):
        self._summary = summary
        self._shards = shards

    def process(self, batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
        # Only the shard knows which slices are late, and a late slice must not join others.
        partial = self._summary.summarize(batch, joins=False)
        yield from self._summary.by_shard(partial, self._shards).items()


class Alarm(NamedTuple):
    """When a shard is due next (µs), the watermark through which its windows have closed, and the count of partials."""

    due: int = END
    through: int = NEVER
    waiting: int = 0


def parted(timeline: Timeline, partial: pa.RecordBatch, through: int) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Splits a partial into its slices in time and its late slices, given the watermark through which windows closed.

    A slice is late once `lateness` has passed since its end, as in a job.
    """
    ends = timeline.summary.window.slice_ends(as_numpy(partial[SLICE]))
    late = ends + timeline.lateness <= through
    if not late.any():
        return partial, partial.slice(0, 0)
    return partial.filter(pa.array(~late)), partial.filter(pa.array(late))


def late_rows(summary: Summary, partial: pa.RecordBatch) -> pa.RecordBatch:
    """How many rows of each slice and key came late: slice_start, slice_end, the key, rows."""
    starts = as_numpy(partial[SLICE])
    columns = {"slice_start": as_timestamps(starts), "slice_end": as_timestamps(summary.window.slice_ends(starts))}
    columns |= {name: partial[key_column(name)] for name in summary.key} | {ROWS: partial[ROWS]}
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def next_due(timeline: Timeline, partial: pa.RecordBatch, through: int) -> int:
    """The watermark at which new slices have an effect: at once if one of their windows has ended."""
    ends = timeline.summary.window.bounds(timeline.summary.slices_of(partial)).ends
    if len(ends) and ends.min() <= through:
        return through
    due = timeline.next_news(partial, through)
    return END if due is None else due


class CloseFn(beam.DoFn):
    """(shard, partial) to rows, tagged with the number of their table; late rows are counted in `late`.

    What early rows retract is tagged `retracted`.
    """

    WAITING = BagStateSpec("waiting", RecordBatchCoder())
    STATE = ReadModifyWriteStateSpec("state", BytesCoder())
    ALARM = ReadModifyWriteStateSpec("alarm", FastPrimitivesCoder())
    CLOSE = TimerSpec("close", TimeDomain.WATERMARK)

    def __init__(self, timeline: Timeline):
        self._timeline = timeline

    def process(
        self,
        element: tuple[int, pa.RecordBatch],
        waiting: Any = beam.DoFn.StateParam(WAITING),
        alarm: Any = beam.DoFn.StateParam(ALARM),
        close: Any = beam.DoFn.TimerParam(CLOSE),
    ) -> Iterator[Emitted]:
        now = Alarm(*(alarm.read() or ()))
        partial, late = parted(self._timeline, element[1], now.through)
        if late.num_rows:
            yield beam.pvalue.TaggedOutput(LATE, late_rows(self._timeline.summary, late))
        if not partial.num_rows:
            return
        count = now.waiting + 1
        if count > _MOST_WAITING:
            partial, count = self._timeline.summary.merge([*waiting.read(), partial]), 1
            waiting.clear()
        waiting.add(partial)
        due = min(now.due, next_due(self._timeline, partial, now.through))
        alarm.write(tuple(Alarm(due, now.through, count)))
        close.set(moment(due))

    @on_timer(CLOSE)  # type: ignore[untyped-decorator]  # Beam has no types for it
    def close(
        self,
        fired: Any = beam.DoFn.TimestampParam,
        waiting: Any = beam.DoFn.StateParam(WAITING),
        stored: Any = beam.DoFn.StateParam(STATE),
        alarm: Any = beam.DoFn.StateParam(ALARM),
        close: Any = beam.DoFn.TimerParam(CLOSE),
    ) -> Iterator[Emitted]:
        now = Alarm(*(alarm.read() or ()))
        if fired.micros < now.due:  # a timer that has been set again since
            if now.due < END:
                close.set(moment(now.due))
            return
        encoded = stored.read()
        state = decode_state(encoded) if encoded else self._timeline.start()
        through = max(now.through, fired.micros)
        state, tables, retractions = self._timeline.advance(state, list(waiting.read()), through)
        waiting.clear()
        stored.write(encode_state(state))
        due = self._timeline.next_end(state.open, through)
        alarm.write(tuple(Alarm(END if due is None else due, through)))
        if due is not None:
            close.set(moment(due))
        for index, (table, rows) in enumerate(tables.items()):
            if table in retractions and retractions[table].num_rows:
                yield beam.pvalue.TaggedOutput(RETRACTED, retractions[table])
            if rows.num_rows:
                yield beam.pvalue.TaggedOutput(str(index), rows)


def moment(instant: int) -> Timestamp:
    """An instant as a timer's time; runners keep milliseconds, so it is rounded up."""
    return Timestamp(micros=-(-instant // 1000) * 1000)


@dataclass(eq=False, kw_only=True)
class AggregateByWatermark(beam.PTransform):
    """Closes the windows of an endless collection of batches as Beam's watermark passes their ends.

    In: batches as for `AggregateBounded`, each with a timestamp that is not after its earliest event time. Out: a
    dictionary from each output's table to its rows, under LATE how many rows came too late, by slice and key, and, if
    windows grow, under RETRACTED the windows that took the place of provisional rows.

    Args:
        lateness: how long windows wait for late records (µs).
        shards: how many ways the keys are cut.
    """

    summary: Summary
    outputs: Sequence[Output]
    lateness: Micros = Micros(0)
    shards: int = 2

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> Tables:
        keyed = tuple[int, pa.RecordBatch]
        tags = [*(str(index) for index in range(len(self.outputs))), LATE, RETRACTED]
        summarize = beam.ParDo(SummarizeEachFn(self.summary, self.shards)).with_output_types(keyed)
        close = beam.ParDo(CloseFn(Timeline(self.summary, self.outputs, self.lateness)))
        typed = close.with_output_types(pa.RecordBatch, **dict.fromkeys(tags, pa.RecordBatch))
        closed = batches | "Summarize" >> summarize | "Close" >> typed.with_outputs(*tags)
        tables = {output.table: closed[tag] for output, tag in zip(self.outputs, tags, strict=False)}
        tables |= {LATE: closed[LATE]}
        return tables | ({RETRACTED: closed[RETRACTED]} if self.summary.window.grows else {})

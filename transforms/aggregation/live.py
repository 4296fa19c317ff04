"""The live driver of a timeline: partials and ticks of a shard in, closed windows out, for ever.

A shard's partials wait in a bag. When everything before a tick has arrived, its timer fires: if a window is due
at the tick's watermark, the partials before the tick join the timeline and it advances; if the tick keeps a
checkpoint, the state made of exactly the records before it goes out as a snapshot. Most ticks have nothing to do,
and then cost only the read of one small cell.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders import BytesCoder, FastPrimitivesCoder, TupleCoder, VarIntCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec, TimerSpec, on_timer

from transforms.aggregation.lateness import timely
from transforms.aggregation.summary import Summary
from transforms.aggregation.timeline import Advance, Output, Timeline, TimelineState
from transforms.record.batch import empty, one_batch
from transforms.record.coder import RecordBatchCoder
from transforms.specification import Micros
from transforms.time.moment import CLOSING, moment, tick_after
from transforms.time.tick import (
    PARTIAL,
    RETRACTED,
    ROWS,
    SNAPSHOT,
    TICK,
    Tick,
    content_of,
    label_of,
    parcel,
    tick_of,
)
from transforms.time.watermark import END, NEVER

_MOST_WAITING: Final = 64
"""The most partials that wait; more are merged even if no window is due."""


def encode_state(state: TimelineState) -> bytes:
    """A timeline's state as bytes; `decode_state` gives an equal one."""
    parts = [state.open, state.shown, *state.memories]
    encoded = [b"" if part is None else RecordBatchCoder().encode(part) for part in parts]
    header = json.dumps({"closed_through": state.closed_through, "sizes": [len(part) for part in encoded]}).encode()
    return len(header).to_bytes(4, "big") + header + b"".join(encoded)


def decode_state(encoded: bytes) -> TimelineState:
    """What `encode_state` wrote."""
    start = 4 + int.from_bytes(encoded[:4], "big")
    header = json.loads(encoded[4:start])
    parts: list[pa.RecordBatch | None] = []
    for size in header["sizes"]:
        parts.append(RecordBatchCoder().decode(encoded[start : start + size]) if size else None)
        start += size
    if parts[0] is None:
        raise AssertionError("a state without slices has an empty batch of them")
    return TimelineState(parts[0], tuple(parts[2:]), header["closed_through"], parts[1])


class Clock(NamedTuple):
    """What a tick needs to know: the next watermark at which a window is due, and how many partials wait."""

    due: int = END
    waiting: int = 0
    through: int = NEVER

    def with_partial(self, timeline: Timeline, partial: pa.RecordBatch) -> "Clock":
        due = timeline.next_news(partial, self.through)
        return Clock(self.due if due is None else min(self.due, due), self.waiting + 1, self.through)

    def with_seed(self, timeline: Timeline, seed: "Shard") -> "Clock":
        """The clock of a shard that begins with a seed; partials may have arrived before it, and still count."""
        due = timeline.next_end(seed.state.open, seed.through)
        if timeline.retracts and self.waiting:
            due = seed.through + 1
        return Clock(self.due if due is None else min(self.due, due), self.waiting, seed.through)

    def is_idle(self, tick: Tick) -> bool:
        """Whether this tick has nothing to do."""
        return tick.watermark < self.due and not tick.keeps and self.waiting < _MOST_WAITING


def settle(
    timeline: Timeline, state: TimelineState, partials: Sequence[pa.RecordBatch], tick: Tick, through: int
) -> tuple[Advance, Clock]:
    """The state with everything before a tick, the rows that are due, and the clock for the next rows.

    Args:
        partials: made of the chunks before the tick, and not yet in the state.
        through: the watermark up to which the state has advanced.
    """
    if tick.watermark == END:
        return timeline.advance(state, partials, None), Clock(through=END)
    grows = timeline.retracts and partials and NEVER < tick.watermark == through
    if tick.watermark > through or grows:
        through = tick.watermark
        advance = timeline.advance(state, partials, through)
    else:
        advance = Advance(replace(state, open=timeline.summary.merge([state.open, *partials])), {}, {})
    due = timeline.next_end(advance.state.open, through)
    return advance, Clock(END if due is None else due, 0, through)


@dataclass(frozen=True)
class Shard:
    """The state of one shard as it is stored, and the watermark up to which it has advanced."""

    state: TimelineState
    through: int

    def to_parcel(self, aggregation: int, shard: int) -> pa.RecordBatch:
        batch = pa.record_batch([pa.array([encode_state(self.state)], pa.binary())], ["state"])
        return parcel(batch, SNAPSHOT, aggregation=aggregation, shard=shard, through=self.through)

    def fitted(self, summary: Summary, columns: Mapping[str, pa.DataType]) -> "Shard":
        """The shard as a shard of the same aggregation with more measures."""
        return replace(self, state=replace(self.state, open=summary.fitted(self.state.open, columns)))

    @staticmethod
    def from_parcel(batch: pa.RecordBatch) -> "Shard":
        return Shard(decode_state(batch["state"][0].as_py()), label_of(batch)["through"])


class SummarizeLiveFn(beam.DoFn):
    """Batches to (shard, partial), each at once: no partial spans a tick."""

    def __init__(self, summary: Summary, number: int, shards: int):
        self._summary = summary
        self._number = number
        self._shards = shards

    def process(self, batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
        partial = self._summary.summarize(timely(batch, self._number))
        for shard, part in self._summary.by_shard(partial, self._shards).items():
            yield shard, parcel(part, PARTIAL)


class ToShardsFn(beam.DoFn):
    """A tick to every shard, empty ones included."""

    def __init__(self, shards: int):
        self._shards = shards

    def process(self, tick: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
        for shard in range(self._shards):
            yield shard, tick


class TimelineFn(beam.DoFn):
    """(shard, parcel) to parcels: what rows retract, rows of tables, and snapshots at ticks that keep."""

    WAITING = BagStateSpec("waiting", TupleCoder((VarIntCoder(), RecordBatchCoder())))
    STATE = ReadModifyWriteStateSpec("state", BytesCoder())
    CLOCK = ReadModifyWriteStateSpec("clock", FastPrimitivesCoder())
    CLOSE = TimerSpec("close", TimeDomain.WATERMARK)

    def __init__(self, timeline: Timeline, number: int):
        self._timeline = timeline
        self._number = number

    def process(
        self,
        element: tuple[int, pa.RecordBatch],
        timestamp: Any = beam.DoFn.TimestampParam,
        waiting: Any = beam.DoFn.StateParam(WAITING),
        stored: Any = beam.DoFn.StateParam(STATE),
        clock: Any = beam.DoFn.StateParam(CLOCK),
        close: Any = beam.DoFn.TimerParam(CLOSE),
    ) -> None:
        batch = element[1]
        kind = label_of(batch)["kind"]
        if kind == TICK:
            tick = tick_of(batch)
            close.set(moment(tick.name, CLOSING), dynamic_timer_tag=replace(tick, source={}).to_json())
        elif kind == SNAPSHOT:
            seed = Shard.from_parcel(batch)
            stored.write(encode_state(seed.state))
            clock.write(tuple(Clock(*(clock.read() or ())).with_seed(self._timeline, seed)))
        else:
            partial = content_of(batch)
            waiting.add((tick_after(timestamp), partial))
            clock.write(tuple(Clock(*(clock.read() or ())).with_partial(self._timeline, partial)))

    @on_timer(CLOSE)  # type: ignore[untyped-decorator]  # Beam has no types for it
    def close(
        self,
        shard: int = beam.DoFn.KeyParam,
        tag: Any = beam.DoFn.DynamicTimerTagParam,
        waiting: Any = beam.DoFn.StateParam(WAITING),
        stored: Any = beam.DoFn.StateParam(STATE),
        clock: Any = beam.DoFn.StateParam(CLOCK),
    ) -> Iterator[pa.RecordBatch]:
        tick, time = Tick.from_json(tag), Clock(*(clock.read() or ()))
        if time.is_idle(tick):
            return
        encoded = stored.read()
        state = decode_state(encoded) if encoded else self._timeline.start()
        partials: list[tuple[int, pa.RecordBatch]] = []
        later: list[tuple[int, pa.RecordBatch]] = []
        for number, partial in waiting.read():
            (partials if number <= tick.name else later).append((number, partial))
        advance, time = settle(self._timeline, state, [partial for _, partial in partials], tick, time.through)
        waiting.clear()
        for number, partial in later:
            waiting.add((number, partial))
            time = time.with_partial(self._timeline, partial)
        stored.write(encode_state(advance.state))
        clock.write(tuple(time))
        for kind, tables in ((RETRACTED, advance.retractions), (ROWS, advance.rows)):
            for table, batch in tables.items():
                if batch.num_rows:
                    yield parcel(batch, kind, table=table)
        if tick.keeps:
            yield Shard(advance.state, time.through).to_parcel(self._number, shard)


class LiveInputs(NamedTuple):
    """Batches with timestamps as `transforms.time.tick` says, and ticks."""

    batches: beam.PCollection[pa.RecordBatch]
    ticks: beam.PCollection[pa.RecordBatch]


@dataclass(eq=False, kw_only=True)
class AggregateLive(beam.PTransform):
    """Closes the windows of an endless collection of batches as ticks pass their ends.

    In: LiveInputs. Out: parcels of retractions, of rows and
    of snapshots.

    Args:
        number: the aggregation's number in the job.
        lateness: how long windows wait for late records (µs).
        shards: how many ways the keys are cut.
        seeds: each shard with the snapshot that it begins with, from a checkpoint.
    """

    summary: Summary
    outputs: Sequence[Output]
    number: int
    lateness: Micros
    shards: int
    seeds: Sequence[tuple[int, pa.RecordBatch]] = ()

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, inputs: LiveInputs) -> beam.PCollection[pa.RecordBatch]:
        keyed = tuple[int, pa.RecordBatch]
        summarize = beam.ParDo(SummarizeLiveFn(self.summary, self.number, self.shards)).with_output_types(keyed)
        partials = inputs.batches | "Summarize" >> summarize
        ticks = inputs.ticks | "To shards" >> beam.ParDo(ToShardsFn(self.shards)).with_output_types(keyed)
        # Beam adds a reshuffle for more than one element; the labels of the graph would then change on a restart.
        create = beam.Create(list(self.seeds), reshuffle=False).with_output_types(keyed)
        seeds = inputs.ticks.pipeline | "Seeds" >> create
        timeline = beam.ParDo(TimelineFn(Timeline(self.summary, self.outputs, self.lateness), self.number))
        return (
            (seeds, partials, ticks)
            | "Shards" >> beam.Flatten()
            | "Close" >> timeline.with_output_types(pa.RecordBatch)
        )


def split_seeds(timeline: Timeline, shards: Sequence[Shard], count: int) -> list[Shard]:
    """The state of these shards, divided over `count` shards."""
    summary = timeline.summary

    def cut(parts: Sequence[pa.RecordBatch | None]) -> list[pa.RecordBatch | None]:
        present = [part for part in parts if part is not None]
        if not present:
            return [None] * count
        by_shard = summary.by_shard(one_batch(present), count)
        return [by_shard.get(shard, empty(present[0].schema)) for shard in range(count)]

    opened = cut([shard.state.open for shard in shards])
    shown = cut([shard.state.shown for shard in shards])
    memories = [cut([shard.state.memories[i] for shard in shards]) for i in range(len(timeline.outputs))]
    first = shards[0]
    return [
        Shard(
            TimelineState(
                opened[n] or timeline.start().open,
                tuple(memory[n] for memory in memories),
                first.state.closed_through,
                shown[n],
            ),
            first.through,
        )
        for n in range(count)
    ]

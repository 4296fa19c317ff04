"""The timeline: from slices to windows, in event-time order, for one aggregation.

Everything that spans slices lives here, free of Beam: `advance(state, partials, through)` takes what became
known, and closes every window that ends by `through`. A bounded pipeline calls it once and for all; a live one
each time the watermark passes slices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from transforms.aggregation.accumulator import as_numpy
from transforms.aggregation.measure import ColumnMeasure
from transforms.aggregation.spec import AggregationSpec
from transforms.aggregation.summary import ROWS, SLICE, Summary, key_column
from transforms.batch import empty, set_column
from transforms.event_time import Instants, as_timestamps


@dataclass(frozen=True, slots=True)
class Windows:
    """Closed windows: a partial whose slice is each window's last one, and the windows' bounds.

    `slices` are the slices that ended since the last time, each once, however many windows hold it.
    """

    partial: pa.RecordBatch
    starts: Instants
    ends: Instants
    slices: pa.RecordBatch


class Output(Protocol):
    """One table that an aggregation publishes."""

    @property
    def table(self) -> str:
        """The table's name."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """The table's columns."""
        ...

    def rows(self, windows: Windows, memory: pa.RecordBatch | None) -> tuple[pa.RecordBatch, pa.RecordBatch | None]:
        """The rows of closed windows, given and returning what it remembers of all windows before."""
        ...


@dataclass(frozen=True, slots=True)
class TimelineState:
    """What must survive between two advances: slices that later windows still need, and the outputs' memories."""

    open: pa.RecordBatch
    memories: tuple[pa.RecordBatch | None, ...]
    closed_through: int | None = None


@dataclass(frozen=True)
class Timeline:
    """Windows over the slices of one aggregation."""

    summary: Summary
    outputs: Sequence[Output]

    def start(self) -> TimelineState:
        return TimelineState(empty(self.summary.schema), (None,) * len(self.outputs))

    def advance(
        self, state: TimelineState, partials: Sequence[pa.RecordBatch], through: int | None
    ) -> tuple[TimelineState, dict[str, pa.RecordBatch]]:
        """Closes the windows that end by `through` (µs; None: all of them, for ever).

        Returns:
            The new state, and the rows of each output's table.
        """
        known = self.summary.merge([state.open, *partials])
        windows = self._closing(known, state.closed_through, through)
        rows: dict[str, pa.RecordBatch] = {}
        memories = []
        for output, memory in zip(self.outputs, state.memories, strict=True):
            rows[output.table], memory = output.rows(windows, memory)
            memories.append(memory)
        still_open = empty(self.summary.schema)
        if through is not None:
            starts = as_numpy(known[SLICE])
            reach = self.summary.window.slice_ends(starts) + _reach(self.summary)
            still_open = known.filter(pa.array(reach > through))
        return TimelineState(still_open, tuple(memories), through), rows

    def _closing(self, known: pa.RecordBatch, after: int | None, through: int | None) -> Windows:
        windowed, ends = self._due(slide(self.summary, known), after, through)
        slices, _ = self._due(known, after, through)
        starts = self.summary.window.starts_of_windows_ending(ends, as_numpy(windowed[SLICE]))
        return Windows(windowed, starts, ends, slices)

    def _due(self, partial: pa.RecordBatch, after: int | None, through: int | None) -> tuple[pa.RecordBatch, Instants]:
        """The rows whose slice ends in (after, through], and those ends."""
        ends = self.summary.window.slice_ends(as_numpy(partial[SLICE]))
        due = np.ones(len(ends), bool)
        if after is not None:
            due &= ends > after
        if through is not None:
            due &= ends <= through
        return partial.filter(pa.array(due)), ends[due]


def slide(summary: Summary, partial: pa.RecordBatch) -> pa.RecordBatch:
    """Sliding windows out of slices: each row's slice becomes the last one of a window.

    A window of L slices is put together from stretches of 1, 2, 4 … slices, each merged from two of half its
    length, so L slices cost about log2(L) + (ones in L) merges, all keys and windows at once, whatever the overlap.
    """
    length, step = summary.window.overlap, summary.window.step
    if length == 1 or step is None or not partial.num_rows:
        return partial
    stretch, width, joined, covered = partial, 1, empty(summary.schema), 0
    while True:
        if length & width:
            joined = summary.merge([joined, _shift(stretch, covered * step)])
            covered += width
        if covered == length:
            return joined
        stretch = summary.merge([stretch, _shift(stretch, width * step)])
        width *= 2


def _shift(partial: pa.RecordBatch, by: int) -> pa.RecordBatch:
    return set_column(partial, SLICE, pa.array(as_numpy(partial[SLICE]) + by)) if by else partial


def _reach(summary: Summary) -> int:
    return (summary.window.overlap - 1) * (summary.window.step or 0)


@dataclass(frozen=True)
class StatisticsOutput:
    """The table AGGREGATION: window_start, window_end, the key, rows, COLUMN_STATISTIC …, revision, final."""

    spec: AggregationSpec
    summary: Summary
    figures: Mapping[str, ColumnMeasure]

    @property
    def table(self) -> str:
        return self.spec.name

    @property
    def schema(self) -> pa.Schema:
        probe, _ = self.rows(no_windows(self.summary), None)
        return probe.schema

    def rows(self, windows: Windows, memory: pa.RecordBatch | None) -> tuple[pa.RecordBatch, pa.RecordBatch | None]:
        columns = bounds(windows, self.summary) | {ROWS: windows.partial[ROWS]}
        for name, measure in self.figures.items():
            state = self.summary.state(windows.partial, measure)
            columns[name] = measure.accumulator.finish(state, self.spec.figures[name][1])
        return in_order(columns | published(windows), self.spec.key), None


def no_windows(summary: Summary) -> Windows:
    """No window at all: what the schema of an output is read from."""
    nothing = empty(summary.schema)
    return Windows(nothing, np.empty(0, np.int64), np.empty(0, np.int64), nothing)


def bounds(windows: Windows, summary: Summary) -> dict[str, pa.Array]:
    """The key of every table of an aggregation."""
    keys = {name: windows.partial[key_column(name)] for name in summary.key}
    return {"window_start": as_timestamps(windows.starts), "window_end": as_timestamps(windows.ends), **keys}


def published(windows: Windows) -> dict[str, pa.Array]:
    """The columns that say how settled a row is."""
    size = len(windows.starts)
    return {"revision": pa.array(np.zeros(size, np.int64)), "final": pa.array(np.ones(size, bool))}


def in_order(columns: dict[str, pa.Array], key: Sequence[str], last: Sequence[str] = ()) -> pa.RecordBatch:
    """The columns as a batch sorted by window, key and `last`; same rows, same bytes."""
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return batch.sort_by([(name, "ascending") for name in ("window_start", "window_end", *key, *last)])

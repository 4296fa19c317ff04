"""The timeline: from slices to windows, in event-time order, for one aggregation.

Everything that spans slices lives here, free of Beam: `advance(state, partials, through)` takes new
partials and closes every window that ends by `through`. A bounded pipeline calls it once; a live pipeline calls it
each time the watermark passes slices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.aggregation.accumulator import as_numpy
from transforms.aggregation.measure import ColumnMeasure
from transforms.aggregation.retraction import has_grown, place_of
from transforms.aggregation.spec import AggregationSpec
from transforms.aggregation.summary import ROWS, Summary, key_column
from transforms.record.batch import empty, one_batch
from transforms.specification import Micros
from transforms.time.event_time import Instants, as_timestamps
from transforms.time.window import Spans

PUBLISHED: Final = "published"


@dataclass(frozen=True, slots=True)
class Windows:
    """Closed windows: a partial whose slice is each window's last one, and the windows' bounds.

    `slices` are the slices that ended since the last advance, each once, however many windows hold it. `revisions`
    says how often each window was published before; None: never. Windows that may still change are not `final`.
    """

    partial: pa.RecordBatch
    starts: Instants
    ends: Instants
    slices: pa.RecordBatch
    revisions: Instants | None = None
    final: bool = True


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

    @property
    def shows_early(self) -> bool:
        """Whether rows of windows that may still change are published too."""
        ...

    def rows(self, windows: Windows, memory: pa.RecordBatch | None) -> tuple[pa.RecordBatch, pa.RecordBatch | None]:
        """The rows of closed windows, and the new memory; `memory` is what the output remembers of windows before."""
        ...


@dataclass(frozen=True, slots=True)
class TimelineState:
    """What must survive between two advances.

    `open`: slices that later windows still need; `memories`: one for each output; `shown`: the windows that were
    published and may still change, with how many rows they had and how often they were published.
    """

    open: pa.RecordBatch
    memories: tuple[pa.RecordBatch | None, ...]
    closed_through: int | None = None
    shown: pa.RecordBatch | None = None


class Advance(NamedTuple):
    """What an advance gives: the new state, the rows of each output's table, and what they retract.

    `retractions` holds windows by the key of their rows, for tables that are published early
    (`transforms.aggregation.retraction`). They count before the rows do.
    """

    state: TimelineState
    rows: dict[str, pa.RecordBatch]
    retractions: dict[str, pa.RecordBatch]


@dataclass(frozen=True)
class Timeline:
    """Windows over the slices of one aggregation.

    Args:
        lateness: how long after its end (µs) a window waits for late records before it closes.
    """

    summary: Summary
    outputs: Sequence[Output]
    lateness: Micros = Micros(0)

    def start(self) -> TimelineState:
        return TimelineState(empty(self.summary.schema), (None,) * len(self.outputs))

    @property
    def retracts(self) -> bool:
        """Whether a window that was published may be replaced by one with other bounds."""
        return self.summary.window.grows and self.lateness > 0

    def advance(self, state: TimelineState, partials: Sequence[pa.RecordBatch], through: int | None) -> Advance:
        """Closes the windows whose lateness is over by `through` (µs; None: all of them, for ever).

        Windows that ended by then and may still change are published provisionally, if they have changed.
        """
        known = self.summary.merge([state.open, *partials])
        horizon = None if through is None else through - self.lateness
        windowed = self.summary.window.windows(known, self.summary.merge)
        closing = self._closing(windowed, known, state, horizon)
        retractions = self._retractions(windowed, state, horizon)
        rows: dict[str, pa.RecordBatch] = {}
        memories = []
        for output, memory in zip(self.outputs, state.memories, strict=True):
            rows[output.table], memory = output.rows(closing, memory)
            memories.append(memory)
        if through is None or horizon is None:
            return Advance(TimelineState(empty(self.summary.schema), tuple(memories), None), rows, retractions)
        shown = state.shown
        if self.lateness:
            early, shown = self._early(windowed, state, horizon, through)
            for output in (output for output in self.outputs if output.shows_early):
                rows[output.table] = one_batch([output.rows(early, None)[0], rows[output.table]])
        needed = self.summary.window.last_ends(self.summary.slices_of(known)) > horizon
        kept = known.filter(pa.array(needed))
        return Advance(TimelineState(kept, tuple(memories), horizon, shown), rows, retractions)

    def next_end(self, partial: pa.RecordBatch, after: int) -> int | None:
        """The earliest `through` beyond `after` at which a window of these slices has a row to emit; None: none has."""
        slices = self.summary.slices_of(partial)
        ends = ((self.summary.window.next_end(slices, after - wait), wait) for wait in {0, self.lateness})
        return min((end + wait for end, wait in ends if end is not None), default=None)

    def next_news(self, partial: pa.RecordBatch, after: int) -> int | None:
        """The earliest `through` beyond `after` at which new slices have an effect: a row, or perhaps a retraction."""
        if self.retracts and (self.summary.slices_of(partial).starts < after).any():
            return after + 1  # windows that were shown have ended by `after`, and may grow now
        return self.next_end(partial, after)

    def last_end(self, partial: pa.RecordBatch) -> int | None:
        """The end of the last window that any of these slices is in; None: there are none."""
        ends = self.summary.window.last_ends(self.summary.slices_of(partial))
        return int(ends.max()) if len(ends) else None

    def _closing(
        self, windowed: pa.RecordBatch, known: pa.RecordBatch, state: TimelineState, by: int | None
    ) -> Windows:
        due = self._due(windowed, state.closed_through, by)
        return self._windows(due, self._due(known, state.closed_through, by), state.shown, final=True)

    def _retractions(
        self, windowed: pa.RecordBatch, state: TimelineState, horizon: int | None
    ) -> dict[str, pa.RecordBatch]:
        """The windows that close, and those that have taken the place of windows that were shown."""
        if not self.retracts:
            return {}
        retracts = self._is_due(windowed, state.closed_through, horizon)
        if state.shown is not None:
            retracts |= has_grown(self.summary, windowed, state.shown)
        windows = self._windows(windowed.filter(pa.array(retracts)), empty(self.summary.schema), None, final=False)
        named = bounds(windows, self.summary)
        key = pa.RecordBatch.from_arrays(list(named.values()), names=list(named))
        return {output.table: key for output in self.outputs if output.shows_early}

    def _early(
        self, windowed: pa.RecordBatch, state: TimelineState, horizon: int, through: int
    ) -> tuple[Windows, pa.RecordBatch]:
        """The windows in their lateness that have changed since they were published, and all that are published now."""
        waiting = self._due(windowed, horizon, through)
        before = published_before(self.summary, waiting, state.shown)
        changed = as_numpy(waiting[ROWS]) != before.rows
        columns = [waiting[name] for name in self.summary.identity]
        counted = [waiting[ROWS], pa.array(before.revisions + changed)]
        shown = pa.RecordBatch.from_arrays([*columns, *counted], names=[*self.summary.identity, ROWS, PUBLISHED])
        new = waiting.filter(pa.array(changed))
        return self._windows(new, empty(self.summary.schema), state.shown, final=False), shown

    def _windows(
        self,
        partial: pa.RecordBatch,
        slices: pa.RecordBatch,
        shown: pa.RecordBatch | None,
        *,
        final: bool,
    ) -> Windows:
        revisions = published_before(self.summary, partial, shown).revisions if self.lateness else None
        return Windows(partial, *self._bounds(partial), slices, revisions, final)

    def _bounds(self, partial: pa.RecordBatch) -> Spans:
        """The windows whose last slices the rows hold."""
        return self.summary.window.bounds(self.summary.slices_of(partial))

    def _due(self, partial: pa.RecordBatch, after: int | None, by: int | None) -> pa.RecordBatch:
        """The rows with the last slice of a window that ends in (after, by]."""
        return partial.filter(pa.array(self._is_due(partial, after, by)))

    def _is_due(self, partial: pa.RecordBatch, after: int | None, by: int | None) -> npt.NDArray[np.bool_]:
        ends = self._bounds(partial).ends
        due = np.ones(len(ends), bool)
        if after is not None:
            due &= ends > after
        if by is not None:
            due &= ends <= by
        return due


@dataclass(frozen=True, slots=True)
class Published:
    """Of each window: how many rows it had when it was last published, -1 if never; and how often it was published."""

    rows: Instants
    revisions: Instants


def published_before(summary: Summary, windows: pa.RecordBatch, shown: pa.RecordBatch | None) -> Published:
    """What was published of these windows."""
    rows, revisions = np.full(windows.num_rows, -1), np.zeros(windows.num_rows, np.int64)
    if shown is None or not shown.num_rows or not windows.num_rows:
        return Published(rows, revisions)
    found = place_of(windows, shown, summary.identity)
    known = found >= 0
    rows[known] = as_numpy(shown[ROWS])[found[known]]
    revisions[known] = as_numpy(shown[PUBLISHED])[found[known]]
    return Published(rows, revisions)


@dataclass(frozen=True)
class StatisticsOutput:
    """The table AGGREGATION: window_start, window_end, the key, rows, COLUMN_STATISTIC …, revision, final.

    Args:
        since: the figures that joined a running job, and the end (µs) of the last window without them.
    """

    spec: AggregationSpec
    summary: Summary
    figures: Mapping[str, ColumnMeasure]
    since: Mapping[str, int] = field(default_factory=dict)
    shows_early: ClassVar[bool] = True

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
            figure = measure.accumulator.finish(state, self.spec.figures[name][1])
            if name in self.since:
                whole = self.summary.window.begins_after(Spans(windows.starts, windows.ends), self.since[name])
                figure = pc.if_else(pa.array(whole), figure, pa.scalar(None, figure.type))
            columns[name] = figure
        return in_order(columns | published(windows), self.spec.key), None


def no_windows(summary: Summary) -> Windows:
    """No windows: from these the schema of an output is read."""
    nothing = empty(summary.schema)
    return Windows(nothing, np.empty(0, np.int64), np.empty(0, np.int64), nothing)


def bounds(windows: Windows, summary: Summary) -> dict[str, pa.Array]:
    """The key of every table of an aggregation."""
    keys = {name: windows.partial[key_column(name)] for name in summary.key}
    return {"window_start": as_timestamps(windows.starts), "window_end": as_timestamps(windows.ends), **keys}


def published(windows: Windows) -> dict[str, pa.Array]:
    """The columns `revision` and `final`."""
    size = len(windows.starts)
    revisions = np.zeros(size, np.int64) if windows.revisions is None else windows.revisions
    return {"revision": pa.array(revisions), "final": pa.array(np.full(size, windows.final))}


def in_order(columns: dict[str, pa.Array], key: Sequence[str], last: Sequence[str] = ()) -> pa.RecordBatch:
    """The columns as a batch sorted by window, key and `last`; same rows, same bytes."""
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return batch.sort_by([(name, "ascending") for name in ("window_start", "window_end", *key, *last)])

"""Partials: what an aggregation keeps of the rows it has seen, as one mergeable table.

A partial has one row for each (slice, key) it knows: the slice's start, its end if windows grow, the key columns, how
many rows were seen, and the state of every measure. The slice is a column, not a Beam window, so that what crosses a
shuffle is one table and Beam's work does not grow with the number of windows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.aggregation.accumulator import Arrival, State, as_numpy
from transforms.aggregation.groups import Groups, group
from transforms.aggregation.growth import joined
from transforms.aggregation.measure import Measure, counted_before
from transforms.record.batch import EVENT_TIME, POSITION, empty, one_batch, origin_of, set_column
from transforms.record.hashing import hash_rows
from transforms.time.event_time import Instants, as_instants
from transforms.time.window import SLICE, SLICE_END, Spans, Window

ROWS: Final = "rows"


def key_column(name: str) -> str:
    """The name of a key column in a partial; it cannot collide with the columns that we add."""
    return f"{name}|key"


@dataclass(frozen=True)
class Summary:
    """How rows become partials and partials merge, for one aggregation."""

    key: Mapping[str, pa.DataType]
    window: Window
    measures: Sequence[Measure]

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of a partial."""
        fields = [pa.field(name, pa.int64()) for name in self._bounds]
        fields += [pa.field(key_column(name), kind) for name, kind in self.key.items()]
        fields.append(pa.field(ROWS, pa.int64()))
        for measure in self.measures:
            fields += [field.with_name(f"{measure.name}|{field.name}") for field in measure.schema]
        return pa.schema(fields)

    @property
    def identity(self) -> list[str]:
        """The columns of a partial that say which slice and key a row is of."""
        return [*self._bounds, *map(key_column, self.key)]

    @property
    def _bounds(self) -> list[str]:
        return [SLICE, SLICE_END] if self.window.grows else [SLICE]

    def slices_of(self, partial: pa.RecordBatch) -> Spans:
        """The slice of each row of a partial."""
        starts: Instants = as_numpy(partial[SLICE])
        return Spans(starts, as_numpy(partial[SLICE_END]) if self.window.grows else self.window.slice_ends(starts))

    def summarize(self, batch: pa.RecordBatch, *, joins: bool = True) -> pa.RecordBatch:
        """The partial of one batch.

        The batch has EVENT_TIME and POSITION, the key columns and those the measures read; NaN counts as null.

        Args:
            joins: whether slices that meet become one; otherwise a row is still of records of one instant.
        """
        if not batch.num_rows:
            return empty(self.schema)
        batch = _without_nan(batch, {name for measure in self.measures for name in measure.columns})
        starts = self.window.slices(batch[EVENT_TIME])
        slices = {SLICE: pa.array(starts)}
        if self.window.grows:
            slices[SLICE_END] = pa.array(self.window.slice_ends(starts))
        groups = self._groups(slices, {key_column(name): batch[name] for name in self.key}, joins=joins)
        arrival = Arrival(as_instants(batch[EVENT_TIME]), origin_of(batch).ordinal, as_numpy(batch[POSITION]))
        states = [measure.measure(batch, groups, arrival) for measure in self.measures]
        return self._assemble(groups, groups.counts, states)

    def merge(self, partials: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
        """One partial with the content of all of them; the merge commutes and associates."""
        partials = [partial for partial in partials if partial.num_rows]
        if not partials:
            return empty(self.schema)
        if len(partials) == 1 and not self.window.grows:
            return partials[0]
        table = one_batch(partials)
        slices = {name: table[name] for name in self._bounds}
        groups = self._groups(slices, {name: table[name] for name in map(key_column, self.key)})
        rows = groups.reduce(np.add, as_numpy(table[ROWS])[groups.order])
        return self._assemble(groups, rows, [m.merge(self.state(table, m), groups) for m in self.measures])

    def state(self, partial: pa.RecordBatch, measure: Measure) -> State:
        """The state of one measure in a partial."""
        return {name: partial[f"{measure.name}|{name}"] for name in measure.schema.names}

    def fitted(self, partial: pa.RecordBatch, columns: Mapping[str, pa.DataType]) -> pa.RecordBatch:
        """A partial that was made when this aggregation had fewer measures, with the columns of all measures.

        It merges with others, but the measures that it lacked are meaningless: only the counts stay correct.

        Args:
            columns: the types of the columns that the measures read.
        """
        rows = partial.num_rows
        if not rows:
            return empty(self.schema)
        groups = group({SLICE: pa.array(np.arange(rows))})
        nothing = pa.record_batch({name: pa.nulls(rows, kind) for name, kind in columns.items()})
        arrival = Arrival(np.zeros(rows, np.int64), 0, np.arange(rows))
        fitted = {name: partial[name] for name in partial.schema.names}
        for measure in self.measures:
            names = [f"{measure.name}|{name}" for name in measure.schema.names]
            if not fitted.keys() >= set(names):
                fitted |= zip(names, measure.measure(nothing, groups, arrival).values(), strict=True)
                before = counted_before(measure.name)
                counts = {f"{measure.name}|{name}": f"{before}|{name}" for name in measure.schema.names}
                fitted |= {name: fitted[count] for name, count in counts.items() if count in fitted}
        return pa.RecordBatch.from_arrays([fitted[name] for name in self.schema.names], schema=self.schema)

    def by_shard(self, partial: pa.RecordBatch, shards: int) -> dict[int, pa.RecordBatch]:
        """The partial divided by a stable hash of the key, so that all rows of a key come to one shard."""
        if not partial.num_rows:
            return {}
        hashes = hash_rows([partial[key_column(name)] for name in self.key], partial.num_rows)
        of_row = (hashes % np.uint64(shards)).astype(np.int64)
        return {int(n): partial.take(pa.array(np.flatnonzero(of_row == n))) for n in np.unique(of_row)}

    def _groups(self, slices: Mapping[str, pa.Array], key: Mapping[str, pa.Array], *, joins: bool = True) -> Groups:
        """The rows of one key whose slices are the same, or meet."""
        if joins and self.window.grows:
            return joined(self.window, Spans(as_numpy(slices[SLICE]), as_numpy(slices[SLICE_END])), key)
        return group({**slices, **key})

    def _assemble(self, groups: Groups, rows: Any, states: Sequence[State]) -> pa.RecordBatch:
        columns = [*groups.keys.values(), pa.array(rows, pa.int64())]
        for measure, state in zip(self.measures, states, strict=True):
            columns += [state[name] for name in measure.schema.names]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def _without_nan(batch: pa.RecordBatch, names: Iterable[str]) -> pa.RecordBatch:
    for name in names:
        values = batch[name]
        if pa.types.is_floating(values.type):
            undefined = pc.is_nan(values)
            if pc.any(undefined).as_py():
                batch = set_column(batch, name, pc.if_else(undefined, pa.scalar(None, values.type), values))
    return batch

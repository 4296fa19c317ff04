"""Endpoints: the first and the last value of a column, by event time, then by order of arrival."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.aggregation.accumulator import Arrival, State, as_numpy
from transforms.aggregation.family import Family, Statistic
from transforms.aggregation.groups import Groups
from transforms.record.batch import ARROW

_ENDS: Final = ("first", "last")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """`first` and `last`: the present value with the smallest and the largest (event time, source, position)."""

    kind: pa.DataType

    @property
    def schema(self) -> pa.Schema:
        fields = []
        for end in _ENDS:
            fields += [pa.field(end, self.kind), *(pa.field(f"{end}_{part}", pa.int64()) for part in _ORDER)]
        return pa.schema(fields)

    def measure(self, values: pa.Array, groups: Groups, arrival: Arrival) -> State:
        ordinals = np.full(len(values), arrival.ordinal, np.int64)
        order = (arrival.event_times, ordinals, arrival.positions)
        state: dict[str, pa.Array] = {}
        for end in _ENDS:
            state |= _choose(end, values, order, groups)
        return state

    def merge(self, state: State, groups: Groups) -> State:
        merged: dict[str, pa.Array] = {}
        for end in _ENDS:
            order = tuple(as_numpy(state[f"{end}_{part}"].fill_null(0)) for part in _ORDER)
            merged |= _choose(end, state[end], order, groups)
        return merged

    def finish(self, state: State, statistic: str) -> pa.Array:
        return state[statistic]


_ORDER = ("time", "ordinal", "position")


def _choose(end: str, values: pa.Array, order: tuple[npt.NDArray[np.int64], ...], groups: Groups) -> State:
    """The first (or last) present value of each group, and the order that decided."""
    candidates = np.arange(len(groups.order))
    members = groups.members()
    if values.null_count:
        present = as_numpy(values.is_valid())[groups.order]
        candidates, members = candidates[present], members[present]
    rows = groups.order[candidates]
    best = np.minimum if end == "first" else np.maximum
    for numbers in order:
        # One pass for each part of the order, over the rows that are still tied: mostly the first part decides.
        starts = np.flatnonzero(np.diff(members, prepend=-1))
        if len(starts) == len(rows):
            break
        places = numbers[rows]
        is_best = places == np.repeat(best.reduceat(places, starts), np.diff(starts, append=len(rows)))
        rows, members = rows[is_best], members[is_best]
    edges = np.flatnonzero(np.diff(members, prepend=-1) if end == "first" else np.diff(members, append=-1))
    chosen = np.full(len(groups), -1, np.int64)
    chosen[members[edges]] = rows[edges]
    take = pa.array(chosen, mask=chosen < 0)
    picked = {end: values.take(take)}
    for part, numbers in zip(_ORDER, order, strict=True):
        picked[f"{end}_{part}"] = pa.array(numbers).take(take)
    return picked


FAMILY: Final = Family(
    name="endpoints",
    order=4,
    statistics=(
        Statistic(name="first", meaning="the first value by event time, then by arrival", title="First value"),
        Statistic(name="last", meaning="the last value by event time, then by arrival", title="Last value"),
    ),
    accumulator=lambda kind: Endpoints(ARROW[kind]),
)

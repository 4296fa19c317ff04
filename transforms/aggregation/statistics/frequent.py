"""Frequent values: exact counts of a column's values, up to a cap of different ones.

A group with more than CAP different values answers null instead of a guess. Whether it has more depends on its
values alone, so the order of merges does not matter.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.aggregation.accumulator import Arrival, State, as_numpy
from transforms.aggregation.family import Family, Statistic
from transforms.aggregation.groups import Groups
from transforms.aggregation.lists import add_up, from_lists, group_of_rows, to_lists
from transforms.record.batch import ARROW

CAP: Final = 10_000
"""With more different values in a group, `topN` is null: at 50 bytes each, this is half a megabyte of state."""


@dataclass(frozen=True, slots=True)
class Frequent:
    """`topN`: the N most frequent values as a list of {value, count}, ties in the order of the values."""

    kind: pa.DataType

    @property
    def schema(self) -> pa.Schema:
        return pa.schema(
            [
                pa.field("values", pa.list_(self.kind)),
                pa.field("counts", pa.list_(pa.int64())),
                pa.field("over", pa.bool_()),
            ]
        )

    def measure(self, values: pa.Array, groups: Groups, arrival: Arrival) -> State:
        present = np.flatnonzero(as_numpy(values.is_valid())) if values.null_count else np.arange(len(values))
        members = group_of_rows(groups)[present]
        counts = np.ones(len(present), np.int64)
        if pa.types.is_floating(self.kind):
            values = pc.add(values, 0.0)  # 0.0 and -0.0 are one value
        return self._state(members, values.drop_null(), counts, np.zeros(len(groups), bool))

    def merge(self, state: State, groups: Groups) -> State:
        rows, values = from_lists(state["values"])
        members = group_of_rows(groups)[rows]
        over = groups.reduce(np.logical_or, as_numpy(state["over"])[groups.order])
        return self._state(members, values, as_numpy(state["counts"].flatten()), over)

    def finish(self, state: State, statistic: str) -> pa.Array:
        members, values = from_lists(state["values"])
        counts = as_numpy(state["counts"].flatten())
        size = len(state["values"])
        order = np.lexsort((_ranks(values), -counts, members))
        members = members[order]
        place = np.arange(len(members)) - np.searchsorted(members, members)
        kept = place < int(statistic[3:])
        chosen = pa.array(order[kept])
        entries = pa.StructArray.from_arrays(
            [values.take(chosen), pa.array(counts, pa.int64()).take(chosen)], fields=list(entry_type(self.kind))
        )
        lengths = np.bincount(members[kept], minlength=size)
        offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())
        return pa.ListArray.from_arrays(offsets, entries, mask=state["over"])

    def _state(
        self,
        members: npt.NDArray[np.intp],
        values: pa.Array,
        counts: npt.NDArray[np.int64],
        over: npt.NDArray[np.bool_],
    ) -> State:
        encoded = values.dictionary_encode()
        codes = as_numpy(encoded.indices).astype(np.int64)
        members, codes, counts = add_up(members, codes, counts)
        over = over | (np.bincount(members, minlength=len(over)) > CAP)
        kept = ~over[members]
        members, codes, counts = members[kept], codes[kept], counts[kept]
        return {
            "values": to_lists(members, encoded.dictionary.take(pa.array(codes)), len(over)),
            "counts": to_lists(members, pa.array(counts, pa.int64()), len(over)),
            "over": pa.array(over),
        }


def entry_type(kind: pa.DataType) -> pa.StructType:
    """The type of one entry of a `topN` list."""
    return pa.struct([pa.field("value", kind), pa.field("count", pa.int64())])


def _ranks(values: pa.Array) -> npt.NDArray[np.int64]:
    """The rank of each value among the sorted values; equal values have equal ranks."""
    if not len(values):
        return np.empty(0, np.int64)
    return as_numpy(pc.rank(values, sort_keys="ascending", tiebreaker="dense")).astype(np.int64)


FAMILY: Final = Family(
    name="frequent",
    order=7,
    statistics=(
        Statistic(
            name="topN",
            meaning="the N most frequent values with their counts; null beyond 10,000 different ones",
            title=str.capitalize,
            pattern=r"top[1-9][0-9]{0,3}",
            also=dict.fromkeys(("mode", "top"), "top1"),
            samples=("top1", "top3", "top9999"),
        ),
    ),
    accumulator=lambda kind: Frequent(ARROW[kind]),
)

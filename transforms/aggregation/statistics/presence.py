"""Presence: how many values of a column are present and how many are null, for columns of any type."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from transforms.aggregation.accumulator import Arrival, State, as_numpy
from transforms.aggregation.family import Family, Statistic
from transforms.aggregation.groups import Groups


@dataclass(frozen=True, slots=True)
class Presence:
    """`count` and `missing`."""

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field("count", pa.int64()), pa.field("missing", pa.int64())])

    def measure(self, values: pa.Array, groups: Groups, arrival: Arrival) -> State:
        count = groups.counts
        if values.null_count:
            count = groups.reduce(np.add, as_numpy(values.is_valid())[groups.order].astype(np.int64))
        return {"count": pa.array(count), "missing": pa.array(groups.counts - count)}

    def merge(self, state: State, groups: Groups) -> State:
        return {name: pa.array(groups.reduce(np.add, as_numpy(state[name])[groups.order])) for name in state}

    def finish(self, state: State, statistic: str) -> pa.Array:
        return state[statistic]


FAMILY: Final = Family(
    name="presence",
    order=1,
    statistics=(
        Statistic(
            name="count",
            meaning="how many values are present",
            title="Count",
            also=dict.fromkeys(("n", "size", "number"), "count"),
            is_amount=True,
        ),
        Statistic(
            name="missing",
            meaning="how many values are null",
            title="Missing values",
            also=dict.fromkeys(("nulls", "null_count", "missing_count"), "missing"),
            is_amount=True,
        ),
    ),
    accumulator=lambda kind: Presence(),
)

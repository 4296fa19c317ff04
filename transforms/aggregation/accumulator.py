"""The algebra of a statistic: state that merges, and knows nothing of Beam.

An accumulator turns the rows of a group into a state, merges states, and finishes one into figures. A state
is a set of Arrow columns with one row a group, so the state of a million groups is a handful of arrays.
Laws that tests hold every accumulator to: the state of no values is neutral; merging commutes and
associates; any split of the rows gives the one-pass answer; a state survives encoding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.aggregation.groups import Groups
from transforms.record.batch import filled

State = Mapping[str, pa.Array]


@dataclass(frozen=True, slots=True)
class Arrival:
    """When each row happened and in which order it came: what `first` and `last` are decided by.

    All three are in the order of the batch's rows.
    """

    event_times: npt.NDArray[np.int64]
    ordinal: int
    positions: npt.NDArray[np.int64]


class Accumulator(Protocol):
    """One family of figures of one column, kept per group."""

    @property
    def schema(self) -> pa.Schema:
        """The state's columns."""
        ...

    def measure(self, values: pa.Array, groups: Groups, arrival: Arrival) -> State:
        """The state of each group of `values`, a column in the batch's row order that may hold nulls."""
        ...

    def merge(self, state: State, groups: Groups) -> State:
        """Joins the states of each group; `state` holds one row for every row that `groups` groups."""
        ...

    def finish(self, state: State, statistic: str) -> pa.Array:
        """The figure `statistic` of every group; null where the group has no value for it."""
        ...


def as_numpy(values: pa.Array) -> npt.NDArray[Any]:
    """An Arrow array without nulls as numpy, without a copy where the layout allows it."""
    return values.to_numpy(zero_copy_only=False)


def numbers(values: pa.Array, groups: Groups) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_] | None]:
    """A numeric column sorted by group as float64, 0 where null, and which entries are present (None: all)."""
    present = None
    if values.null_count:
        present = as_numpy(values.is_valid())[groups.order]
    plain = filled(values).astype(np.float64, copy=False)[groups.order]
    return plain, present


def nullable(values: npt.NDArray[Any], absent: npt.NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
    """A numpy array as Arrow, null where `absent`."""
    return pa.array(values, mask=absent).cast(kind)

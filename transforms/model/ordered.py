"""Learning in order: a model that must see the records of a window one by one.

Its state is those records themselves, in the order of event time, then source, then position. It merges like any
state: however the input was cut and whatever arrived first, the model learns the records of a window in the same
order when the window closes. The price is space: memory and checkpoints hold the columns of every record of every
open window.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.aggregation.accumulator import Arrival, State, as_numpy
from transforms.aggregation.groups import Groups
from transforms.aggregation.lists import from_lists, group_of_rows, to_lists
from transforms.model.learner import Memory

_ORDER: Final = ("time", "ordinal", "position")


@dataclass(frozen=True, slots=True)
class InOrder:
    """Learns each window from its records in order; records in which a column is null are left out.

    Args:
        inputs: the columns to read, and their types.
        figures: the types of the figures that `learn` gives.
        learn: takes the records of a key and window in order (there may be none), and returns the figures; None is
            null. It is a function of a module or a method of a value, since it is sent to other processes.
    """

    inputs: Mapping[str, pa.DataType]
    figures: Mapping[str, pa.DataType]
    learn: Callable[[pa.RecordBatch], Mapping[str, Any]]
    name: ClassVar[str] = "ordered"
    memory: ClassVar[Memory | None] = None

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.inputs)

    @property
    def schema(self) -> pa.Schema:
        order = [pa.field(part, pa.list_(pa.int64())) for part in _ORDER]
        return pa.schema([*order, *(pa.field(_value(name), pa.list_(kind)) for name, kind in self.inputs.items())])

    def measure(self, batch: pa.RecordBatch, groups: Groups, arrival: Arrival) -> State:
        present = np.ones(batch.num_rows, bool)
        for name in self.columns:
            present &= as_numpy(batch[name].is_valid())
        rows = np.flatnonzero(present)
        ordinals = np.full(batch.num_rows, arrival.ordinal, np.int64)
        order = [numbers[rows] for numbers in (arrival.event_times, ordinals, arrival.positions)]
        values = [batch[name].take(pa.array(rows)) for name in self.columns]
        return self._state(group_of_rows(groups)[rows], order, values, len(groups))

    def merge(self, state: State, groups: Groups) -> State:
        rows, _ = from_lists(state["time"])
        order = [as_numpy(state[part].flatten()) for part in _ORDER]
        values = [state[_value(name)].flatten() for name in self.columns]
        return self._state(group_of_rows(groups)[rows], order, values, len(groups))

    def finish(self, state: State) -> Mapping[str, pa.Array]:
        values = [state[_value(name)].flatten() for name in self.columns]
        records = pa.RecordBatch.from_arrays(values, schema=pa.schema(list(self.inputs.items())))
        sizes = as_numpy(state["time"].value_lengths())
        starts = np.cumsum(sizes) - sizes
        learnt = [
            self.learn(records.slice(start, size)) for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)
        ]
        return {name: pa.array([one[name] for one in learnt], kind) for name, kind in self.figures.items()}

    def _state(
        self, members: npt.NDArray[np.intp], order: list[npt.NDArray[np.int64]], values: list[pa.Array], size: int
    ) -> State:
        """One list a group for each column; `members` names the group of each record, `order` its place."""
        sorting = np.lexsort((*reversed(order), members))
        columns = [*map(pa.array, order), *values]
        lists = [to_lists(members, column.take(pa.array(sorting)), size) for column in columns]
        return dict(zip(self.schema.names, lists, strict=True))


def _value(column: str) -> str:
    """The name of a column's values in the state; it cannot collide with the columns that we add."""
    return f"value|{column}"

"""Learners: what a model keeps of the records of a key and window, and the figures that it learns from them.

A learner is an accumulator over several columns: its state merges, in any split and order. A model that must see
records one by one learns through `transforms.model.ordered`, whose state is the records themselves, in order.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.aggregation.accumulator import Arrival, State
from transforms.aggregation.groups import Groups


@dataclass(frozen=True, slots=True)
class Memory:
    """How a model that learns from all windows so far forgets.

    Args:
        factor: what the records of one step ago weigh; 1 forgets nothing.
        fade: multiplies the weight of the records of each group by a factor.
    """

    factor: float
    fade: Callable[[State, npt.NDArray[np.float64]], State]


class Learner(Protocol):
    """The algebra of a model. It obeys the laws of every accumulator, and is sent to other processes."""

    @property
    def name(self) -> str:
        """Part of the names of its state's columns, and so of checkpoints: it stays."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it reads."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """The state's columns."""
        ...

    @property
    def memory(self) -> Memory | None:
        """How it forgets; None: it learns from each window's own records alone."""
        ...

    def measure(self, batch: pa.RecordBatch, groups: Groups, arrival: Arrival) -> State:
        """The state of each group of a batch, whose columns may hold nulls."""
        ...

    def merge(self, state: State, groups: Groups) -> State:
        """Joins the states of each group; `state` holds one row for every row that `groups` groups."""
        ...

    def finish(self, state: State) -> Mapping[str, pa.Array]:
        """What is learnt from each group's state, by the names of the model's figures."""
        ...

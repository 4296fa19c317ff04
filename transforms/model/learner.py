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

from transforms.aggregation.accumulator import State
from transforms.aggregation.measure import Measure


@dataclass(frozen=True, slots=True)
class Memory:
    """How a model that learns from all windows so far forgets.

    Args:
        factor: what the records of one step ago weigh; 1 forgets nothing.
        fade: multiplies the weight of the records of each group by a factor.
    """

    factor: float
    fade: Callable[[State, npt.NDArray[np.float64]], State]


class Learner(Measure, Protocol):
    """The algebra of a model: a measure whose state becomes figures. It obeys the laws of every accumulator.

    Its name stays, for the names of its state's columns, and so of checkpoints, begin with it.
    """

    @property
    def memory(self) -> Memory | None:
        """How it forgets; None: it learns from each window's own records alone."""
        ...

    def finish(self, state: State) -> Mapping[str, pa.Array]:
        """What is learnt from each group's state, by the names of the model's figures."""
        ...

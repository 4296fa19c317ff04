"""Moments: count, mean and centred sum of squares, exact in merging and at any offset.

The mean is kept in two parts, `pivot` + `delta`, with the pivot its rounded value: differences between means
then lose no digits at an offset of 1e8. Measuring takes two passes over a group's values (Chan, Golub and
LeVeque, "Algorithms for Computing the Sample Variance", The American Statistician 37, 1983, eq. 1.7);
merging is their pairwise update (eq. 2.1) for any number of parts. The sum is kept beside them, for sums of
integers are exact and no mean's multiple is.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.aggregation.accumulator import Arrival, State, as_numpy, nullable, numbers
from transforms.aggregation.groups import Groups

STATISTICS = ("count", "missing", "mean", "std", "var", "sum")


@dataclass(frozen=True, slots=True)
class Moments:
    """`count`, `missing`, `mean`, `std`, `var` (ddof = 1) and `sum` of a numeric column."""

    @property
    def schema(self) -> pa.Schema:
        floats = [pa.field(name, pa.float64()) for name in ("pivot", "delta", "squares", "sum")]
        return pa.schema([pa.field("count", pa.int64()), pa.field("missing", pa.int64()), *floats])

    def measure(self, values: pa.Array, groups: Groups, arrival: Arrival) -> State:
        plain, present = numbers(values, groups)
        count = groups.counts if present is None else groups.reduce(np.add, present.astype(np.int64))
        some = np.maximum(count, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            anchor = _one_of(plain, present, groups)
            from_anchor = plain - groups.spread(anchor)
            if present is not None:
                from_anchor[~present] = 0.0
            beyond = groups.reduce(np.add, from_anchor)
            pivot = anchor + beyond / some
            deviation = plain - groups.spread(pivot)
            if present is not None:
                deviation[~present] = 0.0
            delta = groups.reduce(np.add, deviation) / some
            squares = groups.reduce(np.add, deviation * deviation) - some * delta * delta
            total = count * anchor + beyond
        return _state(count, groups.counts - count, pivot, delta, np.maximum(squares, 0.0), total)

    def merge(self, state: State, groups: Groups) -> State:
        columns = (as_numpy(state[name])[groups.order] for name in self.schema.names)
        count, missing, pivot, delta, squares, total = columns
        counts = groups.reduce(np.add, count)
        some = np.maximum(counts, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            centre = _one_of(pivot, count > 0, groups)
            shift = np.where(count > 0, (pivot - groups.spread(centre)) + delta, 0.0)
            mean = groups.reduce(np.add, count * shift) / some
            apart = shift - groups.spread(mean)
            within = groups.reduce(np.add, squares) + groups.reduce(np.add, count * apart * apart)
            pivot, delta = two_sum(centre, mean)
            totals = groups.reduce(np.add, total)
        return _state(counts, groups.reduce(np.add, missing), pivot, delta, within, totals)

    def finish(self, state: State, statistic: str) -> pa.Array:
        if statistic in ("count", "missing"):
            return state[statistic]
        count, _, pivot, delta, squares, total = (as_numpy(state[name]) for name in self.schema.names)
        with np.errstate(over="ignore", invalid="ignore"):
            if statistic == "mean":
                figure, needed = pivot + delta, 1
            elif statistic == "sum":
                figure, needed = total, 1
            else:
                variance = squares / np.maximum(count - 1, 1)
                figure, needed = (variance if statistic == "var" else np.sqrt(variance)), 2
        return nullable(figure, (count < needed) | ~np.isfinite(figure), pa.float64())


def two_sum(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The rounded sum and its exact error (Knuth, TAOCP 2, 4.2.2, theorem B)."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def _one_of(
    plain: npt.NDArray[np.float64], present: npt.NDArray[np.bool_] | None, groups: Groups
) -> npt.NDArray[np.float64]:
    # An actual value of the group as the first origin: equal values then deviate by exactly 0.
    if present is None:
        first: npt.NDArray[np.float64] = plain[groups.starts]
        return first
    lowest = groups.reduce(np.minimum, np.where(present, plain, np.inf))
    return np.where(np.isfinite(lowest), lowest, 0.0)


def _state(*columns: npt.NDArray[Any]) -> State:
    return dict(zip(Moments().schema.names, map(pa.array, columns), strict=True))

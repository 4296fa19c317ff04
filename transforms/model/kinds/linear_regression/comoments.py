"""Co-moments: counts, means and spreads of several columns together, mergeable at any offset and in any units.

The state keeps the upper triangular R of a QR decomposition of the centred rows, each of weight 1, so R^T R are the
centred cross-products. The products themselves would square the condition number of the features, and lose a residual
that is a hundred millionth of the target's spread; R loses only what the rounding of the rows loses. Parts merge by
decomposing their factors and the difference of their means (Demmel, Grigori, Hoemmen, Langou,
"Communication-optimal parallel and sequential QR and LU factorizations", SIAM J. Sci. Comput. 34, 2012), here by the
modified Gram-Schmidt process, all groups at once (its R is as good as Householder's: Björck, BIT 7, 1967). Every
mean is kept as `pivot` + `delta`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.aggregation.accumulator import State, as_numpy
from transforms.aggregation.doubles import two_sum
from transforms.aggregation.groups import Groups
from transforms.record.batch import filled

Matrix = npt.NDArray[np.float64]
_Present = npt.NDArray[np.bool_] | None


@dataclass(frozen=True, slots=True)
class CoMoments:
    """The co-moments of `width` columns over the rows where all of them are present."""

    width: int

    @property
    def triangle(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        rows, columns = np.triu_indices(self.width)
        return rows, columns

    @property
    def schema(self) -> pa.Schema:
        vector = pa.list_(pa.float64(), self.width)
        factor = pa.list_(pa.float64(), len(self.triangle[0]))
        return pa.schema(
            [
                pa.field("n", pa.int64()),
                pa.field("weight", pa.float64()),
                pa.field("pivot", vector),
                pa.field("delta", vector),
                pa.field("factor", factor),
            ]
        )

    def measure(self, columns: Sequence[pa.Array], groups: Groups) -> State:
        """The co-moments of each group; `columns` are numeric, in row order, and may hold nulls."""
        absent = np.zeros(groups.rows, bool)
        for values in columns:
            if values.null_count:
                absent |= as_numpy(values.is_null())
        present = None if not absent.any() else ~absent[groups.order]
        n = groups.counts if present is None else groups.reduce(np.add, present.astype(np.int64))
        with np.errstate(over="ignore", invalid="ignore"):
            centred = [_centred(values, present, np.maximum(n, 1), groups) for values in columns]
            pivots, deltas, deviations = zip(*centred, strict=True)
            factor = _factor(list(deviations), groups)
        return self.state(n, n.astype(np.float64), np.stack(pivots, axis=1), np.stack(deltas, axis=1), factor)

    def merge(self, state: State, groups: Groups) -> State:
        """Joins the states of each group, each with its `weight` (the number of its rows, unless it has faded)."""
        arrays: tuple[npt.NDArray[Any], ...] = self.arrays(state)
        n, weight, pivot, delta, factor = (part[groups.order] for part in arrays)
        total = groups.reduce(np.add, weight)
        some = np.where(total > 0, total, 1.0)[:, None]
        with np.errstate(over="ignore", invalid="ignore"):
            known = weight > 0
            anchor = groups.reduce(np.maximum, np.where(known[:, None], pivot, -np.inf))
            centre = np.where(np.isfinite(anchor), anchor, 0.0)
            shift = np.where(known[:, None], (pivot - groups.spread(centre)) + delta, 0.0)
            mean = groups.reduce(np.add, weight[:, None] * shift) / some
            between = np.sqrt(weight)[:, None] * (shift - groups.spread(mean))
            pivot, delta = two_sum(centre, mean)
            rows = np.concatenate((self.full(factor), between[:, None, :]), axis=1)
            stretched = Groups(np.arange(rows.shape[0] * rows.shape[1]), groups.starts * rows.shape[1], {})
            joined = _factor(list(rows.reshape(-1, self.width).T.copy()), stretched)
        return self.state(groups.reduce(np.add, n), total, pivot, delta, joined)

    def arrays(self, state: State) -> tuple[npt.NDArray[np.int64], Matrix, Matrix, Matrix, Matrix]:
        """n (groups), weight (groups), pivot and delta (groups, width), factor (groups, triangle)."""
        size = len(state["n"])
        pivot, delta, factor = (
            as_numpy(state[name].flatten()).reshape(size, state[name].type.list_size)
            for name in ("pivot", "delta", "factor")
        )
        return as_numpy(state["n"]), as_numpy(state["weight"]), pivot, delta, factor

    def state(self, n: npt.NDArray[np.int64], weight: Matrix, pivot: Matrix, delta: Matrix, factor: Matrix) -> State:
        """The inverse of `arrays`."""
        columns = [pa.array(n), pa.array(weight)]
        for matrix, field in zip((pivot, delta, factor), list(self.schema)[2:], strict=True):
            values = pa.array(np.ascontiguousarray(matrix, np.float64).reshape(-1))
            columns.append(pa.FixedSizeListArray.from_arrays(values, field.type.list_size))
        return dict(zip(self.schema.names, columns, strict=True))

    def full(self, factor: Matrix) -> Matrix:
        """The upper triangular matrices R (groups, width, width), row by row in `factor`."""
        rows, columns = self.triangle
        full = np.zeros((len(factor), self.width, self.width))
        full[:, rows, columns] = factor
        return full

    def products(self, factor: Matrix) -> Matrix:
        """The centred cross-products R^T R (groups, width, width)."""
        full = self.full(factor)
        return np.einsum("gki,gkj->gij", full, full)


def _centred(
    values: pa.Array, present: _Present, some: npt.NDArray[np.int64], groups: Groups
) -> tuple[Matrix, Matrix, Matrix]:
    """The mean of each group, as pivot and delta, and every value's difference from it in sorted order."""
    if _differ_within_64_bits(values):
        # Whole numbers of any size, nanoseconds since 1970 say, differ by whole numbers.
        whole = filled(values).astype(np.int64, copy=False)[groups.order]
        origin = _anchor(whole, present, groups)
        deviation = (whole - groups.spread(origin)).astype(np.float64)
        pivot, left = two_sum((origin >> 32).astype(np.float64) * 2.0**32, (origin & 0xFFFFFFFF).astype(np.float64))
    else:
        plain = filled(values).astype(np.float64, copy=False)[groups.order]
        pivot = _anchor(plain, present, groups)
        deviation, left = plain - groups.spread(pivot), np.zeros(len(groups))
    if present is not None:
        deviation[~present] = 0.0
    offset = groups.reduce(np.add, deviation) / some
    deviation -= groups.spread(offset)
    if present is not None:
        deviation[~present] = 0.0
    return *two_sum(pivot, offset + left), deviation


def _factor(columns: list[Matrix], groups: Groups) -> Matrix:
    """The upper triangular factor of each group's rows, row by row; `columns` are used up."""
    entries, room = [], np.empty(groups.rows)
    for place, column in enumerate(columns):
        size = np.sqrt(groups.reduce(np.add, np.multiply(column, column, out=room)))
        unknown = ~np.isfinite(size)
        some = np.where(size > 0, size, 1.0)
        entries.append(size)
        for other in columns[place + 1 :]:
            along = groups.reduce(np.add, np.multiply(column, other, out=room)) / some
            along[unknown] = np.nan
            entries.append(along)
            other -= np.multiply(groups.spread(np.where(unknown, 0.0, along / some)), column, out=room)
    return np.stack(entries, axis=1)


def _anchor(values: npt.NDArray[Any], present: _Present, groups: Groups) -> npt.NDArray[Any]:
    """An actual value of each group as the first origin: equal values then deviate by exactly 0."""
    if present is None:
        # The middle one of three values: it is seldom an outlier, so differences from it keep their digits.
        last = groups.starts + groups.counts - 1
        one, two, three = values[groups.starts], values[(groups.starts + last) // 2], values[last]
        return np.maximum(np.minimum(one, two), np.minimum(np.maximum(one, two), three))
    most = np.inf if values.dtype.kind == "f" else np.iinfo(np.int64).max
    lowest = groups.reduce(np.minimum, np.where(present, values, most))
    return np.where(lowest < most, lowest, 0).astype(values.dtype)


def _differ_within_64_bits(values: pa.Array) -> bool:
    if pa.types.is_floating(values.type):
        return False
    bounds = pc.min_max(values.cast(pa.int64()))
    low, high = min(bounds["min"].as_py() or 0, 0), max(bounds["max"].as_py() or 0, 0)
    return bool(high - low < 1 << 63)

"""Co-moments: counts, means and centred cross-products of several columns, exact in merging at any offset.

The multivariate form of `transforms.aggregation.moments`: Chan, Golub and LeVeque's two-pass measure and
pairwise update, with every mean kept as `pivot` + `delta`. The cross-products are the upper triangle of
sum (x - mean)(x - mean)^T, row by row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.aggregation.accumulator import State, as_numpy
from transforms.aggregation.doubles import two_sum
from transforms.aggregation.groups import Groups
from transforms.batch import filled

Matrix = npt.NDArray[np.float64]


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
        products = pa.list_(pa.float64(), len(self.triangle[0]))
        return pa.schema(
            [
                pa.field("n", pa.int64()),
                pa.field("weight", pa.float64()),
                pa.field("pivot", vector),
                pa.field("delta", vector),
                pa.field("products", products),
            ]
        )

    def measure(self, columns: Sequence[pa.Array], groups: Groups) -> State:
        """The co-moments of each group; `columns` are numeric, in row order, and may hold nulls."""
        absent = np.zeros(groups.rows, bool)
        for values in columns:
            if values.null_count:
                absent |= as_numpy(values.is_null())
        present = ~absent[groups.order]
        complete = bool(present.all())
        plain = [filled(values).astype(np.float64, copy=False)[groups.order] for values in columns]
        n = groups.counts if complete else groups.reduce(np.add, present.astype(np.int64))
        some = np.maximum(n, 1)
        pivots, deltas, deviations = [], [], []
        with np.errstate(over="ignore", invalid="ignore"):
            for values in plain:
                anchor = _anchor(values, None if complete else present, groups)
                offset = values - groups.spread(anchor)
                if not complete:
                    offset[~present] = 0.0
                pivot = anchor + groups.reduce(np.add, offset) / some
                deviation = values - groups.spread(pivot)
                if not complete:
                    deviation[~present] = 0.0
                pivots.append(pivot)
                deltas.append(groups.reduce(np.add, deviation) / some)
                deviations.append(deviation)
            products = [
                groups.reduce(np.add, deviations[i] * deviations[j]) - some * deltas[i] * deltas[j]
                for i, j in zip(*self.triangle, strict=True)
            ]
        return self.state(
            n, n.astype(np.float64), np.stack(pivots, axis=1), np.stack(deltas, axis=1), np.stack(products, axis=1)
        )

    def merge(self, state: State, groups: Groups) -> State:
        """Joins the states of each group, each with its `weight` (its rows, unless it was made to fade)."""
        n, weight, pivot, delta, products = (part[groups.order] for part in self.arrays(state))
        total = groups.reduce(np.add, weight)
        some = np.where(total > 0, total, 1.0)[:, None]
        rows, columns = self.triangle
        with np.errstate(over="ignore", invalid="ignore"):
            known = weight > 0
            anchor = groups.reduce(np.maximum, np.where(known[:, None], pivot, -np.inf))
            centre = np.where(np.isfinite(anchor), anchor, 0.0)
            shift = np.where(known[:, None], (pivot - groups.spread(centre)) + delta, 0.0)
            mean = groups.reduce(np.add, weight[:, None] * shift) / some
            apart = shift - groups.spread(mean)
            between = groups.reduce(np.add, weight[:, None] * apart[:, rows] * apart[:, columns])
            pivot, delta = two_sum(centre, mean)
            merged = groups.reduce(np.add, products) + between
        return self.state(groups.reduce(np.add, n), total, pivot, delta, merged)

    def arrays(self, state: State) -> tuple[npt.NDArray[np.int64], Matrix, Matrix, Matrix, Matrix]:
        """n (groups), weight (groups), pivot and delta (groups, width), products (groups, triangle)."""
        size = len(state["n"])
        pivot, delta, products = (
            as_numpy(state[name].flatten()).reshape(size, state[name].type.list_size)
            for name in ("pivot", "delta", "products")
        )
        return as_numpy(state["n"]), as_numpy(state["weight"]), pivot, delta, products

    def state(self, n: npt.NDArray[np.int64], weight: Matrix, pivot: Matrix, delta: Matrix, products: Matrix) -> State:
        """The inverse of `arrays`."""
        columns = [pa.array(n), pa.array(weight)]
        for matrix, field in zip((pivot, delta, products), list(self.schema)[2:], strict=True):
            values = pa.array(np.ascontiguousarray(matrix, np.float64).reshape(-1))
            columns.append(pa.FixedSizeListArray.from_arrays(values, field.type.list_size))
        return dict(zip(self.schema.names, columns, strict=True))

    def covariance(self, products: Matrix) -> Matrix:
        """The full symmetric matrices (groups, width, width) of the upper triangles."""
        rows, columns = self.triangle
        full = np.zeros((len(products), self.width, self.width))
        full[:, rows, columns] = products
        full[:, columns, rows] = products
        return full


def _anchor(values: Matrix, present: npt.NDArray[np.bool_] | None, groups: Groups) -> Matrix:
    # An actual value as the first origin, as in `moments`: equal values deviate by exactly 0.
    if present is None:
        first: Matrix = values[groups.starts]
        return first
    lowest = groups.reduce(np.minimum, np.where(present, values, np.inf))
    return np.where(np.isfinite(lowest), lowest, 0.0)

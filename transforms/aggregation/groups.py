"""Groups: which rows of a batch belong together, found once and used by every statistic.

Rows are sorted by group (a radix sort on 16-bit digits: linear, 5 ns a row and digit), so that every
statistic is a reduction over contiguous segments.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Array = npt.NDArray[Any]
_DENSE = 1 << 62  # the largest product of cardinalities that an int64 id can hold


@dataclass(frozen=True, slots=True)
class Groups:
    """`order` sorts the rows by group; group g is `order[starts[g] : starts[g] + counts[g]]`, never empty.

    `keys` holds one row a group: the columns that were grouped by. Within a group, rows keep their order.
    """

    order: npt.NDArray[np.intp]
    starts: npt.NDArray[np.intp]
    keys: Mapping[str, pa.Array]

    @property
    def rows(self) -> int:
        return len(self.order)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        return np.diff(self.starts, append=self.rows).astype(np.int64)

    def reduce(self, combine: np.ufunc, values: Array) -> Array:
        """`combine` over each group of `values`, which are sorted by group (along the first axis)."""
        if not len(self):
            return values[:0]
        reduced: Array = combine.reduceat(values, self.starts, axis=0)
        return reduced

    def spread(self, per_group: Array) -> Array:
        """One value a group, repeated for every row of the group in sorted order."""
        return np.repeat(per_group, self.counts, axis=0)

    def members(self) -> npt.NDArray[np.intp]:
        """The group of each row, in sorted order."""
        return np.repeat(np.arange(len(self)), self.counts)


def group(columns: Mapping[str, pa.Array]) -> Groups:
    """Groups rows by the given columns, all of one length; null is a value like any other.

    Groups come in the order of the first column if that is an integer without nulls (a slice), and
    otherwise of first appearance.
    """
    arrays = list(columns.values())
    rows = len(arrays[0])
    ids, cardinality = np.zeros(rows, np.int64), 1
    for values in arrays:
        codes, distinct = encode(values)
        if cardinality * distinct >= _DENSE:
            ids, cardinality = _compact(ids)
        ids = ids * distinct + codes
        cardinality *= distinct
    if cardinality > max(4 * rows, 1 << 16):
        ids, cardinality = _compact(ids)
    order = sorting(ids, cardinality)
    ordered = ids[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if rows else np.empty(0, np.intp)
    first = pa.array(order[starts])
    return Groups(order, starts, {name: values.take(first) for name, values in columns.items()})


def encode(values: pa.Array) -> tuple[npt.NDArray[np.int64], int]:
    """Codes 0 … n-1 for the values of a column, null included, and n (at least 1)."""
    if pa.types.is_int64(values.type) and not values.null_count and len(values):
        encoded = values.dictionary_encode()
        order, ranks = np.unique(encoded.dictionary.to_numpy(), return_inverse=True)
        return ranks[encoded.indices.to_numpy()], len(order)
    encoded = values.dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), max(len(encoded.dictionary), 1)


def sorting(ids: npt.NDArray[np.int64], cardinality: int) -> npt.NDArray[np.intp]:
    """The stable order that sorts ids in [0, cardinality), by radix: numpy's stable sort is one for 16 bits only."""
    order = np.argsort((ids & 0xFFFF).astype(np.uint16), kind="stable")
    shift = 16
    while cardinality > 1 << shift:
        digit = ((ids >> shift) & 0xFFFF).astype(np.uint16)
        order = order[np.argsort(digit[order], kind="stable")]
        shift += 16
    return order


def _compact(ids: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    distinct, codes = np.unique(ids, return_inverse=True)
    return codes.astype(np.int64), max(len(distinct), 1)


def concatenate(parts: Sequence[pa.Array]) -> pa.Array:
    """Joins arrays of one type."""
    return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)

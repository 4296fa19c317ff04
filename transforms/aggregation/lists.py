"""Lists as states: sparse figures of a group, such as the filled bins of a sketch, as one Arrow list a group."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.aggregation.groups import Array, Groups


def to_lists(members: npt.NDArray[np.intp], values: pa.Array, size: int) -> pa.ListArray:
    """Puts `values`, sorted by group, into one list a group; `members` names the group of each value."""
    lengths = np.bincount(members, minlength=size)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def from_lists(lists: pa.ListArray) -> tuple[npt.NDArray[np.intp], pa.Array]:
    """The row of each value in the lists, and the values; a null list has none."""
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(lists)), lengths), lists.flatten()


def group_of_rows(groups: Groups) -> npt.NDArray[np.intp]:
    """The group of each row, in the order of the rows."""
    of_row = np.empty(groups.rows, np.intp)
    of_row[groups.order] = groups.members()
    return of_row


def add_up(
    members: npt.NDArray[np.intp], codes: Array, counts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.intp], Array, npt.NDArray[np.int64]]:
    """Sums `counts` over equal (group, code) pairs; the result is sorted by group, then code."""
    if not len(codes):
        return members, codes, counts
    order = np.lexsort((codes, members))
    members, codes, counts = members[order], codes[order], counts[order]
    edges = np.flatnonzero(np.r_[True, (members[1:] != members[:-1]) | (codes[1:] != codes[:-1])])
    return members[edges], codes[edges], np.add.reduceat(counts, edges)

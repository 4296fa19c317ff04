"""Slices that meet: for windows that grow, rows of a key become one slice where they are near enough to each other."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.aggregation.groups import Groups, group
from transforms.time.event_time import Instants
from transforms.time.window import SLICE, SLICE_END, Spans, Window


def joined(window: Window, slices: Spans, key: Mapping[str, pa.Array]) -> Groups:
    """Groups rows whose slices meet, of one key; the keys of a group hold the bounds of all its slices together.

    Which rows meet depends on all of them, and neither on their order nor on what was joined before.
    """
    ids = numbered(key, len(slices.starts))
    order = np.lexsort((slices.starts, ids))
    ids, starts, ends = ids[order], slices.starts[order], _reached(ids[order], slices.ends[order])
    begins = np.ones(len(order), bool)
    begins[1:] = (ids[1:] != ids[:-1]) | ~window.meets(ends[:-1], starts[1:])
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(order))[: len(first)] - 1
    rows = pa.array(order[first])
    bounds = {SLICE: pa.array(starts[first]), SLICE_END: pa.array(ends[last])}
    return Groups(order, first, bounds | {name: values.take(rows) for name, values in key.items()})


def numbered(key: Mapping[str, pa.Array], size: int) -> npt.NDArray[np.intp]:
    """For each row a number that is the same for rows of one key."""
    ids = np.zeros(size, np.intp)
    if key:
        groups = group(key)
        ids[groups.order] = groups.members()
    return ids


def _reached(ids: npt.NDArray[np.intp], ends: Instants) -> Instants:
    """The greatest end of each row and of the rows of its key before it; the numbers of keys never decrease."""
    levels, ranks = np.unique(ends, return_inverse=True)
    reached: Instants = levels[np.maximum.accumulate(ids * len(levels) + ranks) % max(len(levels), 1)]
    return reached

"""Retraction: windows that grow take the place of windows that were published provisionally.

A retraction has the key columns of a window's row: every other provisional row of the same key within that window no
longer counts. It covers rows that this state has published, and rows that a job had published before it was set back to
an earlier state: the same records come again, and join the same windows.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.aggregation.groups import group
from transforms.aggregation.growth import joined
from transforms.aggregation.summary import Summary, key_column
from transforms.time.window import Spans


def has_grown(summary: Summary, windows: pa.RecordBatch, shown: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """Which windows have taken the place of windows that were shown; `windows` are all those of the state."""
    place = place_of(shown, windows, summary.identity)
    gone = shown.filter(pa.array(place < 0))
    if not gone.num_rows:
        return np.zeros(windows.num_rows, bool)
    spans = [summary.slices_of(part) for part in (gone, windows)]
    key = {name: pa.concat_arrays([gone[name], windows[name]]) for name in map(key_column, summary.key)}
    groups = joined(summary.window, Spans(*map(np.concatenate, zip(*spans, strict=True))), key)
    member = np.empty(groups.rows, np.intp)
    member[groups.order] = groups.members()
    return np.isin(member[gone.num_rows :], member[: gone.num_rows])


def place_of(rows: pa.RecordBatch, among: pa.RecordBatch, names: list[str]) -> npt.NDArray[np.intp]:
    """For each row, the row of `among` with the same values in these columns; -1: there is none."""
    both = group({name: pa.concat_arrays([among[name], rows[name]]) for name in names})
    group_of = np.empty(both.rows, np.intp)
    group_of[both.order] = both.members()
    place = np.full(len(both), -1)
    place[group_of[: among.num_rows]] = np.arange(among.num_rows)
    found: npt.NDArray[np.intp] = place[group_of[among.num_rows :]]
    return found

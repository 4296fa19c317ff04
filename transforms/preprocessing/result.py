"""Results of a user's expression or function, and whether a column can hold them."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.time.event_time import EARLIEST, LATEST


def unfit(values: pa.Array) -> dict[int, str]:
    """The rows whose value no column can hold, and what is wrong: NaN, an infinity, a far time, U+0000.

    >>> unfit(pa.array([1.0, float("inf"), None]))
    {1: 'inf is not finite'}
    """
    if pa.types.is_floating(values.type):
        good = pc.is_finite(values)
        why = "{} is not finite"
    elif pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
        good = pc.and_(pc.greater_equal(values, EARLIEST), pc.less(values, LATEST))
        why = "{} µs since 1970 lie outside the years 2 to 9997"
    elif pa.types.is_string(values.type):
        good = pc.invert(pc.match_substring(values, "\0"))
        why = "the text holds U+0000"
    else:
        return {}
    rows = np.flatnonzero(~good.fill_null(True).to_numpy(zero_copy_only=False))
    return {row: why.format(values[row].as_py()) for row in rows.tolist()}


def without(values: pa.Array, rows: dict[int, str]) -> pa.Array:
    """The values, null in `rows`."""
    kept = np.ones(len(values), bool)
    kept[list(rows)] = False
    return pc.if_else(pa.array(kept), values, pa.scalar(None, values.type)) if rows else values

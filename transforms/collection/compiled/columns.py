"""What records are read into, and what is noted on the way."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from transforms.collection.compiled import inlined

Octets = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

STRING, INT64, FLOAT64, BOOL, TIMESTAMP = range(5)
"""The types of columns."""


REMEMBERED: Final = 256
"""Fields of a record that are found by their place in the record before, which mostly had the same."""


class Wanted(NamedTuple):
    """The columns: their names behind each other, where these end, types, which must be there, their rows in `texts`.

    Integers and times must lie from `least` to `most` of their column. `is_strict`: no other field may be there;
    `in_utc`: times without an offset are of UTC.
    """

    names: Octets
    name_ends: Longs
    kinds: Longs
    is_required: Bools
    text_rows: Longs
    least: Longs
    most: Longs
    is_strict: bool
    in_utc: bool


class Columns(NamedTuple):
    """What is filled, an entry for each line that is not refused; `lines` says which these are.

    `numbers` and `floats` are the same memory, a row a column. `texts` has a row a column of texts; `used` counts the
    octets in it, and `text_ends` is where each line's text ends there.
    """

    lines: Ints
    numbers: Longs
    floats: Floats
    texts: Octets
    text_ends: Ints
    used: Longs
    is_null: Bools
    null_counts: Longs


class Notes(NamedTuple):
    """What is noted on the way.

    `pending`, from entry 1 on, are the values that the value rules must judge: row, column, and where each ends in
    `spare`. `faults` has, of each line refused here, the column, and where in the octets the fault begins and ends.
    `known` has, of each field of the record before, where its name begins, how long that is, and its column, -1: none.
    """

    pending: Longs
    spare: Octets
    faults: Longs
    known: Longs
    seen_in: Longs
    nesting: Octets


@inlined
def set_null(columns: Columns, column: int, row: int) -> None:
    """Notes that a value is null."""
    columns.is_null[column, row] = True
    columns.null_counts[column] += 1
    columns.numbers[column, row] = 0

"""What records are read into, and what is noted on the way."""

from typing import Final, NamedTuple

from transforms.arrays import Bools, Floats, Ints, Longs, Octets
from transforms.collection.compiled import inlined

STRING, INT64, FLOAT64, BOOL, TIMESTAMP = range(5)
"""The types of columns."""

REMEMBERED: Final = 256
"""Fields of a record that are found by their place in the record before, which mostly had the same."""

PENDING, SPARE = 0, 1
"""Entries of `Notes.counts`."""


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
    octets in it, and `text_ends` is where each line's text ends there. `may_have_nulls` says of which columns
    `is_null` must be looked at.
    """

    lines: Ints
    numbers: Longs
    floats: Floats
    texts: Octets
    text_ends: Ints
    used: Longs
    is_null: Bools
    may_have_nulls: Bools


class Notes(NamedTuple):
    """What is noted on the way.

    `pending` are the values that the value rules must judge: row, column, and where their text ends in `spare`;
    `counts` has how many there are, and the octets of `spare` that they use. `faults` has, of each line refused here,
    the column, and where in the octets the fault begins and ends. `known` has, of each field of the record before,
    where its name begins, how long that is, and its column, -1: none. `seen_in` is the last line that had each column,
    and `nesting` what is open around a value.
    """

    pending: Longs
    spare: Octets
    counts: Longs
    faults: Longs
    known: Longs
    seen_in: Longs
    nesting: Octets


@inlined
def set_null(columns: Columns, column: int, row: int) -> None:
    """Makes a value null."""
    columns.is_null[column, row] = True
    columns.may_have_nulls[column] = True
    columns.numbers[column, row] = 0

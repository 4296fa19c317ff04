"""What records are read into, and what is noted on the way."""

from typing import NamedTuple

from transforms.collection.parsing.compiled import inlined
from transforms.record.arrays import Bools, Floats, Ints, Longs, Octets

STRING, INT64, FLOAT64, BOOL, TIMESTAMP = range(5)
"""The types of columns."""

USED, PENDING, REFUSED = range(3)
"""Entries of `Notes.counts`."""


class Wanted(NamedTuple):
    """The columns: their names behind each other, where these end, types, which must be there, their rows of texts.

    `slots` is a hash table of the columns, by `names.hashed`, -1 where none is; its length is a power of two. Integers
    and times must lie from `least` to `most` of their column. `is_strict`: no other field may be there; `in_utc`: times
    without an offset are of UTC.
    """

    names: Octets
    name_ends: Longs
    slots: Longs
    kinds: Longs
    is_required: Bools
    text_rows: Longs
    least: Longs
    most: Longs
    is_strict: bool
    in_utc: bool


class Columns(NamedTuple):
    """What is filled, an entry for each line that is not refused; `lines` says which these are.

    `numbers` and `floats` are the same memory, a row a column. `text_begins` and `text_ends` have a row a column of
    texts, and lie in `Notes.texts`. `may_have_nulls` says of which columns `is_null` must be looked at.
    """

    lines: Ints
    numbers: Longs
    floats: Floats
    text_begins: Ints
    text_ends: Ints
    is_null: Bools
    may_have_nulls: Bools


class Notes(NamedTuple):
    """What is noted on the way.

    `texts` are all texts of the lines that are not refused, as they come. `pending` are values that the value rules
    must judge: row, column, and where in `texts` they begin and end. `faults` has, of each line refused here, the
    column, and where in the octets the fault begins and ends. `counts` says how much of each is used. `known` has, of
    each field of the record before, where its name begins, how long that is, and its column, -1: none; records mostly
    have the same fields in one order. `seen_in` is the last line that had each column, and `nesting` what is open
    around a value.
    """

    texts: Octets
    pending: Longs
    faults: Longs
    counts: Longs
    known: Longs
    seen_in: Longs
    nesting: Octets


@inlined
def set_null(wanted: Wanted, columns: Columns, column: int, row: int) -> None:
    """Makes a value null."""
    columns.is_null[column, row] = True
    columns.may_have_nulls[column] = True
    columns.numbers[column, row] = 0
    text_row = wanted.text_rows[column]
    if text_row >= 0:
        columns.text_begins[text_row, row] = columns.text_ends[text_row, row] = 0

"""The columns that records are read into, and the notes taken meanwhile."""

from typing import NamedTuple

from transforms.collection.parsing.compiled import inlined
from transforms.record.arrays import Bools, Floats, Ints, Longs, Octets

STRING, INT64, FLOAT64, BOOL, TIMESTAMP = range(5)
"""The types of columns."""

USED, PENDING, REFUSED = range(3)
"""Entries of `Notes.counts`."""


class Wanted(NamedTuple):
    """The columns: their names in sequence and the ends of these, types, which are required, and their rows of texts.

    `slots` is a hash table of the columns, by `names.hashed`, -1 where empty; its length is a power of two. Integers
    and times must lie from `least` to `most` of their column. `is_strict`: no other field is allowed; `in_utc`: times
    without an offset are in UTC.
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
    """The values, one entry for each line that is not refused; `lines` holds the numbers of these lines.

    `numbers` and `floats` share memory, with a row per column. `text_begins` and `text_ends` have a row per text column
    and refer to `Notes.texts`. `may_have_nulls` marks the columns for which `is_null` has to be examined.
    """

    lines: Ints
    numbers: Longs
    floats: Floats
    text_begins: Ints
    text_ends: Ints
    is_null: Bools
    may_have_nulls: Bools


class Notes(NamedTuple):
    """What is noted while records are read.

    `texts` holds all texts of the lines that are not refused, in order. `pending` are values that the value rules
    must judge: row, column, and their begin and end in `texts`. `faults` has, for each line refused here, the column,
    and the begin and end of the fault in the octets. `counts` says how much of each is used. `known` has, for each
    field of the previous record, the begin and the length of its name, and its column or -1; records mostly have the
    same fields in the same order. `seen_in` is the last line that had each column, and `nesting` the brackets that
    are open around a value.
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
    """Sets a value to null."""
    columns.is_null[column, row] = True
    columns.may_have_nulls[column] = True
    columns.numbers[column, row] = 0
    text_row = wanted.text_rows[column]
    if text_row >= 0:
        columns.text_begins[text_row, row] = columns.text_ends[text_row, row] = 0

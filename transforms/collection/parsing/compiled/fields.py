"""The value of a field: read if in plain form, refused if it cannot be valid, else deferred to the value rules."""

from typing import Final, NamedTuple

import numpy as np

from transforms.collection.parsing.compiled import compiled, inlined
from transforms.collection.parsing.compiled.characters import OPEN, OPEN_LIST, QUOTE, TO_SMALL
from transforms.collection.parsing.compiled.columns import (
    FLOAT64,
    INT64,
    PENDING,
    STRING,
    TIMESTAMP,
    USED,
    Columns,
    Notes,
    Wanted,
    set_null,
)
from transforms.collection.parsing.compiled.decimals import (
    LARGEST_POWER,
    MOST_DIGITS,
    Number,
    nearest_float64,
    read_number,
)
from transforms.collection.parsing.compiled.texts import (
    BROKEN,
    HALF,
    NOT_FINITE,
    NULL,
    PLAIN,
    TRUE,
    Word,
    broken_at,
    read_text,
    read_word,
    skip_value,
)
from transforms.collection.parsing.compiled.times import INSTANT, read_usual_time
from transforms.collection.parsing.compiled.verdicts import (
    BEYOND,
    GOOD,
    HALF_PAIR,
    HAS_NUL,
    MISSING,
    NESTED,
    NO_NUMBER,
    WRONG,
)
from transforms.record.arrays import Octets

_LARGEST_INT64: Final = np.uint64((1 << 63) - 1)
_DIGITS_OF_FLOAT64: Final = 15
"""Different numbers of at most this many digits differ as float64 too, so a fraction stays a fraction."""

_IS_INT64, _HAS_FRACTION, _UNSURE = range(3)


class Field(NamedTuple):
    """The end of a value, or `broken_at`, and what is wrong with it."""

    end: int
    fault: int


class _Whole(NamedTuple):
    """Whether a number is an int64, and its value."""

    kind: int
    value: int


@inlined
def read_field(octets: Octets, at: int, row: int, column: int, wanted: Wanted, columns: Columns, notes: Notes) -> Field:
    """Reads the value that begins at `at` into a column's row."""
    octet = octets[at]
    if octet == QUOTE:
        if wanted.kinds[column] == STRING:
            return _read_string(octets, at, row, wanted.text_rows[column], columns, notes)
        return _read_quoted(octets, at, row, column, wanted, columns, notes)
    if octet in (OPEN, OPEN_LIST):
        return Field(skip_value(octets, at, notes.texts, notes.counts[USED], notes.nesting), NESTED)
    number = read_number(octets, at)
    if number.end >= 0:
        return _take_number(octets, at, number, row, column, wanted, columns, notes)
    word = read_word(octets, at)
    if word.word:
        return _take_word(octets, at, word, row, column, wanted, columns, notes)
    return Field(broken_at(at), GOOD)


@inlined
def _read_string(octets: Octets, at: int, row: int, text_row: int, columns: Columns, notes: Notes) -> Field:
    text = read_text(octets, at + 1, notes.texts, notes.counts[USED])
    _take_text(row, text_row, text.used, columns, notes)
    if text.kind == PLAIN:
        return Field(text.end, GOOD)
    if text.kind == BROKEN:
        return Field(broken_at(text.end), GOOD)
    return Field(text.end, HALF_PAIR if text.kind == HALF else HAS_NUL)


@inlined
def _read_quoted(
    octets: Octets, at: int, row: int, column: int, wanted: Wanted, columns: Columns, notes: Notes
) -> Field:
    """Reads a text in a column of another type: a time, or a quoted number or boolean, which the value rules judge."""
    is_time = wanted.kinds[column] == TIMESTAMP
    if is_time:
        time = read_usual_time(octets, at + 1, wanted.in_utc)
        if time.kind == INSTANT and octets[time.end] == QUOTE and _is_within(wanted, column, time.micros):
            columns.numbers[column, row] = time.micros
            return Field(time.end + 1, GOOD)
    text = read_text(octets, at + 1, notes.texts, notes.counts[USED])
    if text.kind == BROKEN:
        return Field(broken_at(text.end), GOOD)
    if text.kind == HALF:
        return Field(text.end, HALF_PAIR)
    if _begins_no_value(octets[at + 1], is_time):
        return Field(text.end, WRONG)
    _leave_to_rules(notes, row, column, text.used)
    return Field(text.end, GOOD)


@compiled
def _begins_no_value(octet: int, is_time: bool) -> bool:
    """Whether no value begins with this letter; times begin with none, but true, false, nan and inf are values."""
    letter = octet | TO_SMALL
    if letter < ord("a") or letter > ord("z"):
        return False
    return is_time or letter not in (ord("t"), ord("f"), ord("n"), ord("i"))


@inlined
def _take_number(
    octets: Octets, at: int, number: Number, row: int, column: int, wanted: Wanted, columns: Columns, notes: Notes
) -> Field:
    kind = wanted.kinds[column]
    if kind == INT64:
        whole = _as_int64(number)
        if whole.kind == _IS_INT64:
            columns.numbers[column, row] = whole.value
            return Field(number.end, GOOD if _is_within(wanted, column, whole.value) else BEYOND)
        if whole.kind == _HAS_FRACTION:
            return Field(number.end, WRONG)
    elif kind == FLOAT64:
        if number.length <= MOST_DIGITS:
            nearest = nearest_float64(number.digits, number.power, number.is_negative)
            if nearest == nearest:
                columns.floats[column, row] = nearest
                return Field(number.end, GOOD)
            if number.power > LARGEST_POWER:
                return Field(number.end, NO_NUMBER)
    elif kind == STRING and number.is_integer and not (number.is_negative and number.digits == np.uint64(0)):
        # Other numbers have to be brought to their shortest form, and -0 is 0.
        _take_text(row, wanted.text_rows[column], _copy(octets, at, number.end, notes), columns, notes)
        return Field(number.end, GOOD)
    elif kind == TIMESTAMP:
        return Field(number.end, WRONG)
    elif kind == STRING:
        _take_text(row, wanted.text_rows[column], notes.counts[USED], columns, notes)  # replaced by the value rules
    _leave_to_rules(notes, row, column, _copy(octets, at, number.end, notes))
    return Field(number.end, GOOD)


@compiled
def _as_int64(number: Number) -> _Whole:
    if number.is_integer:
        if number.length > MOST_DIGITS or number.digits > _LARGEST_INT64:
            return _Whole(_UNSURE, 0)
        value = np.int64(number.digits)
    else:
        if number.length > _DIGITS_OF_FLOAT64 or number.power > 0 or number.power < -_DIGITS_OF_FLOAT64:
            return _Whole(_UNSURE, 0)
        unit = np.uint64(1)
        for _ in range(-number.power):
            unit *= np.uint64(10)
        if number.digits % unit != np.uint64(0):
            return _Whole(_HAS_FRACTION, 0)
        value = np.int64(number.digits // unit)
    return _Whole(_IS_INT64, -value if number.is_negative else value)


@inlined
def _take_word(
    octets: Octets, at: int, word: Word, row: int, column: int, wanted: Wanted, columns: Columns, notes: Notes
) -> Field:
    kind = wanted.kinds[column]
    if word.word == NULL:
        set_null(wanted, columns, column, row)
        return Field(word.end, MISSING if wanted.is_required[column] else GOOD)
    if kind == TIMESTAMP:
        return Field(word.end, WRONG)
    if word.word == NOT_FINITE:
        return Field(word.end, NO_NUMBER)
    if kind == STRING:
        _take_text(row, wanted.text_rows[column], _copy(octets, at, word.end, notes), columns, notes)
    elif kind == FLOAT64:
        columns.floats[column, row] = 1.0 if word.word == TRUE else 0.0
    else:
        columns.numbers[column, row] = 1 if word.word == TRUE else 0
    return Field(word.end, GOOD)


@inlined
def _is_within(wanted: Wanted, column: int, number: int) -> bool:
    return wanted.least[column] <= number <= wanted.most[column]


@inlined
def _copy(octets: Octets, begin: int, end: int, notes: Notes) -> int:
    """Appends these octets to the texts; returns how much of the texts is then used."""
    used = notes.counts[USED]
    for at in range(begin, end):
        notes.texts[used] = octets[at]
        used += 1
    return used


@inlined
def _take_text(row: int, text_row: int, used: int, columns: Columns, notes: Notes) -> None:
    """Makes what was last appended to the texts the column's value."""
    columns.text_begins[text_row, row] = notes.counts[USED]
    columns.text_ends[text_row, row] = notes.counts[USED] = used


@inlined
def _leave_to_rules(notes: Notes, row: int, column: int, used: int) -> None:
    """Notes that what was last appended to the texts is pending."""
    entry = notes.counts[PENDING]
    notes.pending[entry, 0], notes.pending[entry, 1] = row, column
    notes.pending[entry, 2], notes.pending[entry, 3] = notes.counts[USED], used
    notes.counts[PENDING], notes.counts[USED] = entry + 1, used

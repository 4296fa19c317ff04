"""The value of a field: read where that is plain, refused where it cannot be one, and left to the value rules else."""

from typing import Final, NamedTuple

import numpy as np

from transforms.collection.compiled import compiled, inlined
from transforms.collection.compiled.columns import (
    BOOL,
    FLOAT64,
    INT64,
    STRING,
    TIMESTAMP,
    Columns,
    Longs,
    Notes,
    Octets,
    Wanted,
    set_null,
)
from transforms.collection.compiled.decimals import MOST_DIGITS, Number, nearest_float64, read_number
from transforms.collection.compiled.texts import (
    BROKEN,
    HALF,
    MINUS,
    NOT_FINITE,
    NULL,
    OPEN,
    OPEN_LIST,
    QUOTE,
    TRUE,
    ZERO,
    read_text,
    read_word,
    skip_value,
)
from transforms.collection.compiled.times import read_time
from transforms.collection.compiled.verdicts import (
    BEYOND,
    GOOD,
    HALF_PAIR,
    MISSING,
    NESTED,
    NO_NUMBER,
    SKIPPED,
    WRONG,
    ZERO_TEXT,
)

_LARGEST_INT64: Final = np.uint64((1 << 63) - 1)
_DIGITS_OF_FLOAT64: Final = 15
"""Numbers of so many digits that differ are different as float64 too, so that a fraction is one there."""
_LARGEST_POWER: Final = 308


class Value(NamedTuple):
    """Where a value ends (-1 - place: it breaks there), what is wrong with it, and how many are pending then."""

    end: int
    fault: int
    waiting: int


@inlined
def read_value(
    octets: Octets, at: int, row: int, column: int, wanted: Wanted, columns: Columns, notes: Notes, waiting: int
) -> Value:
    """Reads the value that begins at `at` into a column's row."""
    kind = wanted.kinds[column]
    octet = octets[at]
    if octet == QUOTE:
        if kind == STRING:
            return _read_string(octets, at, wanted.text_rows[column], columns, waiting)
        if kind == TIMESTAMP:
            time = read_time(octets, at + 1, wanted.in_utc)
            if time.end >= 0 and octets[time.end] == QUOTE and _is_within(wanted, column, time.instant):
                columns.numbers[column, row] = time.instant
                return Value(time.end + 1, GOOD, waiting)
        text = read_text(octets, at + 1, notes.spare, notes.pending[waiting - 1, 2])
        if text.kind == BROKEN:
            return Value(-1 - text.end, GOOD, waiting)
        if text.kind == HALF:
            return Value(text.end, HALF_PAIR, waiting)
        if _is_word(octets[at + 1], kind == TIMESTAMP):
            return Value(text.end, WRONG, waiting)
        return Value(text.end, GOOD, _wait(notes.pending, row, column, text.used, waiting))
    if octet in (OPEN, OPEN_LIST):
        end = skip_value(octets, at, notes.spare, notes.pending[waiting - 1, 2], notes.nesting)
        return Value(end, NESTED, waiting)
    number = read_number(octets, at)
    end = number.end
    if end >= 0:
        if kind == INT64:
            whole = _as_int64(number)
            if whole.fault == GOOD:
                columns.numbers[column, row] = whole.value
                return Value(end, GOOD if _is_within(wanted, column, whole.value) else BEYOND, waiting)
            if whole.fault == WRONG:
                return Value(end, WRONG, waiting)
        if kind == FLOAT64 and number.length <= MOST_DIGITS:
            nearest = nearest_float64(number.digits, number.power, number.is_negative)
            if nearest == nearest:
                columns.floats[column, row] = nearest
                return Value(end, GOOD, waiting)
            if number.power > _LARGEST_POWER:
                return Value(end, NO_NUMBER, waiting)
    else:
        word = read_word(octets, at)
        end = word.end
        if not word.word:
            return Value(-1 - at, GOOD, waiting)
        if word.word == NULL:
            set_null(columns, column, row)
            return Value(end, MISSING if wanted.is_required[column] else GOOD, waiting)
        if word.word == NOT_FINITE and kind != TIMESTAMP:
            return Value(end, NO_NUMBER, waiting)
        if kind == FLOAT64:
            columns.floats[column, row] = 1.0 if word.word == TRUE else 0.0
            return Value(end, GOOD, waiting)
        if kind in (INT64, BOOL):
            columns.numbers[column, row] = 1 if word.word == TRUE else 0
            return Value(end, GOOD, waiting)
    if kind == STRING and (number.end < 0 or (number.is_integer and (number.length > 1 or octet != MINUS))):
        text_row = wanted.text_rows[column]
        columns.used[text_row] = _copy(octets, at, end, columns.texts[text_row], columns.used[text_row])
        return Value(end, GOOD, waiting)
    used = _copy(octets, at, end, notes.spare, notes.pending[waiting - 1, 2])
    return Value(end, GOOD, _wait(notes.pending, row, column, used, waiting))


@inlined
def _read_string(octets: Octets, at: int, text_row: int, columns: Columns, waiting: int) -> Value:
    text = read_text(octets, at + 1, columns.texts[text_row], columns.used[text_row])
    columns.used[text_row] = text.used
    if text.kind == BROKEN:
        return Value(-1 - text.end, GOOD, waiting)
    return Value(text.end, HALF_PAIR if text.kind == HALF else ZERO_TEXT if text.kind == ZERO else GOOD, waiting)


class _Whole(NamedTuple):
    """A number as int64: it is one; or WRONG, it has a fraction; or SKIPPED, the value rules must judge."""

    fault: int
    value: int


@compiled
def _as_int64(number: Number) -> _Whole:
    if number.is_integer:
        if number.length > MOST_DIGITS or number.digits > _LARGEST_INT64:
            return _Whole(SKIPPED, 0)
        value = np.int64(number.digits)
    else:
        if number.length > _DIGITS_OF_FLOAT64 or number.power > 0 or number.power < -_DIGITS_OF_FLOAT64:
            return _Whole(SKIPPED, 0)
        unit = np.uint64(1)
        for _ in range(-number.power):
            unit *= np.uint64(10)
        if number.digits % unit != np.uint64(0):
            return _Whole(WRONG, 0)
        value = np.int64(number.digits // unit)
    return _Whole(GOOD, -value if number.is_negative else value)


@inlined
def _is_within(wanted: Wanted, column: int, number: int) -> bool:
    return wanted.least[column] <= number <= wanted.most[column]


@compiled
def _is_word(octet: int, must_begin_in_digit: bool) -> bool:
    """Whether no text that begins so is a number or a truth, or no time; white space may come first."""
    letter = octet | 0x20
    if letter < ord("a") or letter > ord("z"):
        return False
    return must_begin_in_digit or letter not in (ord("t"), ord("f"), ord("n"), ord("i"))


@compiled
def _copy(octets: Octets, begin: int, end: int, out: Octets, used: int) -> int:
    for at in range(begin, end):
        out[used] = octets[at]
        used += 1
    return used


@inlined
def _wait(pending: Longs, row: int, column: int, used: int, waiting: int) -> int:
    pending[waiting, 0], pending[waiting, 1], pending[waiting, 2] = row, column, used
    return waiting + 1

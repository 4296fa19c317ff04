"""Reads texts that write numbers or booleans."""

from typing import Final, NamedTuple

import numpy as np
from numpy import uint64

from transforms.collection.parsing.compiled import compiled
from transforms.collection.parsing.compiled.characters import MINUS, PLUS, POINT, TO_SMALL, ZERO
from transforms.collection.parsing.compiled.columns import BOOL, INT64
from transforms.collection.parsing.compiled.decimals import LARGEST_POWER, MOST_DIGITS, SMALLEST_POWER, nearest_float64
from transforms.collection.parsing.compiled.texts import trimmed
from transforms.record.arrays import Floats, Ints, Longs, Octets

TAKEN, WRONG_TYPE, OUT_OF_RANGE, UNSURE = range(4)
"""The verdict on a text; UNSURE: it is a number, but its float64 value, if any, is not known here."""

_LARGEST_EXPONENT: Final = 1_000_000_000_000
"""More digits than any text has, so that a text's digits cannot compensate for it."""
_NO_DIGITS, _TEN = uint64(0), uint64(10)
_LARGEST_INT64: Final = uint64((1 << 63) - 1)
_LEAST_INT64: Final = uint64(1 << 63)


class Decimal(NamedTuple):
    """A number: its first significant digits as an integer, the power of ten to use, and whether digits follow."""

    is_number: bool
    digits: uint64
    power: int
    has_more: bool
    is_negative: bool


@compiled
def read_numbers(octets: Octets, bounds: Ints, kind: int, numbers: Longs, floats: Floats, verdicts: Octets) -> None:
    """Reads the texts between neighbouring `bounds` as values of `kind`; docs/records.md has the grammar.

    Args:
        kind: INT64, FLOAT64 or BOOL.
        numbers: receives the values: integers, or 1 and 0 for booleans.
        floats: the same memory, which receives values as float64.
        verdicts: receives the verdict on each: TAKEN, WRONG_TYPE, OUT_OF_RANGE or UNSURE.
    """
    is_float = kind != INT64 and kind != BOOL
    for row in range(len(verdicts)):
        begin, end = trimmed(octets, bounds[row], bounds[row + 1])
        decimal = read_decimal(octets, begin, end)
        if decimal.is_number and is_float:
            floats[row], verdicts[row] = _float64(decimal)
        elif decimal.is_number:
            numbers[row], verdicts[row] = _int64(decimal)
            if kind == BOOL and (verdicts[row] != TAKEN or not 0 <= numbers[row] <= 1):
                numbers[row] = 0
                _, verdict = _float64(decimal)
                verdicts[row] = WRONG_TYPE if verdict == TAKEN else verdict
        else:
            word = _truth(octets, begin, end)
            verdicts[row] = TAKEN if word >= 0 else OUT_OF_RANGE if _is_not_finite(octets, begin, end) else WRONG_TYPE
            if is_float:
                floats[row] = 1.0 if word == 1 else 0.0
            else:
                numbers[row] = 1 if word == 1 else 0


@compiled
def read_decimal(octets: Octets, at: int, end: int) -> Decimal:
    """The number that a whole text writes: a sign, digits with or without a point, and an exponent."""
    is_negative = at < end and octets[at] == MINUS
    if at < end and (is_negative or octets[at] == PLUS):
        at += 1
    digits, length, written, power = _NO_DIGITS, 0, 0, 0
    has_point = has_more = False
    while at < end:
        digit = octets[at] - np.uint8(ZERO)
        if digit <= 9:
            written += 1
            if length < MOST_DIGITS:
                digits = digits * _TEN + uint64(digit)
                length += digits != _NO_DIGITS
                power -= has_point
            else:
                has_more |= digit != 0
                power += not has_point
        elif octets[at] == POINT and not has_point:
            has_point = True
        else:
            break
        at += 1
    is_number = written > 0
    if at < end and octets[at] | TO_SMALL == ord("e"):
        at += 1
        falls = at < end and octets[at] == MINUS
        if at < end and (falls or octets[at] == PLUS):
            at += 1
        is_number = is_number and at < end
        exponent = 0
        while at < end:
            digit = octets[at] - np.uint8(ZERO)
            if digit > 9:
                break
            exponent = min(exponent * 10 + int(digit), _LARGEST_EXPONENT)
            at += 1
        power += -exponent if falls else exponent
    return Decimal(is_number and at == end, digits, power, has_more, is_negative)


@compiled
def _float64(decimal: Decimal) -> tuple[float, int]:
    """The nearest float64, and TAKEN, OUT_OF_RANGE or UNSURE."""
    digits, power = decimal.digits, decimal.power
    if digits == _NO_DIGITS or power < SMALLEST_POWER:
        return -0.0 if decimal.is_negative else 0.0, TAKEN
    if power > LARGEST_POWER:
        return 0.0, OUT_OF_RANGE
    nearest = nearest_float64(digits, power, decimal.is_negative)
    if decimal.has_more and nearest != nearest_float64(digits + uint64(1), power, decimal.is_negative):
        return 0.0, UNSURE
    if nearest != nearest:
        return 0.0, UNSURE
    return nearest, TAKEN


@compiled
def _int64(decimal: Decimal) -> tuple[int, int]:
    """The integer, and TAKEN, OUT_OF_RANGE or, where it has a fraction, WRONG_TYPE."""
    digits, power = decimal.digits, decimal.power
    if digits == _NO_DIGITS:
        return 0, TAKEN
    most = _LEAST_INT64 if decimal.is_negative else _LARGEST_INT64
    while power < 0 and digits % _TEN == _NO_DIGITS:
        digits //= _TEN
        power += 1
    while power > 0 and digits <= most:
        digits = digits * _TEN if digits <= most // _TEN else most + uint64(1)
        power -= 1
    if power < 0:
        return 0, WRONG_TYPE
    if digits > most:
        return 0, OUT_OF_RANGE
    if decimal.has_more:
        return 0, WRONG_TYPE
    return (-np.int64(digits - uint64(1)) - 1 if decimal.is_negative else np.int64(digits)), TAKEN


@compiled
def _truth(octets: Octets, begin: int, end: int) -> int:
    """1 for `true`, 0 for `false`, in any case; -1 for anything else."""
    if _is_word(octets, begin, end, b"true"):
        return 1
    return 0 if _is_word(octets, begin, end, b"false") else -1


@compiled
def _is_not_finite(octets: Octets, begin: int, end: int) -> bool:
    """Whether a text is any spelling of NaN or an infinity."""
    if begin < end and (octets[begin] == MINUS or octets[begin] == PLUS):
        begin += 1
    return (
        _is_word(octets, begin, end, b"nan")
        or _is_word(octets, begin, end, b"inf")
        or _is_word(octets, begin, end, b"infinity")
    )


@compiled
def _is_word(octets: Octets, begin: int, end: int, word: bytes) -> bool:
    """Whether a text is this word, in any case."""
    same = 0
    while same < len(word) and begin + same < end and octets[begin + same] | TO_SMALL == word[same]:
        same += 1
    return same == len(word) == end - begin

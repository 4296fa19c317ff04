"""Numbers as JSON writes them, and the float64 nearest to them."""

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy import float64, uint64

from transforms.collection.parsing.compiled import compiled
from transforms.collection.parsing.compiled.characters import MINUS, PLUS, POINT, TO_SMALL, ZERO
from transforms.record.arrays import Octets

MOST_DIGITS: Final = 19
"""A number of this many decimal digits always fits into 64 bits."""

SMALLEST_POWER: Final = -342
LARGEST_POWER: Final = 308
"""Powers of ten beyond which 19 digits become 0 or exceed float64."""

_NO_BITS, _ONE, _THREE, _TEN = uint64(0), uint64(1), uint64(3), uint64(10)
_HALF_WIDTH, _LOW_HALF = uint64(32), uint64(0xFFFFFFFF)
_EXACT = uint64(1 << 53)
_TENS: Final = np.array([10.0**power for power in range(23)])


_LARGEST_BINARY: Final = 2046
"""The exponent of the greatest float64, as its bits hold it."""
_TWOS: Final = np.array([math.ldexp(1.0, power - 1074) for power in range(_LARGEST_BINARY)])
"""Does the work of `math.ldexp` in a third of the time."""


def _fives() -> npt.NDArray[np.uint64]:
    """The first 128 bits of 5^q for every q of float64, truncated, or rounded up where q is negative."""
    powers = np.empty((LARGEST_POWER - SMALLEST_POWER + 1, 2), np.uint64)
    for q in range(SMALLEST_POWER, LARGEST_POWER + 1):
        five = 5 ** abs(q)
        if q >= 0:
            bits = five << 128 >> five.bit_length()
        else:
            bits = (1 << (127 + five.bit_length())) // five + 1
            bits >>= bits.bit_length() - 128
        powers[q - SMALLEST_POWER] = bits >> 64, bits & 0xFFFFFFFFFFFFFFFF
    return powers


_FIVES: Final = _fives()


class Number(NamedTuple):
    """A number: its end (-1: not a number), its digits as an integer, how many, and the power of ten to multiply by."""

    end: int
    digits: uint64
    length: int
    power: int
    is_negative: bool
    is_integer: bool


@compiled
def read_number(octets: Octets, start: int) -> Number:
    """Reads the number at `start`, by the grammar of RFC 8259; more than MOST_DIGITS digits overflow."""
    is_negative = octets[start] == MINUS
    at = start + 1 if is_negative else start
    first = at
    digits = _NO_BITS
    while True:
        digit = octets[at] - np.uint8(ZERO)
        if digit > 9:
            break
        digits = digits * _TEN + uint64(digit)
        at += 1
    length = at - first
    is_number = length > 0 and (length == 1 or octets[first] != ZERO)
    is_integer = True
    power = 0
    if octets[at] == POINT:
        is_integer = False
        at += 1
        first = at
        while True:
            digit = octets[at] - np.uint8(ZERO)
            if digit > 9:
                break
            digits = digits * _TEN + uint64(digit)
            at += 1
        power = first - at
        length -= power
        is_number = is_number and power < 0
    if octets[at] | TO_SMALL == ord("e"):
        is_integer = False
        at += 1
        falls = octets[at] == MINUS
        if falls or octets[at] == PLUS:
            at += 1
        first = at
        exponent = 0
        while True:
            digit = octets[at] - np.uint8(ZERO)
            if digit > 9:
                break
            exponent = min(exponent * 10 + int(digit), 99_999)
            at += 1
        power += -exponent if falls else exponent
        is_number = is_number and at > first
    return Number(at if is_number else -1, digits, length, power, is_negative, is_integer)


@compiled
def nearest_float64(digits: uint64, power: int, is_negative: bool) -> float:
    """The float64 nearest to digits · 10^power, ties to even; NaN if this cannot decide it or it is not a normal one.

    Source: Clinger, "How to read floating point numbers accurately", PLDI 1990, if two exact float64 yield the result;
    Lemire, "Number parsing at a gigabyte per second", Software: Practice and Experience 51(8), 2021, algorithm 1.
    """
    if digits <= _EXACT and -22 <= power <= 22:
        number = float64(digits)
        number = number / _TENS[-power] if power < 0 else number * _TENS[power]
        return -number if is_negative else number
    if digits == _NO_BITS:
        return -0.0 if is_negative else 0.0
    if power < SMALLEST_POWER or power > LARGEST_POWER:
        return np.nan
    shift = _leading_zeros(digits)
    digits = digits << uint64(shift)
    high, low = _product(digits, _FIVES[power - SMALLEST_POWER, 0])
    if high & uint64(0x1FF) == uint64(0x1FF):
        more, _ = _product(digits, _FIVES[power - SMALLEST_POWER, 1])
        low = low + more
        if low < more:
            high = high + _ONE
        if low == uint64(0xFFFFFFFFFFFFFFFF) and not -27 <= power <= 55:
            return np.nan
    upper = high >> uint64(63)
    mantissa = high >> (upper + uint64(9))
    binary = ((217_706 * power) >> 16) + 63 + 1023 - shift + int(upper)
    if binary <= 0 or binary > _LARGEST_BINARY:
        return np.nan
    is_tie = low <= _ONE and -4 <= power <= 23 and mantissa & _THREE == _ONE
    if is_tie and mantissa << (upper + uint64(9)) == high:
        mantissa = mantissa - _ONE
    mantissa = (mantissa + (mantissa & _ONE)) >> _ONE
    number = float64(mantissa) * _TWOS[binary - 1]
    if number == math.inf:
        return np.nan
    return -number if is_negative else number


@compiled
def _product(left: uint64, right: uint64) -> tuple[uint64, uint64]:
    """The upper and the lower 64 bits of a product."""
    left_high, left_low = left >> _HALF_WIDTH, left & _LOW_HALF
    right_high, right_low = right >> _HALF_WIDTH, right & _LOW_HALF
    low = left_low * right_low
    middle = left_high * right_low + (low >> _HALF_WIDTH)
    other = left_low * right_high + (middle & _LOW_HALF)
    high = left_high * right_high + (middle >> _HALF_WIDTH) + (other >> _HALF_WIDTH)
    return high, (other << _HALF_WIDTH) | (low & _LOW_HALF)


@compiled
def _leading_zeros(bits: uint64) -> int:
    """The number of leading zero bits of a number that is not 0."""
    zeros = 0
    width = 32
    while width:
        if bits >> uint64(64 - width) == _NO_BITS:
            bits = bits << uint64(width)
            zeros += width
        width >>= 1
    return zeros

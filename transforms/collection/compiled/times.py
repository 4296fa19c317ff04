"""Times as ISO 8601 writes them, in the one form that nearly all have."""

from typing import Final, NamedTuple

import numpy as np

from transforms.arrays import Octets
from transforms.collection.compiled import compiled
from transforms.collection.compiled.characters import COLON, MINUS, PLUS, POINT, ZERO

_MICROS_A_DAY: Final = 86_400_000_000
_MICROS_A_MINUTE: Final = 60_000_000
_EARLIEST_YEAR: Final = 2  # as for event times: an offset may lead into the year before
_WIDEST_OFFSET: Final = 14  # hours: that of Kiribati
_MONTH_STARTS: Final = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365])


class Time(NamedTuple):
    """A time: where it ends (-1: it is none that can be read here), and the µs since the epoch."""

    end: int
    instant: int


@compiled
def read_time(octets: Octets, start: int, may_lack_offset: bool) -> Time:
    """Reads a date and a time of day to the second or finer, with its offset: `2013-01-01T05:00:00.25+02:00`, or `Z`.

    Parts of a µs are cut off. Other forms, and times that are none, end at -1.

    Args:
        may_lack_offset: whether a time without an offset is one of UTC; otherwise it ends at -1.
    """
    none = Time(-1, 0)
    year = _digits(octets, start, 4)
    if year < _EARLIEST_YEAR or octets[start + 4] != MINUS:
        return none
    month = _digits(octets, start + 5, 2)
    if not 1 <= month <= 12 or octets[start + 7] != MINUS:
        return none
    day = _digits(octets, start + 8, 2)
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    length = _MONTH_STARTS[month] - _MONTH_STARTS[month - 1] + (is_leap and month == 2)
    if not 1 <= day <= length or (octets[start + 10] != ord("T") and octets[start + 10] != ord(" ")):
        return none
    hour = _digits(octets, start + 11, 2)
    if not 0 <= hour <= 23 or octets[start + 13] != COLON:
        return none
    minute = _digits(octets, start + 14, 2)
    if not 0 <= minute <= 59 or octets[start + 16] != COLON:
        return none
    second = _digits(octets, start + 17, 2)
    if not 0 <= second <= 59:
        return none
    at = start + 19
    fraction, unit = 0, 1_000_000
    if octets[at] == POINT:
        at += 1
        digit = _digits(octets, at, 1)
        if digit < 0:
            return none
        while digit >= 0:
            unit //= 10
            fraction += digit * unit
            at += 1
            digit = _digits(octets, at, 1)
    offset = 0
    if octets[at] == ord("Z"):
        at += 1
    elif octets[at] == PLUS or octets[at] == MINUS:
        hours = _digits(octets, at + 1, 2)
        if not 0 <= hours <= _WIDEST_OFFSET or octets[at + 3] != COLON:
            return none
        minutes = _digits(octets, at + 4, 2)
        if not 0 <= minutes <= 59:
            return none
        offset = hours * 60 + minutes
        if octets[at] == MINUS:
            offset = -offset
        at += 6
    elif not may_lack_offset:
        return none
    before = year - 1
    leap_days = before // 4 - before // 100 + before // 400 + (is_leap and month > 2)
    days = before * 365 + leap_days + _MONTH_STARTS[month - 1] + day - 719_163  # the days of the years 1 to 1969, and 1
    seconds = (hour * 60 + minute) * 60 + second
    return Time(at, days * _MICROS_A_DAY + seconds * 1_000_000 + fraction - offset * _MICROS_A_MINUTE)


@compiled
def _digits(octets: Octets, start: int, count: int) -> int:
    """The number that `count` decimal digits write, -1 where there is something else."""
    number = 0
    for at in range(start, start + count):
        digit = octets[at] - np.uint8(ZERO)
        if digit > 9:
            return -1
        number = number * 10 + int(digit)
    return number

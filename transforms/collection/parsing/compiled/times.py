"""Times in ISO 8601: a calendar date, a time of day and an offset, in the extended or the basic form."""

from typing import Final, NamedTuple

import numpy as np

from transforms.collection.parsing.compiled import compiled, inlined
from transforms.collection.parsing.compiled.characters import COLON, COMMA, MINUS, PLUS, POINT, SPACE, TO_SMALL, ZERO
from transforms.collection.parsing.compiled.texts import trimmed
from transforms.record.arrays import Ints, Longs, Octets

NONE, LOCAL, INSTANT = range(3)
"""Not a time; a local time; a time with an offset."""

_MICROS_A_DAY: Final = 86_400_000_000
_MICROS_A_MINUTE: Final = 60_000_000
_WIDEST_OFFSET: Final = 18 * 60
"""In minutes: Java's limit too. No time zone was ever further from UTC than 16 hours."""
_MONTH_STARTS: Final = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365])


class Time(NamedTuple):
    """A time: its end; LOCAL, INSTANT or NONE; and the µs since the epoch, or since 1970 in local time."""

    end: int
    kind: int
    micros: int


@compiled
def read_usual_time(octets: Octets, start: int, may_lack_offset: bool) -> Time:
    """Reads the form of nearly all times, `2013-01-01T05:00:00.25+02:00` or `Z`; anything else is NONE here.

    The character after the time must end it, as a quote does.

    Args:
        may_lack_offset: whether a time without an offset is in UTC; otherwise it is NONE.
    """
    none = Time(start, NONE, 0)
    year = _number(octets, start, 4)
    if year < 0 or octets[start + 4] != MINUS:
        return none
    month = _number(octets, start + 5, 2)
    if not 1 <= month <= 12 or octets[start + 7] != MINUS:
        return none
    day = _number(octets, start + 8, 2)
    if not 1 <= day <= _length(year, month) or (octets[start + 10] != ord("T") and octets[start + 10] != ord(" ")):
        return none
    hour = _number(octets, start + 11, 2)
    if not 0 <= hour <= 23 or octets[start + 13] != COLON:
        return none
    minute = _number(octets, start + 14, 2)
    if not 0 <= minute <= 59 or octets[start + 16] != COLON:
        return none
    second = _number(octets, start + 17, 2)
    if not 0 <= second <= 59:
        return none
    at = start + 19
    fraction, unit = 0, 1_000_000
    if octets[at] == POINT:
        at += 1
        digit = _number(octets, at, 1)
        if digit < 0:
            return none
        while digit >= 0:
            unit //= 10
            fraction += digit * unit
            at += 1
            digit = _number(octets, at, 1)
    offset = 0
    if octets[at] == ord("Z"):
        at += 1
    elif octets[at] == PLUS or octets[at] == MINUS:
        hours = _number(octets, at + 1, 2)
        if not 0 <= hours < _WIDEST_OFFSET // 60 or octets[at + 3] != COLON:
            return none
        minutes = _number(octets, at + 4, 2)
        if not 0 <= minutes <= 59:
            return none
        offset = hours * 60 + minutes
        if octets[at] == MINUS:
            offset = -offset
        at += 6
    elif not may_lack_offset:
        return none
    micros = _days(year, month, day) * _MICROS_A_DAY + ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction
    return Time(at, INSTANT, micros - offset * _MICROS_A_MINUTE)


class _Parts(NamedTuple):
    """A date, a time of day, their end, and which parts they have. A part that is not a number is negative."""

    end: int
    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int
    has_hour: bool
    has_second: bool


@compiled
def read_time(octets: Octets, start: int, end: int) -> Time:
    """Reads the time that begins at `start` and ends at `end` at the latest; docs/records.md has the grammar.

    Fractions of a µs are cut off. Years are 0 to 9999.
    """
    none = Time(start, NONE, 0)
    parts = _parts(octets, start, end)
    year, month, hour, minute, second = parts.year, parts.month, parts.hour, parts.minute, parts.second
    if year < 0 or not 1 <= month <= 12 or not 0 <= hour <= 24 or not 0 <= minute <= 59 or not 0 <= second <= 59:
        return none
    if not 1 <= parts.day <= _length(year, month):
        return none
    at = parts.end
    fraction = rest = 0
    if parts.has_second and at < end and (octets[at] == POINT or octets[at] == COMMA):
        at += 1
        first, unit = at, 1_000_000
        while at < end:
            digit = octets[at] - np.uint8(ZERO)
            if digit > 9:
                break
            unit //= 10
            fraction += int(digit) * unit
            rest |= int(digit)
            at += 1
        if at == first:
            return none
    if hour == 24 and minute | second | rest:
        return none
    seconds = (hour * 60 + minute) * 60 + second
    micros = _days(year, month, parts.day) * _MICROS_A_DAY + seconds * 1_000_000 + fraction
    if at >= end or not parts.has_hour:
        return Time(at, LOCAL, micros)
    octet = octets[at]
    if octet | TO_SMALL == ord("z"):
        return Time(at + 1, INSTANT, micros)
    if octet != PLUS and octet != MINUS:
        return Time(at, LOCAL, micros)
    offset_end, offset = _offset(octets, at + 1, end)
    if offset < 0:
        return none
    return Time(offset_end, INSTANT, micros + (offset if octet == MINUS else -offset) * _MICROS_A_MINUTE)


@compiled
def _parts(octets: Octets, start: int, end: int) -> _Parts:
    """The parts of a time; in the extended form, a separator precedes each part but the first."""
    year = _digits(octets, start, 4, end)
    is_extended = start + 4 < end and octets[start + 4] == MINUS
    gap = 1 if is_extended else 0
    at = start + 4 + gap
    month, day = _digits(octets, at, 2, end), _digits(octets, at + 2 + gap, 2, end)
    if is_extended and month >= 0 and day >= 0 and octets[at + 2] != MINUS:
        day = -1
    at += 4 + gap
    if at >= end or (octets[at] | TO_SMALL != ord("t") and octets[at] != SPACE):
        return _Parts(at, year, month, day, 0, 0, 0, False, False)
    hour, minute, second = _digits(octets, at + 1, 2, end), 0, 0
    at += 3
    has_second = False
    if _has_part(octets, at, end, is_extended):
        minute = _digits(octets, at + gap, 2, end)
        at += 2 + gap
        has_second = _has_part(octets, at, end, is_extended)
        if has_second:
            second = _digits(octets, at + gap, 2, end)
            at += 2 + gap
    return _Parts(at, year, month, day, hour, minute, second, True, has_second)


@compiled
def _offset(octets: Octets, at: int, end: int) -> tuple[int, int]:
    """The end of the offset whose sign is before `at`, and its minutes; -1: not an offset."""
    hours, minutes = _digits(octets, at, 2, end), 0
    at += 2
    if at < end and octets[at] == COLON:
        minutes = _digits(octets, at + 1, 2, end)
        at += 3
    elif _digits(octets, at, 1, end) >= 0:
        minutes = _digits(octets, at, 2, end)
        at += 2
    offset = hours * 60 + minutes
    return at, (offset if hours >= 0 and 0 <= minutes <= 59 and offset <= _WIDEST_OFFSET else -1)


@compiled
def read_times(octets: Octets, bounds: Ints, micros: Longs, kinds: Octets) -> None:
    """Reads the texts between neighbouring `bounds`: LOCAL, INSTANT or NONE into `kinds`, and the µs of `Time`."""
    for row in range(len(kinds)):
        begin, end = trimmed(octets, bounds[row], bounds[row + 1])
        time = read_time(octets, begin, end)
        kinds[row] = time.kind if time.end == end else NONE
        micros[row] = time.micros


@inlined
def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


@inlined
def _length(year: int, month: int) -> int:
    """The days of a month."""
    return _MONTH_STARTS[month] - _MONTH_STARTS[month - 1] + (_is_leap(year) and month == 2)


@inlined
def _days(year: int, month: int, day: int) -> int:
    """The number of days from the epoch to a date."""
    before = year - 1
    leap_days = before // 4 - before // 100 + before // 400 + (_is_leap(year) and month > 2)
    return before * 365 + leap_days + _MONTH_STARTS[month - 1] + day - 719_163  # the days of the years 1 to 1969, and 1


@compiled
def _has_part(octets: Octets, at: int, end: int, is_extended: bool) -> bool:
    """Whether the time of day continues with minutes or seconds, valid or not."""
    if is_extended:
        return at < end and octets[at] == COLON
    return _digits(octets, at, 1, end) >= 0


@compiled
def _digits(octets: Octets, start: int, count: int, end: int) -> int:
    """The number that `count` decimal digits write; -1 if they are something else, or the text ends."""
    return _number(octets, start, count) if start + count <= end else -1


@compiled
def _number(octets: Octets, start: int, count: int) -> int:
    """The number that `count` decimal digits write; -1 if they are something else."""
    number = 0
    for at in range(start, start + count):
        digit = octets[at] - np.uint8(ZERO)
        if digit > 9:
            return -1
        number = number * 10 + int(digit)
    return number

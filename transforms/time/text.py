"""Reads a single time by the grammar of docs/records.md: ISO 8601, a calendar date and a time of day.

`transforms.collection.parsing.compiled.times` reads columns of such texts by the same grammar.
"""

import re
from datetime import datetime, timedelta, timezone
from typing import Final, NamedTuple

from transforms.specification import microseconds


def _form(dash: str, colon: str) -> re.Pattern[str]:
    two = "([0-9]{2})"
    clock = f"{two}(?:{colon}{two}(?:{colon}{two}(?:[.,]([0-9]+))?)?)?"
    offset = "([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?"
    return re.compile(rf"[ \t\r\n]*([0-9]{{4}}){dash}{two}{dash}{two}(?:[Tt ]{clock}{offset})?[ \t\r\n]*")


_EXTENDED: Final = _form("-", ":")
_BASIC: Final = _form("", "")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_WIDEST_OFFSET: Final = timedelta(hours=18)


class WrittenTime(NamedTuple):
    """The µs since the epoch of a time, read in UTC if it has no offset, and whether it has one."""

    micros: int
    has_offset: bool


def read_time_text(text: str) -> WrittenTime | None:
    """The time that a text writes, or None; fractions of a µs are cut off.

    >>> read_time_text("1970-01-01T01:00:00.5+01:00")
    WrittenTime(micros=500000, has_offset=True)
    >>> read_time_text("19700102")
    WrittenTime(micros=86400000000, has_offset=False)
    >>> read_time_text("1970-02-30")
    """
    match = _EXTENDED.fullmatch(text) or _BASIC.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.group(1, 2, 3, 4, 5, 6))
    fraction, offset = match[7] or "", match[8] or ""
    ends_a_day = hour == 24
    if ends_a_day and (minute or second or fraction.strip("0")):
        return None
    try:
        # Year 0 has the calendar of year 400; Python's begins with year 1.
        moment = datetime(year or 400, month, day, 0 if ends_a_day else hour, minute, second, tzinfo=timezone.utc)
    except ValueError:
        return None
    micros = microseconds(moment - _EPOCH) + int(fraction.ljust(6, "0")[:6])
    if not year:
        micros -= microseconds(timedelta(days=146_097))
    if ends_a_day:
        micros += microseconds(timedelta(days=1))
    if offset in ("", "Z", "z"):
        return WrittenTime(micros, bool(offset))
    minutes = int(offset[-2:]) if len(offset) > 3 else 0
    ahead = timedelta(hours=int(offset[1:3]), minutes=minutes)
    if minutes > 59 or ahead > _WIDEST_OFFSET:
        return None
    return WrittenTime(micros + (-1 if offset[0] == "+" else 1) * microseconds(ahead), True)

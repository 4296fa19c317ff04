"""The documented rules for what a text may be as a value, once more and slowly: by Decimal, float and datetime."""

import re
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from math import isinf
from typing import Any, Final

BLANKS: Final = " \t\r\n"
NUMBER: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE]([+-]?[0-9]+))?")
NO_NUMBERS: Final = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE | re.ASCII)
FORMS: Final = (
    re.compile(r"(\d{4})-(\d\d)-(\d\d)([Tt ](\d\d)(:(\d\d)(:(\d\d)([.,](\d+))?)?)?(.*))?", re.ASCII),
    re.compile(r"(\d{4})(\d\d)(\d\d)([Tt ](\d\d)((\d\d)((\d\d)([.,](\d+))?)?)?(.*))?", re.ASCII),
)
OFFSET: Final = re.compile(r"([+-])(\d\d)(:?(\d\d))?", re.ASCII)
CYCLE: Final = timedelta(days=146_097)
"""The calendar repeats after 400 years."""
EPOCH: Final = datetime(1970, 1, 1)


class Refused(Exception):
    """A text that its column does not take, and why."""


def value_of(text: str, kind: str) -> Any:
    """The value that a text is in a column of `kind`; a time without an offset is read in UTC.

    Raises:
        Refused: `wrong_type` or `out_of_range`.
    """
    if kind == "string":
        if "\0" in text:
            raise Refused("out_of_range")
        return text
    text = text.strip(BLANKS)
    return _time(text) if kind == "timestamp" else _number(text, kind)


def _number(text: str, kind: str) -> Any:
    if text.lower() in ("true", "false") and text.isascii():
        return {"int64": int, "float64": float, "bool": bool}[kind](text.lower() == "true")
    if NO_NUMBERS.fullmatch(text):
        raise Refused("out_of_range")
    match = NUMBER.fullmatch(text)
    if match is None:
        raise Refused("wrong_type")
    # Decimal knows exponents of 18 digits; a few thousand are as far away.
    power = max(-9_999, min(int(match[4] or 0), 9_999))
    nearest, exact = float(text), Decimal(f"{text[: match.end(1)]}e{power}")
    if kind != "int64" and isinf(nearest):
        raise Refused("out_of_range")
    if kind == "float64":
        return nearest
    if kind == "bool":
        if exact not in (0, 1):
            raise Refused("wrong_type")
        return exact == 1
    if exact and exact.adjusted() > 30:
        raise Refused("out_of_range")
    whole = int(exact) if not exact or exact.adjusted() >= 0 else 0
    if not -(2**63) <= whole < 2**63:
        raise Refused("out_of_range")
    if whole != exact:
        raise Refused("wrong_type")
    return whole


def _time(text: str) -> datetime:
    match = FORMS[0].fullmatch(text) or FORMS[1].fullmatch(text)
    if match is None:
        raise Refused("wrong_type")
    year, month, day, hour, minute, second = (int(match[group] or 0) for group in (1, 2, 3, 5, 7, 9))
    fraction = match[11] or "0"
    if hour > 24 or (hour == 24 and (minute or second or int(fraction))):
        raise Refused("wrong_type")
    try:
        # Four hundred years and more are added, so that no offset leads out of Python's calendar.
        shown = datetime(year % 400 + 2000, month, day, hour % 24, minute, second, int(fraction[:6].ljust(6, "0")))
    except ValueError:
        raise Refused("wrong_type") from None
    instant = shown + timedelta(days=hour == 24) - _offset(match[12] or "")
    micros = (instant - EPOCH + CYCLE * (year // 400 - 5)) // timedelta(microseconds=1)
    first, beyond = ((datetime(year, 1, 1) - EPOCH) // timedelta(microseconds=1) for year in (2, 9998))
    if not first <= micros < beyond:
        raise Refused("out_of_range")
    return (EPOCH + timedelta(microseconds=micros)).replace(tzinfo=timezone.utc)


def _offset(text: str) -> timedelta:
    if text in ("", "Z", "z"):
        return timedelta(0)
    match = OFFSET.fullmatch(text)
    if match is None:
        raise Refused("wrong_type")
    ahead = timedelta(hours=int(match[2]), minutes=int(match[4] or 0))
    if int(match[4] or 0) > 59 or ahead > timedelta(hours=18):
        raise Refused("wrong_type")
    return ahead if match[1] == "+" else -ahead

"""Time zones: their local times, from one database for reading times and for dividing event time into windows.

The database is IANA's, from the package `tzdata`. The system's database is never used, nor that of the embedded
engine: databases of different versions would read a time by one rule and divide its day by another.

Source: RFC 8536, "The Time Zone Information Format (TZif)", and the rule for later years that its footer takes from
POSIX.
"""

import re
import struct
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator

from transforms.record.arrays import Longs

_SECOND: Final = 1_000_000
_DAY: Final = 86_400
_BEYOND_TIME: Final = 400_000_000_000
"""Seconds from the epoch beyond every year that we support."""
_LAST_YEAR: Final = 9999
_HEADER: Final = struct.Struct(">4sc15x6l")
_KIND: Final = np.dtype([("offset", ">i4"), ("is_summer", "u1"), ("name", "u1")])
_NOT_A_PLACE: Final = frozenset({"Factory"})
"""The database's name for a clock that was never set."""

_NAME: Final = r"(?:<[^>]+>|[A-Za-z]+)"
_HOURS: Final = r"[+-]?[0-9]+(?::[0-9]+){0,2}"
_RULE: Final = re.compile(rf"{_NAME}({_HOURS})(?:{_NAME}({_HOURS})?,([^,]+),([^,]+))?")


class Zone:
    """A clock: its offsets from UTC, and when they change.

    Args:
        changes: when the offset changes, in µs since the epoch, increasing.
        offsets: µs ahead of UTC: before the first change, and from each change on.
    """

    def __init__(self, changes: Longs, offsets: Longs):
        self._changes = changes
        self._offsets = offsets
        # The local time at a change: by the old offset, and by the new one.
        self._old = changes + offsets[:-1]
        self._new = changes + offsets[1:]

    def shown(self, instants: Longs) -> Longs:
        """The local times at these instants: µs since 1970 in local time."""
        return instants + self._offsets[_entries(self._changes, instants)]

    def read(self, shown: Longs) -> Longs:
        """The instants of local times: of a local time that occurs twice, the second.

        A local time that the clock skips is shifted forward by the length of the gap.
        """
        return shown - self._offsets[_entries(self._new, shown)]

    def first(self, shown: Longs) -> Longs:
        """The first instants at which the local time is at least this: for a skipped time, that of the jump."""
        entries = _entries(self._old, shown)
        instants = shown - self._offsets[entries]
        if len(self._changes):
            jumps = np.where(entries > 0, self._changes[entries - 1], instants)
            instants = np.maximum(instants, jumps)
        return instants


def _entries(switches: Longs, times: Longs) -> npt.NDArray[np.intp]:
    """The number of switches before each time. A batch spans few of them, and only those are searched."""
    if not len(times):
        return np.empty(0, np.intp)
    first, last = np.searchsorted(switches, np.array([times.min(), times.max()]), side="right").tolist()
    if first == last:
        return np.full(len(times), first, np.intp)
    return first + np.searchsorted(switches[first:last], times, side="right")


@cache
def zone_names() -> frozenset[str]:
    """The names of all zones."""
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()) - _NOT_A_PLACE


def database_version() -> str:
    """The version of the time zone database, in IANA's form, such as `2025b`."""
    return str(import_module("tzdata").IANA_VERSION)


def known_zone(name: str) -> str:
    """The name, if the IANA database has it; ValueError otherwise."""
    if name not in zone_names():
        raise ValueError("must be a time zone of the IANA database, such as Europe/Berlin")
    return name


TimeZone = Annotated[str, AfterValidator(known_zone)]


@cache
def zone(name: str) -> Zone:
    """The zone with this name.

    Raises:
        ValueError: if the database does not have it.
    """
    return _zone(files("tzdata").joinpath("zoneinfo", *known_zone(name).split("/")).read_bytes())


def _zone(data: bytes) -> Zone:
    """The zone in a file of the database, with its last rule applied to all later years."""
    _, _, in_utc, standard, leaps, times, kinds, letters = _HEADER.unpack_from(data)
    # The first part is for readers that support only 32 bits.
    at = _HEADER.size + 5 * times + 6 * kinds + letters + 8 * leaps + standard + in_utc
    _, _, in_utc, standard, leaps, times, kinds, letters = _HEADER.unpack_from(data, at)
    at += _HEADER.size
    changes = np.frombuffer(data, ">i8", times, at).clip(-_BEYOND_TIME, _BEYOND_TIME).astype(np.int64)
    which = np.frombuffer(data, np.uint8, times, at + 8 * times)
    at += 9 * times
    offsets = np.frombuffer(data, _KIND, kinds, at)["offset"].astype(np.int64)
    footer = data[at + 6 * kinds + letters + 12 * leaps + standard + in_utc :].strip().decode("ascii")
    later = list(_later(footer, int(changes[-1]) if times else None))
    return Zone(
        np.concatenate([changes, np.array([change for change, _ in later], np.int64)]) * _SECOND,
        np.concatenate([offsets[:1], offsets[which], np.array([offset for _, offset in later], np.int64)]) * _SECOND,
    )


def _later(rule: str, last: int | None) -> Iterator[tuple[int, int]]:
    """The changes by the rule after the last listed one, and the offset from each on, in seconds."""
    match = _RULE.fullmatch(rule)
    if match is None or match[3] is None:
        return
    standard = -_seconds(match[1])
    summer = -_seconds(match[2]) if match[2] else standard + 3_600
    begins, ends = (_moments(match[group]) for group in (3, 4))
    for change, offset in sorted(
        [(begin - standard, summer) for begin in begins] + [(end - summer, standard) for end in ends]
    ):
        if last is None or change > last:
            yield change, offset


def _moments(rule: str) -> list[int]:
    """When a rule such as `M3.2.0/2` applies in every year, in local time, in seconds since 1970."""
    day, _, hours = rule.partition("/")
    years = np.arange(1, _LAST_YEAR + 1)
    if day[0] == "M":
        month, week, weekday = (int(part) for part in day[1:].split("."))
        months = (years - 1970) * 12 + month - 1
        first, following = (_days(months + more) for more in (0, 1))
        days = first + (weekday - (first + 4)) % 7 + 7 * (week - 1)  # the epoch was a Thursday
        days -= np.where(days >= following, 7, 0)
    else:
        days = _days((years - 1970) * 12) + int(day.lstrip("J"))
        if day[0] == "J":  # counted from 1, as if there were no 29 February
            is_leap = (years % 4 == 0) & ((years % 100 != 0) | (years % 400 == 0))
            days += np.where(is_leap & (int(day[1:]) >= 60), 0, -1)
    moments: list[int] = (days * _DAY + _seconds(hours or "2")).tolist()
    return moments


def _days(months: Longs) -> Longs:
    """The first days of months since 1970, as days since 1970."""
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)


def _seconds(hours: str) -> int:
    """`-3:30` as seconds."""
    parts = [int(part) for part in hours.lstrip("+-").split(":")]
    seconds = sum(part * size for part, size in zip(parts, (3_600, 60, 1), strict=False))
    return -seconds if hours.startswith("-") else seconds

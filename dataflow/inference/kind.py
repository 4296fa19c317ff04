"""The form of a single value, and the column type for values of such forms.

The rules are those of the job file ("Values"): a value is converted if nothing is lost, so a column gets the narrowest
type that loses nothing, and `string` if any doubt remains.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Literal

from transforms.specification import ColumnType
from transforms.time.event_time import EARLIEST, LATEST
from transforms.time.text import read_time_text

NumericType = Literal["int64", "float64"]

TOLERATED_MISFITS: Final = 0.01
"""The share of values that may contradict a type: a few dead letters, as in every real file.
Above this share the contradiction is the rule in the column and not the exception."""

FEWEST_VALUES_TO_TOLERATE: Final = 100
"""In a smaller sample, a single contradiction already exceeds the tolerated share."""

NULL_MARKERS: Final = frozenset(
    {"NA", "N/A", "n/a", "#N/A", "na", "NULL", "null", "Null", "None", "none", "nil", "NaN", "nan", "\\N", "-", "--"}
)
"""What R, pandas, MySQL, spreadsheets and people write for a missing value."""

_INT64: Final = range(-(2**63), 2**63)
_EXACT_IN_FLOAT64: Final = 2**53
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
_NUMBER: Final = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_PADDED: Final = re.compile(r"-?0[0-9][0-9.]*")


class Kind(Enum):
    """The written form of a value, as far as it decides the type."""

    NULL = auto()
    BOOL = auto()
    INTEGER = auto()
    WIDE_INTEGER = auto()
    """An int64 that a float64 cannot hold exactly."""
    FRACTION = auto()
    """Written with a fraction or an exponent, such as 1.0: the next record may well have 1.5."""
    QUOTED_INTEGER = auto()
    QUOTED_FRACTION = auto()
    PADDED = auto()
    """Digits after a leading zero: a postcode, not a number."""
    BEYOND = auto()
    """A number that fits neither int64 nor float64."""
    TIME = auto()
    DAY = auto()
    MARKER = auto()
    TEXT = auto()
    NESTED = auto()


def instant_of(text: str) -> int | None:
    """The µs since the epoch of an ISO 8601 date or date-time, read in UTC if it is naive; None for other text.

    >>> instant_of("1970-01-01T01:00:00.5+01:00"), instant_of("1970-01-02"), instant_of("1970-02-30")
    (500000, 86400000000, None)
    """
    time = read_time_text(text)
    return time.micros if time is not None and EARLIEST <= time.micros < LATEST else None


def kind_of_csv(text: str) -> Kind:
    """The kind of a CSV field: without quotes, a field that looks like a number is one.

    >>> kind_of_csv("00501"), kind_of_csv(" 1e3"), kind_of_csv("")
    (<Kind.PADDED: 8>, <Kind.FRACTION: 5>, <Kind.NULL: 1>)
    """
    if not text:
        return Kind.NULL
    if text.lower() in ("true", "false"):
        return Kind.BOOL
    text = text.strip(" ")  # a comma is often followed by one
    if _INTEGER.fullmatch(text):
        # Longer than any int64; int() raises another error for thousands of digits.
        return _kind_of_integer(int(text)) if len(text) <= 20 else Kind.BEYOND
    if _NUMBER.fullmatch(text):
        return Kind.FRACTION if math.isfinite(float(text)) else Kind.BEYOND
    if _PADDED.fullmatch(text):
        return Kind.PADDED
    if instant_of(text) is not None:
        return Kind.DAY if len(text) == 10 else Kind.TIME
    return Kind.MARKER if text in NULL_MARKERS else Kind.TEXT


_QUOTED: Final = {
    Kind.NULL: Kind.TEXT,  # in JSON an empty string is a value
    Kind.BOOL: Kind.TEXT,
    Kind.INTEGER: Kind.QUOTED_INTEGER,
    Kind.WIDE_INTEGER: Kind.QUOTED_INTEGER,
    Kind.FRACTION: Kind.QUOTED_FRACTION,
    Kind.BEYOND: Kind.TEXT,
}


def kind_of_json(value: object) -> Kind:
    """The kind of a parsed JSON value: the writer distinguished texts from numbers."""
    match value:
        case None:
            return Kind.NULL
        case bool():
            return Kind.BOOL
        case int():
            return _kind_of_integer(value)
        case float():
            return Kind.FRACTION if math.isfinite(value) else Kind.BEYOND
        case str():
            kind = kind_of_csv(value)
            return _QUOTED.get(kind, kind)
        case _:
            return Kind.NESTED


def _kind_of_integer(value: int) -> Kind:
    if value not in _INT64:
        return Kind.BEYOND
    return Kind.INTEGER if abs(value) <= _EXACT_IN_FLOAT64 else Kind.WIDE_INTEGER


@dataclass(frozen=True, slots=True)
class Verdict:
    """The type of a column, how many of its values contradict it, and the type that null markers hide.

    `type` is None for a column of objects or arrays. `behind_markers` is the numeric type that the column would have
    if its null markers were nulls.
    """

    type: ColumnType | None
    misfits: int = 0
    behind_markers: NumericType | None = None


def settle(kinds: Mapping[Kind, int]) -> Verdict:
    """Finds the type of a column from the number of values of each kind (nulls do not matter).

    >>> settle({Kind.INTEGER: 5, Kind.FRACTION: 1}).type
    'float64'
    >>> settle({Kind.FRACTION: 5, Kind.MARKER: 2})
    Verdict(type='string', misfits=0, behind_markers='float64')
    """
    seen: Counter[Kind] = Counter(kinds)
    del seen[Kind.NULL]
    total = seen.total()
    if seen[Kind.NESTED] and not _is_tolerable(seen[Kind.NESTED], total):
        return Verdict(None)
    fitting = _fits(seen)
    best = max(fitting, key=lambda name: fitting[name])  # the first of equals: int64 before float64
    misfits = total - fitting[best]
    unmarked = misfits - seen[Kind.MARKER]
    if not fitting[best] or seen[Kind.PADDED] or (unmarked and not _is_tolerable(unmarked, total)):
        return Verdict("string", seen[Kind.NESTED])
    if not seen[Kind.MARKER]:
        return Verdict(best, misfits)
    # A misfit is an accident and becomes a dead letter; a marker is a spelling of null and is kept.
    if best in ("int64", "float64"):
        return Verdict("string", seen[Kind.NESTED], best)
    return Verdict(best, misfits) if _is_tolerable(misfits, total) else Verdict("string", seen[Kind.NESTED])


def _fits(seen: Counter[Kind]) -> dict[ColumnType, int]:
    """How many of the values fit each type without loss."""
    integers = seen[Kind.INTEGER]
    fractions = seen[Kind.INTEGER] + seen[Kind.FRACTION]
    quoted = seen[Kind.QUOTED_INTEGER] + seen[Kind.QUOTED_FRACTION]
    # Numbers in quotes are text, unless only some numbers are quoted: then they are converted.
    if fractions + seen[Kind.WIDE_INTEGER] >= max(quoted, 1):
        integers += seen[Kind.QUOTED_INTEGER]
        fractions += quoted
    return {
        "bool": seen[Kind.BOOL],
        "int64": integers + seen[Kind.WIDE_INTEGER],
        "float64": fractions,
        # A column of dates alone stays text: `timestamp` is for values with a clock time.
        "timestamp": seen[Kind.TIME] + seen[Kind.DAY] if seen[Kind.TIME] else 0,
    }


def _is_tolerable(misfits: int, total: int) -> bool:
    return total >= FEWEST_VALUES_TO_TOLERATE and misfits <= total * TOLERATED_MISFITS

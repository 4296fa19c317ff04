"""Finds the column that says when an event happened, and the span of time of the events."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from dataflow.errors import InferenceError
from dataflow.inference.column_names import IDENTIFIERS, OTHER_TIMES, STRONG_KEYS, TIMES, USUAL_TIMES
from dataflow.inference.kind import instant_of
from dataflow.inference.sample import Sample, SampledColumn
from transforms.specification import ColumnType

Form = Literal["iso8601", "s", "ms", "us", "ns"]

_PER_SECOND: Final[dict[Form, int]] = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_YEAR_1990: Final = 631_152_000
_YEAR_2100: Final = 4_102_444_800
"""In seconds. In another unit, the same years are different numbers, so a value fits at most one unit."""

_MICROS_PER_DAY: Final = 86_400_000_000

FEWEST_TIMED: Final = 0.8
"""A record without an event time is a dead letter, so a column that many records lack is unsuitable."""

_NUMBER: Final = re.compile(r"[0-9]{1,19}(?:\.[0-9]*)?(?:[eE]\+?[0-9]{1,2})?")


@dataclass(frozen=True, slots=True)
class TimeCandidate:
    """A column read as event time: its form, its type, and the µs since the epoch of each record (or None)."""

    column: SampledColumn
    form: Form
    type: ColumnType
    instants: Sequence[int | None]
    score: float
    days_only: bool = False

    @property
    def missing(self) -> int:
        """How many records of the sample have no event time."""
        return sum(instant is None for instant in self.instants)

    @property
    def is_guess(self) -> bool:
        """Whether only the values suggest it: numbers that could be times, in a column whose name does not say so."""
        return self.form != "iso8601" and _name_score(self.column) <= 0


def rank_event_times(sample: Sample) -> list[TimeCandidate]:
    """The columns that can be the event time, the most likely first.

    Raises:
        InferenceError: there is none.
    """
    readings = [reading for column in sample.columns if (reading := read_times(column)) is not None]
    if not readings:
        raise InferenceError(
            "no column is usable as event time: none holds timestamps, ISO 8601 text such as 2024-03-01T12:00:00Z,"
            f" or seconds, ms, µs or ns since 1970 in at least {FEWEST_TIMED:.0%} of the records"
        )
    return sorted(readings, key=lambda reading: -reading.score)  # stable: of equals the first column wins


def read_times(column: SampledColumn) -> TimeCandidate | None:
    """Reads a column as event time; None if it is not one."""
    if not column.present or column.present < FEWEST_TIMED * len(column.cells):
        return None
    if column.type in ("timestamp", "string"):
        return _read_text_or_timestamps(column)
    if column.type in ("int64", "float64"):
        return _read_numbers(column, column.type, 1)
    return None


def _read_text_or_timestamps(column: SampledColumn) -> TimeCandidate | None:
    texts = [cell for cell in column.cells if isinstance(cell, str)]
    # The file's timestamps are in µs; a number among texts is a stray value.
    instants = [instant_of(cell) if isinstance(cell, str) else None if texts else cell for cell in column.cells]
    if column.type == "string" and not any(instant is not None for instant in instants):
        # Some writers quote every number; text converts to a number as long as it is one.
        numbers = [_number(text) for text in texts]
        if None in numbers and column.behind_markers is None:
            return None
        whole = all(number is None or isinstance(number, int) for number in numbers)
        return _read_numbers(column, "int64" if whole else "float64", 0)
    if not _is_enough(instants):
        return None
    # If another column has a clock time, a date is the date of something else, or a copy for partitions.
    days_only = (
        all(len(text) == 10 for text in texts)
        if texts
        else all(instant is None or instant % _MICROS_PER_DAY == 0 for instant in instants)
    )
    score = _name_score(column) + 2 - 7 * days_only - _doubt(instants)
    return TimeCandidate(column, "iso8601", "timestamp", instants, score, days_only)


def _read_numbers(column: SampledColumn, kind: ColumnType, score: float) -> TimeCandidate | None:
    name = _name_score(column)
    if name <= 0 and not (IDENTIFIERS | STRONG_KEYS).isdisjoint(column.words):
        return None
    numbers = [_number(cell) for cell in column.cells]
    present = [number for number in numbers if number is not None]
    for unit, per_second in _PER_SECOND.items():
        low, high = _YEAR_1990 * per_second, _YEAR_2100 * per_second
        if sum(low <= number < high for number in present) >= 0.95 * len(present):
            instants = [
                _to_micros(number, per_second) if number is not None and low <= number < high else None
                for number in numbers
            ]
            if not _is_enough(instants):
                return None
            guess = 3 if name <= 0 else 0
            return TimeCandidate(column, unit, kind, instants, name + score - guess - _doubt(instants))
    return None


def _number(cell: object) -> int | float | None:
    """The number in a cell, also as text."""
    match cell:
        case bool():
            return None
        case int() | float():
            return cell
        case str() if _NUMBER.fullmatch(cell):
            return int(cell) if cell.isdigit() else float(cell)
    return None


def _to_micros(number: float, per_second: int) -> int:
    if isinstance(number, int):
        return number * 1_000_000 // per_second
    return round(number * 1_000_000 / per_second)


def _is_enough(instants: Sequence[int | None]) -> bool:
    return sum(instant is not None for instant in instants) >= FEWEST_TIMED * len(instants) > 0


def _name_score(column: SampledColumn) -> int:
    words = column.words
    score = 0
    if "_".join(words) in USUAL_TIMES:
        score = 6
    elif not TIMES.isdisjoint(words):
        score = 4
    return score - 3 * (not OTHER_TIMES.isdisjoint(words))


def _doubt(instants: Sequence[int | None]) -> int:
    known = [instant for instant in instants if instant is not None]
    missing = len(known) < 0.99 * len(instants)
    constant = len(known) > 1 and len(set(known)) == 1  # the day of an export, say
    return 2 * missing + 3 * constant


def span(event_time: TimeCandidate, sample: Sample) -> int:
    """The µs from the first event of the whole input to the last, estimated if only a part of it was read.

    Half a per cent of the times at either end is ignored: one wrong clock must not turn a day into a century.
    """
    per_second = _PER_SECOND.get(event_time.form, 1_000_000)
    low, high = event_time.column.bounds or (0, 0)
    if event_time.column.bounds and _YEAR_1990 * per_second <= low <= high < _YEAR_2100 * per_second:
        return _to_micros(high - low, per_second)
    reaches: list[tuple[int, int]] = []
    start = 0
    for part in sample.parts:
        known = [instant for instant in event_time.instants[start : start + part.records] if instant is not None]
        start += part.records
        if known:
            low, high = _reach(known)
            early_low, early_high = _reach(known[: (len(known) + 1) // 2])
            # Half of ordered records reach half as far: then the unread part is later.
            in_order = high - low > 1.5 * (early_high - early_low)
            reaches.append((low, low + round((high - low) * (part.scale if in_order else 1.0))))
    if not reaches:
        return 0
    return max(high for _, high in reaches) - min(low for low, _ in reaches)


def resolution(event_time: TimeCandidate) -> int:
    """The greatest interval, in µs, of which all differences of sampled event times are multiples; 0 if all are equal.

    A shorter window could hold at most one instant.
    """
    known = [instant for instant in event_time.instants if instant is not None]
    return math.gcd(*(instant - known[0] for instant in known))


def _reach(instants: Sequence[int]) -> tuple[int, int]:
    ordered = sorted(instants)
    cut = len(ordered) // 200
    return ordered[cut], ordered[-1 - cut]

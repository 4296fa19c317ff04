"""Values: how the value of a field becomes the value of a column, the same way in every format.

A value is converted if nothing is lost: a number written as text, 1.0 for an integer, a number or true/false for
text, true/false for 1/0 and 1/0 for true/false. Our own grammar, in docs/records.md, and not a library's, says which
texts write a number, a boolean or a time. A value that cannot be converted is refused for a reason: `wrong_type`, or
`out_of_range` for NaN, infinities, overflow and U+0000.

A time without an offset is read as local time in the event time's zone: of a local time that occurs twice, the second
is meant, and a local time that the clock skips is shifted forward by the length of the gap.
"""

from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.record.arrays import Bools, Ints, Octets
from transforms.record.batch import ARROW
from transforms.record.dead_letter import shown
from transforms.specification import ColumnType
from transforms.time.event_time import EARLIEST, LATEST, TIMESTAMP
from transforms.time.zone import zone

Why: TypeAlias = tuple[str, str]
"""The reason for which a record is refused, and a detail."""
Refusals: TypeAlias = dict[int, Why]
"""By record, counted from the first of its block."""


@dataclass(frozen=True, slots=True)
class Converted:
    """A column's values, null where a value was null or refused, and the refused rows."""

    values: pa.Array
    refused: Refusals = field(default_factory=dict)


_NOUNS: Final = {
    "int64": "an int64",
    "float64": "a float64",
    "bool": "a bool",
    "timestamp": "an ISO 8601 calendar date and time",
    "string": "a string",
}


def from_text(texts: pa.Array, kind: ColumnType, column: str, time_zone: str = "UTC") -> Converted:
    """Converts texts (null stays null) to a column of `kind`; a time without an offset is read in `time_zone`."""
    if kind == "string":
        values, beyond = _without_zeros(texts)
    elif kind == "timestamp":
        values, beyond = _times(texts, time_zone)
    else:
        values, beyond = _numbers(texts, kind)
    return Converted(values, _refusals(column, kind, texts, values, beyond))


def _without_zeros(texts: pa.Array) -> tuple[pa.Array, Bools]:
    octets, _ = _written(texts)
    if octets.all():
        return texts, np.empty(0, np.bool_)
    holds_zero = pc.match_substring(texts, "\0")
    return pc.if_else(holds_zero, pa.scalar(None, pa.string()), texts), np.ones(len(texts), np.bool_)


def _times(texts: pa.Array, time_zone: str) -> tuple[pa.Array, Bools]:
    """Texts as times, and the texts with a time in a year that event times may not have."""
    # Importing the compiler takes half a second and 125 MB, which jobs on Parquet need not spend.
    from transforms.collection.parsing.compiled import times

    micros, kinds = np.empty(len(texts), np.int64), np.empty(len(texts), np.uint8)
    times.read_times(*_written(texts), micros, kinds)
    is_local = kinds == times.LOCAL
    if time_zone != "UTC" and is_local.any():
        micros[is_local] = zone(time_zone).read(micros[is_local])
    is_time = kinds != times.NONE
    is_good = is_time & (micros >= EARLIEST) & (micros < LATEST)
    return _array(micros, is_good, texts).view(ARROW["timestamp"]), is_time


def _numbers(texts: pa.Array, kind: ColumnType) -> tuple[pa.Array, Bools]:
    """Texts as numbers or booleans, and the numbers that are out of range."""
    from transforms.collection.parsing.compiled import columns, numbers

    kinds = {"int64": columns.INT64, "float64": columns.FLOAT64, "bool": columns.BOOL}
    longs, verdicts = np.empty(len(texts), np.int64), np.empty(len(texts), np.uint8)
    floats = longs.view(np.float64)
    numbers.read_numbers(*_written(texts), kinds[kind], longs, floats, verdicts)
    unsure = np.flatnonzero(verdicts == numbers.UNSURE)
    if len(unsure):
        # These are known to be numbers; Python converts them with all their digits.
        exact = np.array([float(text or 0) for text in texts.take(pa.array(unsure)).to_pylist()])
        verdicts[unsure] = np.where(np.isinf(exact), numbers.OUT_OF_RANGE, numbers.WRONG_TYPE)
        if kind == "float64":
            floats[unsure] = exact
            verdicts[unsure[np.isfinite(exact)]] = numbers.TAKEN
    given = {"int64": longs, "float64": floats, "bool": longs.view(np.bool_)[::8]}[kind]
    return _array(given, verdicts == numbers.TAKEN, texts), verdicts == numbers.OUT_OF_RANGE


def _written(texts: pa.Array) -> tuple[Octets, Ints]:
    """The octets of texts, with the start of each and the end of the last; those of a null text have no meaning."""
    _, bounds, octets = texts.buffers()
    first, last = texts.offset, texts.offset + len(texts) + 1
    if bounds is None or not bounds.size:
        return np.empty(0, np.uint8), np.zeros(1, np.int32)
    written = np.frombuffer(octets, np.uint8) if octets is not None else np.empty(0, np.uint8)
    return written, np.frombuffer(bounds, np.int32)[first:last]


def _array(values: npt.NDArray[Any], is_good: Bools, texts: pa.Array) -> pa.Array:
    """Values, null where they are not good or the text was null."""
    if texts.null_count:
        is_good = is_good & _is_valid(texts)
    return pa.array(values, mask=None if is_good.all() else ~is_good)


def _is_valid(values: pa.Array) -> Bools:
    flags: Bools = values.is_valid().to_numpy(zero_copy_only=False)
    return flags


def _refusals(column: str, kind: ColumnType, texts: pa.Array, values: pa.Array, beyond: Bools) -> Refusals:
    """The reasons for which non-null texts have no value."""
    if values.null_count == texts.null_count:
        return {}
    rows = np.flatnonzero(_is_valid(texts) & ~_is_valid(values))
    written = zip(rows.tolist(), texts.take(pa.array(rows)).to_pylist(), beyond[rows].tolist(), strict=True)
    return {row: refusal(column, kind, text, out_of_range=is_beyond) for row, text, is_beyond in written}


def refusal(column: str, kind: ColumnType, value: object, *, out_of_range: bool) -> Why:
    """The reason and the detail for a value that cannot become one of `kind`."""
    if not out_of_range:
        return "wrong_type", f"{column}: {shown(value)} is not {_NOUNS[kind]}"
    if kind == "string":
        return "out_of_range", f"{column}: {shown(value)} holds U+0000"
    return "out_of_range", f"{column}: {shown(value)} is beyond {_NOUNS[kind]}"


_UNITS: Final = {"s": (1_000_000, 1), "ms": (1_000, 1), "us": (1, 1), "ns": (1, 1_000)}
"""How many µs a unit is, and how many of the unit a µs is."""


def event_time_bounds(unit: str) -> tuple[int, int]:
    """The range [first, second) of event times in `unit` since the epoch, as int64 holds them."""
    per_unit, shrink = _UNITS[unit]
    bounds = np.iinfo(np.int64)  # nanoseconds since the year 2 are beyond it
    return max(EARLIEST * shrink // per_unit, bounds.min), min(LATEST * shrink // per_unit, bounds.max)


def missing(name: str, kind: ColumnType) -> Why:
    """The reason and the detail for a null in a column that does not allow it."""
    return "missing_field", f"{name} is missing or null, and is not {kind}?"


def outside_of_time(column: str, value: object) -> Why:
    """The reason and the detail for a number that is not a valid event time."""
    return "bad_event_time", f"{column}: {shown(value)} lies outside the years 2 to 9997"


def event_times(values: pa.Array, unit: str | None, column: str) -> Converted:
    """A column without nulls as timestamp[us, UTC].

    Args:
        values: timestamps, or numbers in `unit` (s, ms, us, ns) since the epoch; fractions of a µs are cut off.
    """
    if unit is None:
        plain = values.cast(pa.int64()).to_numpy(zero_copy_only=False)
        good = (plain >= EARLIEST) & (plain < LATEST)
        instants = plain
    else:
        numbers = values.to_numpy(zero_copy_only=False)
        per_unit, shrink = _UNITS[unit]
        begin, end = event_time_bounds(unit)
        good = (numbers >= begin) & (numbers < end)
        kept = np.where(good, numbers, 0)
        if np.issubdtype(numbers.dtype, np.floating):
            # The float64 may be half a step below the written number: 1700000000.123456 s is …455.88 µs and means …456.
            step = np.maximum(0.51 * np.spacing(np.abs(kept)) * per_unit / shrink, 0.0005)
            instants = np.floor(kept * per_unit / shrink + step).astype(np.int64)
        else:
            instants = kept * per_unit // shrink
    refused: Refusals = {}
    for row in np.flatnonzero(~good).tolist():
        refused[row] = outside_of_time(column, values[row].as_py())
    return Converted(pa.array(np.where(good, instants, 0), pa.int64()).cast(TIMESTAMP), refused)

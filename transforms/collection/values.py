"""Values: how the value of a field becomes the value of a column, alike in every format.

A value is converted where nothing is lost: a number written as text, 1.0 for an integer, a number or
true/false for text, true/false for 1/0 and 1/0 for true/false. What cannot be converted is refused for a
reason: `wrong_type`, or `out_of_range` for NaN, infinities, overflow and U+0000.

A time without an offset is read by the clock of the event time's zone: one that the clock shows twice is the
second of them, and one that it skips is as long after the jump as the clock would have had it before.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.arrays import Bools
from transforms.batch import ARROW, filled
from transforms.dead_letter import shown
from transforms.engine import query
from transforms.event_time import EARLIEST, LATEST, TIMESTAMP
from transforms.specification import ColumnType

Why: TypeAlias = tuple[str, str]
"""The reason for which a record is refused, and the detail."""
Refusals: TypeAlias = dict[int, Why]
"""By record, counted from the first of its block."""

_EXACT: Final = float(1 << 53)
"""Whole numbers below this are exact as float64."""


@dataclass(frozen=True, slots=True)
class Converted:
    """A column's values, null where a value was null or refused, and which rows were refused."""

    values: pa.Array
    refused: Refusals = field(default_factory=dict)


_NOUNS: Final = {
    "int64": "an int64",
    "float64": "a float64",
    "bool": "a bool",
    "timestamp": "an ISO 8601 time",
    "string": "a string",
}

# v: the value, null where refused; r: 1 wrong_type, 2 out_of_range. `t` is the text.
_CONVERSIONS: Final[dict[ColumnType, str]] = {
    "timestamp": f"""
        SELECT CASE WHEN isfinite(z) AND epoch_us(z) >= {EARLIEST} AND epoch_us(z) < {LATEST} THEN epoch_us(z) END AS v,
               CASE WHEN z IS NULL OR NOT isfinite(z) THEN 1 ELSE 2 END AS r
        FROM (SELECT CASE WHEN t SIMILAR TO '\\s*[0-9].*' THEN try_cast(trim(t) AS TIMESTAMPTZ) END AS z FROM texts)""",
    "string": "SELECT CASE WHEN NOT contains(t, chr(0)) THEN t END AS v, 2 AS r FROM texts",
}
_DOUBLES: Final = "SELECT try_cast(t AS DOUBLE) AS f FROM texts"
_DECIMALS: Final = """
    SELECT CASE WHEN d = trunc(d) AND d BETWEEN -9223372036854775808 AND 9223372036854775807 THEN d::BIGINT END AS v,
           coalesce(d <> trunc(d), false) AS is_fraction
    FROM (SELECT try_cast(t AS DECIMAL(38, 18)) AS d FROM texts)"""


def from_text(texts: pa.Array, kind: ColumnType, column: str, time_zone: str = "UTC") -> Converted:
    """Converts texts (null stays null) to a column of `kind`; a time without an offset is read in `time_zone`."""
    return from_texts({column: texts}, {column: kind}, time_zone)[column]


def from_texts(
    columns: Mapping[str, pa.Array], kinds: Mapping[str, ColumnType], time_zone: str = "UTC"
) -> dict[str, Converted]:
    """Converts columns together: a query costs 1 to 3 ms however few rows it has, and all numbers share one."""
    doubles = _doubles({name: texts for name, texts in columns.items() if kinds[name] in _NUMBERS})
    converted = {}
    for name, texts in columns.items():
        kind = kinds[name]
        if name in doubles:
            values, beyond = _NUMBERS[kind](texts, doubles[name])
        elif kind == "string" and not _holds_zero(texts):
            values, beyond = texts, np.empty(0, bool)
        else:
            result = query(_CONVERSIONS[kind], {"texts": pa.table({"t": texts})}, time_zone)
            values, beyond = result["v"].cast(ARROW[kind]), result["r"].to_numpy() == 2
        converted[name] = Converted(values, _refusals(name, kind, texts, values, beyond))
    return converted


def _doubles(columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """What each text is as float64, null if it is no number."""
    if not columns:
        return {}
    texts = pa.concat_arrays(columns.values()) if len(columns) > 1 else next(iter(columns.values()))
    doubles, first = query(_DOUBLES, {"texts": pa.table({"t": texts})})["f"], 0
    return {name: doubles[first : (first := first + len(mine))] for name, mine in columns.items()}


def _truths(texts: pa.Array, doubles: pa.Array) -> tuple[Bools, Bools]:
    """Which texts say `true`, and which `false`; those of numbers do not."""
    is_true, is_false = np.zeros((2, len(texts)), bool)
    if doubles.null_count > texts.null_count:
        rows = np.flatnonzero(doubles.is_null().to_numpy(zero_copy_only=False))
        lowered = pc.ascii_lower(texts.take(pa.array(rows))).fill_null("")
        is_true[rows] = pc.equal(lowered, "true").to_numpy(zero_copy_only=False)
        is_false[rows] = pc.equal(lowered, "false").to_numpy(zero_copy_only=False)
    return is_true, is_false


def _int64(texts: pa.Array, doubles: pa.Array) -> tuple[pa.Array, Bools]:
    plain, known = filled(doubles), _is_valid(doubles)
    is_true, is_false = _truths(texts, doubles)
    with np.errstate(invalid="ignore"):
        large = known & (np.abs(plain) >= _EXACT) & np.isfinite(plain)
        is_whole = known & (np.abs(plain) < _EXACT) & (np.floor(plain) == plain)
    numbers = np.where(is_whole, plain, is_true).astype(np.int64)
    good, beyond = is_whole | is_true | is_false, known & (large | ~np.isfinite(plain))
    if rows := np.flatnonzero(large).tolist():
        exact = query(_DECIMALS, {"texts": pa.table({"t": texts.take(pa.array(rows))})})
        numbers[rows], good[rows] = filled(exact["v"]), _is_valid(exact["v"])
        beyond[rows] = ~filled(exact["is_fraction"])
    return pa.array(numbers, mask=~good), beyond


def _float64(texts: pa.Array, doubles: pa.Array) -> tuple[pa.Array, Bools]:
    plain, known = filled(doubles), _is_valid(doubles)
    is_true, is_false = _truths(texts, doubles)
    finite = known & np.isfinite(plain)
    return pa.array(np.where(finite, plain, is_true), mask=~(finite | is_true | is_false)), known


def _bool(texts: pa.Array, doubles: pa.Array) -> tuple[pa.Array, Bools]:
    plain, known = filled(doubles), _is_valid(doubles)
    is_true, is_false = _truths(texts, doubles)
    is_true, is_false = is_true | (known & (plain == 1)), is_false | (known & (plain == 0))
    return pa.array(is_true, mask=~(is_true | is_false)), ~np.isfinite(plain)


_NUMBERS: Final[Mapping[ColumnType, Callable[[pa.Array, pa.Array], tuple[pa.Array, Bools]]]] = {
    "int64": _int64,
    "float64": _float64,
    "bool": _bool,
}
"""From texts and what they are as float64 to values, null where there is none, and which are out of range then."""


def _is_valid(values: pa.Array) -> Bools:
    flags: Bools = values.is_valid().to_numpy(zero_copy_only=False)
    return flags


def _refusals(column: str, kind: ColumnType, texts: pa.Array, values: pa.Array, beyond: Bools) -> Refusals:
    """Why texts that are there have no value."""
    if values.null_count == texts.null_count:
        return {}
    rows = np.flatnonzero(_is_valid(texts) & ~_is_valid(values))
    written = zip(rows.tolist(), texts.take(pa.array(rows)).to_pylist(), beyond[rows].tolist(), strict=True)
    return {row: refusal(column, kind, text, out_of_range=is_beyond) for row, text, is_beyond in written}


def _holds_zero(texts: pa.Array) -> bool:
    data = texts.buffers()[2]
    return data is not None and not np.frombuffer(data, np.uint8).all()


def refusal(column: str, kind: ColumnType, value: object, *, out_of_range: bool) -> Why:
    """The reason and the detail for a value that cannot become one of `kind`."""
    if not out_of_range:
        return "wrong_type", f"{column}: {shown(value)} is not {_NOUNS[kind]}"
    if kind == "string":
        return "out_of_range", f"{column}: {shown(value)} holds U+0000"
    return "out_of_range", f"{column}: {shown(value)} is beyond {_NOUNS[kind]}"


_UNITS: Final = {"s": (1_000_000, 1), "ms": (1_000, 1), "us": (1, 1), "ns": (1, 1_000)}
"""How many µs a unit is, and how many of it a µs is."""


def event_time_bounds(unit: str) -> tuple[int, int]:
    """Event times in `unit` since the epoch, as int64 holds them, lie in [the first, the second)."""
    per_unit, shrink = _UNITS[unit]
    bounds = np.iinfo(np.int64)  # nanoseconds since the year 2 are beyond it
    return max(EARLIEST * shrink // per_unit, bounds.min), min(LATEST * shrink // per_unit, bounds.max)


def missing(name: str, kind: ColumnType) -> Why:
    """The reason and the detail for a column that may not be null, and is."""
    return "missing_field", f"{name} is missing or null, and is not {kind}?"


def outside_of_time(column: str, value: object) -> Why:
    """The reason and the detail for a number that is no event time."""
    return "bad_event_time", f"{column}: {shown(value)} lies outside the years 2 to 9997"


def event_times(values: pa.Array, unit: str | None, column: str) -> Converted:
    """A column without nulls as timestamp[us, UTC].

    Args:
        values: timestamps, or numbers in `unit` (s, ms, us, ns) since the epoch; parts of a µs are cut off.
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
            # What was written may lie half a step of float64 above: 1700000000.123456 s is …455.88 µs, and means …456.
            step = np.maximum(0.51 * np.spacing(np.abs(kept)) * per_unit / shrink, 0.0005)
            instants = np.floor(kept * per_unit / shrink + step).astype(np.int64)
        else:
            instants = kept * per_unit // shrink
    refused: Refusals = {}
    for row in np.flatnonzero(~good).tolist():
        refused[row] = outside_of_time(column, values[row].as_py())
    return Converted(pa.array(np.where(good, instants, 0), pa.int64()).cast(TIMESTAMP), refused)

"""Values: how the value of a field becomes the value of a column, alike in every format.

A value is converted where nothing is lost: a number written as text, 1.0 for an integer, a number or
true/false for text, true/false for 1/0 and 1/0 for true/false. What cannot be converted is refused for a
reason: `wrong_type`, or `out_of_range` for NaN, infinities, overflow and U+0000.

A time without an offset is read by the clock of the event time's zone: one that the clock shows twice is the
second of them, and one that it skips is as long after the jump as the clock would have had it before.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.batch import ARROW
from transforms.dead_letter import shown
from transforms.engine import query
from transforms.event_time import EARLIEST, LATEST, TIMESTAMP
from transforms.specification import ColumnType

Refusals = dict[int, tuple[str, str]]
"""Row to (reason, detail)."""

EXACT: Final = float(1 << 53)
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

# v: the value, null where refused; r: 1 wrong_type, 2 out_of_range. One query a column; `t` is the text.
_CONVERSIONS: Final[dict[ColumnType, str]] = {
    "int64": """
        SELECT CASE WHEN abs(f) < 9007199254740992 AND f = trunc(f) THEN f::BIGINT
                    WHEN d = trunc(d) AND d BETWEEN -9223372036854775808 AND 9223372036854775807 THEN d::BIGINT
                    WHEN f IS NULL AND lower(t) = 'true' THEN 1 WHEN f IS NULL AND lower(t) = 'false' THEN 0 END AS v,
               CASE WHEN f IS NULL OR (d IS NOT NULL AND d <> trunc(d)) THEN 1
                    WHEN abs(f) < 9007199254740992 AND f <> trunc(f) THEN 1 ELSE 2 END AS r
        FROM (SELECT t, try_cast(t AS DOUBLE) AS f,
                     CASE WHEN abs(f) >= 9007199254740992 AND NOT isinf(f) AND NOT isnan(f)
                          THEN try_cast(t AS DECIMAL(38, 18)) END AS d FROM texts)""",
    "float64": """
        SELECT CASE WHEN isfinite(f) THEN f
                    WHEN f IS NULL AND lower(t) = 'true' THEN 1 WHEN f IS NULL AND lower(t) = 'false' THEN 0 END AS v,
               CASE WHEN f IS NULL THEN 1 ELSE 2 END AS r
        FROM (SELECT t, try_cast(t AS DOUBLE) AS f FROM texts)""",
    "bool": """
        SELECT CASE WHEN lower(t) = 'true' OR f = 1 THEN true WHEN lower(t) = 'false' OR f = 0 THEN false END AS v,
               CASE WHEN isfinite(coalesce(f, 0)) THEN 1 ELSE 2 END AS r
        FROM (SELECT t, try_cast(t AS DOUBLE) AS f FROM texts)""",
    "timestamp": f"""
        SELECT CASE WHEN isfinite(z) AND epoch_us(z) >= {EARLIEST} AND epoch_us(z) < {LATEST} THEN epoch_us(z) END AS v,
               CASE WHEN z IS NULL OR NOT isfinite(z) THEN 1 ELSE 2 END AS r
        FROM (SELECT CASE WHEN t SIMILAR TO '\\s*[0-9].*' THEN try_cast(trim(t) AS TIMESTAMPTZ) END AS z FROM texts)""",
    "string": "SELECT CASE WHEN NOT contains(t, chr(0)) THEN t END AS v, 2 AS r FROM texts",
}


def from_text(texts: pa.Array, kind: ColumnType, column: str, time_zone: str = "UTC") -> Converted:
    """Converts texts (null stays null) to a column of `kind`; a time without an offset is read in `time_zone`."""
    if kind == "string" and not _holds_zero(texts):
        return Converted(texts)
    result = query(_CONVERSIONS[kind], {"texts": pa.table({"t": texts})}, time_zone)
    values = result["v"].cast(ARROW[kind])
    refused: Refusals = {}
    if values.null_count > texts.null_count:
        rows = np.flatnonzero(pc.and_(values.is_null(), texts.is_valid()).to_numpy(zero_copy_only=False))
        for row, text, code in zip(
            rows.tolist(),
            texts.take(pa.array(rows)).to_pylist(),
            result["r"].take(pa.array(rows)).to_pylist(),
            strict=True,
        ):
            refused[row] = refusal(column, kind, text, out_of_range=code == 2)
    return Converted(values, refused)


def _holds_zero(texts: pa.Array) -> bool:
    data = texts.buffers()[2]
    return data is not None and not np.frombuffer(data, np.uint8).all()


def refusal(column: str, kind: ColumnType, value: object, *, out_of_range: bool) -> tuple[str, str]:
    """The reason and the detail for a value that cannot become one of `kind`."""
    if not out_of_range:
        return "wrong_type", f"{column}: {shown(value)} is not {_NOUNS[kind]}"
    if kind == "string":
        return "out_of_range", f"{column}: {shown(value)} holds U+0000"
    return "out_of_range", f"{column}: {shown(value)} is beyond {_NOUNS[kind]}"


def whole(floats: npt.NDArray[np.float64], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which entries are whole numbers that float64 holds exactly; invalid entries count as such."""
    with np.errstate(invalid="ignore"):
        exact: npt.NDArray[np.bool_] = (np.abs(floats) < EXACT) & (np.floor(floats) == floats)
    return exact | ~valid


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
        per_unit = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}[unit]
        shrink = 1_000 if unit == "ns" else 1
        low, high = EARLIEST * shrink // per_unit, LATEST * shrink // per_unit
        # Nanoseconds since the year 2 are beyond int64: its own bounds hold there.
        bounds = np.iinfo(np.int64)
        good = (numbers >= max(low, bounds.min)) & (numbers < min(high, bounds.max))
        kept = np.where(good, numbers, 0)
        if np.issubdtype(numbers.dtype, np.floating):
            # What was written may lie half a step of float64 above: 1700000000.123456 s is …455.88 µs, and means …456.
            step = np.maximum(0.51 * np.spacing(np.abs(kept)) * per_unit / shrink, 0.0005)
            instants = np.floor(kept * per_unit / shrink + step).astype(np.int64)
        else:
            instants = kept * per_unit // shrink
    refused: Refusals = {}
    for row in np.flatnonzero(~good).tolist():
        refused[row] = ("bad_event_time", f"{column}: {shown(values[row].as_py())} lies outside the years 2 to 9997")
    return Converted(pa.array(np.where(good, instants, 0), pa.int64()).cast(TIMESTAMP), refused)

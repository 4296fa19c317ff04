"""Chooses a first aggregation: the key, the window and the statistics that a sample suggests."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from dataflow.inference.column_names import CALENDAR, CLOCKS, IDENTIFIERS, STRONG_KEYS, WEAK_KEYS
from dataflow.inference.event_time import TimeCandidate, resolution, span
from dataflow.inference.sample import Sample, SampledColumn
from transforms.model.kind import ModelSpec, suggested
from transforms.model.learn import model_columns

RESERVED: Final = frozenset({"window_start", "window_end", "rows", "revision", "final"})
"""Columns that every table of an aggregation has; a key with such a name would collide."""

NUMERIC_STATISTICS: Final = ("count", "missing", "mean", "std", "min", "p50", "p95", "max")
TEXT_STATISTICS: Final = ("distinct", "top5")
_PRESENCE: Final = ("count", "missing")
_MOST_MEASURES: Final = 4

_MINUTE: Final = 60_000_000
WINDOW_SIZES: Final = {
    "1m": _MINUTE,
    "5m": 5 * _MINUTE,
    "15m": 15 * _MINUTE,
    "1h": 60 * _MINUTE,
    "6h": 360 * _MINUTE,
    "1d": 1_440 * _MINUTE,
    "7d": 10_080 * _MINUTE,
}
_FEWEST_WINDOWS: Final = 10
_MOST_WINDOWS: Final = 500
_WINDOWS_TO_LOOK_AT: Final = 150
"""As much as a reader takes in on one page of a report."""

MOST_KEYS: Final = 1_000


@dataclass(frozen=True, slots=True)
class AggregationChoice:
    """The first aggregation; `other_keys` are further candidates for the key.

    `derived` maps new columns to their sources: text columns of numbers and null markers such as `NA`.
    """

    name: str
    key: SampledColumn | None
    other_keys: Sequence[SampledColumn]
    window: str
    span_micros: int
    statistics: Sequence[tuple[str, Sequence[str]]]
    derived: Mapping[str, SampledColumn]
    model: ModelSpec | None


def choose_aggregation(sample: Sample, event_time: TimeCandidate) -> AggregationChoice:
    """Chooses a key, a window and statistics for a sample."""
    columns = [column for column in sample.columns if column is not event_time.column]
    keys = _rank_keys(columns, sample.records)
    key = keys[0] if keys else None
    rest = [column for column in columns if column is not key]
    length = span(event_time, sample)
    derived = _derive(rest, sample.columns)
    statistics = _choose_statistics([derived.get(column.name, column) for column in rest], event_time.column, key)
    named = {name for name, _ in statistics}
    numbers = [name for name, wanted in statistics if tuple(wanted) == NUMERIC_STATISTICS]
    return AggregationChoice(
        _name(key),
        key,
        keys[1:],
        choose_window(length, resolution(event_time)),
        length,
        statistics,
        {made.name: column for column in rest if (made := derived.get(column.name)) and made.name in named},
        _choose_model(numbers, key),
    )


def choose_window(micros: int, resolution: int = 0) -> str:
    """The window size that divides a span of time into 10 to 500 windows or comes nearest to it.

    A window is not shorter than `resolution` if a longer one exists.

    >>> choose_window(86_400_000_000), choose_window(365 * 86_400_000_000), choose_window(0)
    ('15m', '1d', '1h')
    """
    if micros <= 0:
        return "1h"  # one event, or all at once: the rhythm is unknown
    counts = {name: micros / size for name, size in WINDOW_SIZES.items() if size >= resolution}
    if not counts:
        return "7d"
    fitting = {name: count for name, count in counts.items() if _FEWEST_WINDOWS <= count <= _MOST_WINDOWS} or counts
    return min(fitting, key=lambda name: abs(math.log(fitting[name] / _WINDOWS_TO_LOOK_AT)))


def _choose_model(numbers: Sequence[str], key: SampledColumn | None) -> ModelSpec | None:
    """A model to try, unless the key has the name of a column of its table."""
    model = suggested(numbers)
    if model is None or key is None:
        return model
    names = {name.casefold() for name in model_columns({"example": model})}
    return None if key.name.casefold() in names else model


def _rank_keys(columns: Sequence[SampledColumn], records: int) -> list[SampledColumn]:
    """The columns that divide the records into a few large groups, the most likely first."""

    def rank(column: SampledColumn) -> tuple[int, int]:
        words = set(column.words)
        named = 2 if words & STRONG_KEYS else 1 if words & WEAK_KEYS else 0
        return -named, {"string": 0, "int64": 1, "bool": 2}[column.type]

    return sorted((column for column in columns if _is_key(column, records)), key=rank)


def _is_key(column: SampledColumn, records: int) -> bool:
    if column.type not in ("string", "int64", "bool") or column.behind_markers is not None:
        return False
    if column.name.casefold() in RESERVED or not 2 <= column.distinct <= MOST_KEYS:
        return False
    words = set(column.words)
    named = bool(words & (STRONG_KEYS | WEAK_KEYS))
    if words & CALENDAR or "time" in words or (column.type == "int64" and not named):
        return False  # the window already groups by hour; a plain whole number is a measure
    return column.present * 2 >= records and column.distinct * (2 if named else 10) <= records


def _derive(columns: Sequence[SampledColumn], existing: Sequence[SampledColumn]) -> dict[str, SampledColumn]:
    """The columns of numbers that can be derived from texts with null markers, by their new names."""
    taken = {column.name.casefold() for column in existing}
    derived: dict[str, SampledColumn] = {}
    for column in columns:
        name = f"{column.name}_numeric"
        if column.behind_markers is not None and name.casefold() not in taken:
            derived[column.name] = replace(column, name=name, type=column.behind_markers, behind_markers=None)
            taken.add(name.casefold())
    return derived


def _name(key: SampledColumn | None) -> str:
    if key is None:
        return "overall"
    return "by_" + (re.sub(r"[^A-Za-z0-9]+", "_", key.name).strip("_")[:40].strip("_") or "key")


def _choose_statistics(
    columns: Sequence[SampledColumn], event_time: SampledColumn, key: SampledColumn | None
) -> list[tuple[str, Sequence[str]]]:
    """Some columns with their statistics, in the order of the data; at least one."""
    measures = [column for column in columns if column.type in ("int64", "float64") and column.present]
    meaningful = [column for column in measures if _has_meaningful_mean(column)] or measures
    # A fraction is a measure; a whole number may be a label or the digits of a clock time.
    likeliest_first = sorted(meaningful, key=lambda column: ("time" in column.words, column.type != "float64"))
    texts = [column for column in columns if column.type == "string" and column.distinct > 1]
    texts = [column for column in texts if column.behind_markers is None]
    taken = set(RESERVED) | ({key.name.casefold()} if key else set())
    chosen: dict[str, Sequence[str]] = {}
    for column in likeliest_first:
        if len(chosen) < _MOST_MEASURES:
            _add(chosen, taken, column, NUMERIC_STATISTICS)
    for column in sorted(texts, key=lambda column: -column.distinct):
        if _add(chosen, taken, column, TEXT_STATISTICS):
            break
    for column in (*columns, event_time):
        if not chosen:
            _add(chosen, taken, column, _PRESENCE)
    return [(column.name, chosen[column.name]) for column in (*columns, event_time) if column.name in chosen]


def _add(chosen: dict[str, Sequence[str]], taken: set[str], column: SampledColumn, statistics: Collection[str]) -> bool:
    """Adds the statistics of a column unless one of their names is taken."""
    names = {f"{column.name}_{statistic}".casefold() for statistic in statistics}
    if names & taken:
        return False
    taken |= names
    chosen[column.name] = tuple(statistics)
    return True


def _has_meaningful_mean(column: SampledColumn) -> bool:
    """Whether the mean of a column is meaningful: not that of an identifier, a date, a clock time or a constant."""
    words = set(column.words)
    is_clock = "time" in words and bool(words == {"time"} or words & CLOCKS)
    return column.distinct > 1 and not is_clock and not words & (CALENDAR | IDENTIFIERS)

"""What an aggregation is asked for: keys, a window, and statistics of columns."""

import re
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from transforms.specification import NUMERIC, ONE_OR_MORE, ColumnType, Duration, Spec, one_or_more
from transforms.time.event_time import Window

STATISTICS: Final[dict[str, str]] = {
    "count": "how many values are present",
    "missing": "how many values are null",
    "mean": "the arithmetic mean",
    "std": "the standard deviation, ddof = 1",
    "var": "the variance, ddof = 1",
    "sum": "the sum, as float64",
    "min": "the smallest value",
    "max": "the largest value",
    "first": "the first value by event time, then by arrival",
    "last": "the last value by event time, then by arrival",
    "pNN": "a percentile, p50 or p99.9: within 1 % of the value at rank floor(q (n - 1))",
    "distinct": "how many different values: exact to 1,000, then within 0.8 % (one standard error)",
    "topN": "the N most frequent values with their counts; null beyond 10,000 different ones",
}
"""Every statistic, and what it is."""

_NUMERIC_ONLY: Final = frozenset({"mean", "std", "var", "sum"})


@cache
def family(statistic: str) -> str:
    """The kind of a statistic: itself, `pNN` or `topN`.

    Raises:
        ValueError: if there is no such statistic.
    """
    if statistic in STATISTICS and statistic not in ("pNN", "topN"):
        return statistic
    if re.fullmatch(r"p\d{1,3}(\.\d{1,6})?", statistic) and float(statistic[1:]) <= 100:
        return "pNN"
    if re.fullmatch(r"top[1-9]\d{0,3}", statistic):
        return "topN"
    raise ValueError(f"{_RULE}, is {statistic}{_meant([statistic])}")


_RULE: Final = f"must be one of {', '.join(STATISTICS)}"
_SPOKEN: Final = {
    **dict.fromkeys(("average", "avg"), "mean"),
    **dict.fromkeys(("median", "med"), "p50"),
    **dict.fromkeys(("stddev", "stdev", "stddev_samp", "sd", "standard_deviation"), "std"),
    **dict.fromkeys(("variance", "var_samp"), "var"),
    **dict.fromkeys(("minimum", "lowest"), "min"),
    **dict.fromkeys(("maximum", "highest"), "max"),
    **dict.fromkeys(("n", "size", "number"), "count"),
    **dict.fromkeys(("nulls", "null_count", "missing_count"), "missing"),
    **dict.fromkeys(("unique", "nunique", "count_distinct", "approx_distinct", "cardinality"), "distinct"),
    **dict.fromkeys(("mode", "top"), "top1"),
    "total": "sum",
}
"""What others call them."""


def _meant(names: Sequence[str]) -> str:
    known = dict.fromkeys(f"{name} is {_SPOKEN[name.lower()]}" for name in names if name.lower() in _SPOKEN)
    return f" ({', '.join(known)} here)" if known else ""


def _is_statistic(name: str) -> bool:
    try:
        family(name)
    except ValueError:
        return False
    return True


def known_statistics(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, if each is a statistic and there once; ValueError otherwise."""
    unknown = [name for name in names if not _is_statistic(name)]
    if len(unknown) > 1:
        raise ValueError(f"{_RULE}, are {', '.join(unknown)}{_meant(unknown)}")
    for name in unknown:
        family(name)
    if len(set(names)) < len(names):
        raise ValueError("must name each statistic once")
    return names


Names = Annotated[tuple[str, ...], ONE_OR_MORE]
_WORDS = "|".join(name for name in STATISTICS if name not in ("pNN", "topN"))
_Name = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": rf"^({_WORDS}|p\d{{1,3}}(\.\d{{1,6}})?|top[1-9]\d{{0,3}})$"})
]
Statistics = Annotated[
    tuple[str, ...],
    BeforeValidator(one_or_more, json_schema_input_type=_Name | tuple[_Name, ...]),
    Field(min_length=1),
    AfterValidator(known_statistics),
]


class AggregationSpec(Spec):
    """Statistics of columns for every key and window."""

    name: str = Field(min_length=1, max_length=200)
    key: Names = ()
    window: Window
    allowed_lateness: Duration = timedelta(0)
    statistics: dict[str, Statistics] = Field(default_factory=dict)

    def problems(self, columns: dict[str, ColumnType]) -> list[tuple[tuple[str | int, ...], str]]:
        """What does not fit these columns: the place within this spec, and a sentence."""
        found: list[tuple[tuple[str | int, ...], str]] = []
        for index, name in enumerate(self.key):
            if name not in columns:
                found.append((("key", index), missing(name, columns)))
            elif columns[name] == "float64":
                found.append((("key", index), f"{name} is float64, which is no key: equal figures may differ in bits"))
            elif name in self.key[:index]:
                found.append((("key", index), f"{name} is there twice"))
        for column, statistics in self.statistics.items():
            if column not in columns:
                found.append((("statistics", column), missing(column, columns)))
                continue
            for statistic in statistics:
                numeric = family(statistic) in _NUMERIC_ONLY | {"pNN"}
                if numeric and columns[column] not in NUMERIC:
                    sentence = f"{statistic} needs numbers, and {column} is a {columns[column]}"
                    found.append((("statistics", column), sentence))
        names = ["window_start", "window_end", *dict.fromkeys(self.key), "rows", *self.figures, "revision", "final"]
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            found.append((("name",), f"table {self.name} would have two columns named {name}"))
        return found

    @property
    def figures(self) -> dict[str, tuple[str, str]]:
        """The output column of every statistic: its column and its name (`p99.9` ends in `p99_9`)."""
        return {
            f"{column}_{statistic.replace('.', '_')}": (column, statistic)
            for column, statistics in self.statistics.items()
            for statistic in statistics
        }


def missing(name: str, columns: Any) -> str:
    """The sentence for a column that is not there."""
    return f"there is no column {name}; there are {', '.join(columns)}"

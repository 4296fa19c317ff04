"""Measures: the figures of an aggregation, bound to the columns of its batches.

`Summary` drives any measure; statistics of a column are one kind, models (in `transforms.model`) another.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import pyarrow as pa

from transforms.aggregation.accumulator import Accumulator, Arrival, State
from transforms.aggregation.groups import Groups
from transforms.aggregation.spec import AggregationSpec, family
from transforms.aggregation.statistics.distinct import Distinct
from transforms.aggregation.statistics.endpoints import Endpoints
from transforms.aggregation.statistics.extremes import Extremes
from transforms.aggregation.statistics.frequent import Frequent
from transforms.aggregation.statistics.moments import Moments
from transforms.aggregation.statistics.presence import Presence
from transforms.aggregation.statistics.quantiles import Quantiles
from transforms.record.batch import ARROW
from transforms.specification import NUMERIC, ColumnType


class Measure(Protocol):
    """Something that is measured per group of a batch and merged."""

    @property
    def name(self) -> str:
        """Unique within an aggregation: the prefix of its state columns."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it reads."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """Its state columns, without the prefix."""
        ...

    def measure(self, batch: pa.RecordBatch, groups: Groups, arrival: Arrival) -> State: ...

    def merge(self, state: State, groups: Groups) -> State: ...


@dataclass(frozen=True, slots=True)
class ColumnMeasure:
    """One accumulator over one column."""

    column: str
    family: str
    accumulator: Accumulator

    @property
    def name(self) -> str:
        return f"{self.column}|{self.family}"

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def schema(self) -> pa.Schema:
        return self.accumulator.schema

    def measure(self, batch: pa.RecordBatch, groups: Groups, arrival: Arrival) -> State:
        return self.accumulator.measure(batch[self.column], groups, arrival)

    def merge(self, state: State, groups: Groups) -> State:
        return self.accumulator.merge(state, groups)


_FAMILY: Final[Mapping[str, str]] = {
    **dict.fromkeys(("count", "missing"), "presence"),
    **dict.fromkeys(("mean", "std", "var", "sum"), "moments"),
    **dict.fromkeys(("min", "max"), "extremes"),
    **dict.fromkeys(("first", "last"), "endpoints"),
    "pNN": "quantiles",
    "distinct": "distinct",
    "topN": "frequent",
}


def column_measures(spec: AggregationSpec, columns: Mapping[str, ColumnType]) -> dict[str, ColumnMeasure]:
    """The measure behind every output column of an aggregation; figures of one family share theirs."""
    shared: dict[tuple[str, str], ColumnMeasure] = {}
    chosen: dict[str, ColumnMeasure] = {}
    for output, (column, statistic) in spec.figures.items():
        wanted = {_FAMILY[family(other)] for other in spec.statistics[column]}
        name = _FAMILY[family(statistic)]
        if name == "presence" and "moments" in wanted:
            name = "moments"
        if (column, name) not in shared:
            shared[column, name] = ColumnMeasure(column, name, accumulator(name, columns[column]))
        chosen[output] = shared[column, name]
    return chosen


def counted_before(name: str) -> str | None:
    """The measure whose counts go on in this one where a column was only counted before; both keep them by one name."""
    column, _, family = name.rpartition("|")
    return f"{column}|presence" if family == "moments" else None


def accumulator(name: str, kind: ColumnType) -> Accumulator:
    """The accumulator of a family for a column of that type."""
    match name:
        case "presence":
            return Presence()
        case "moments":
            if kind not in NUMERIC:
                raise ValueError(f"moments need numbers, not {kind}")
            return Moments()
        case "extremes":
            return Extremes(ARROW[kind])
        case "endpoints":
            return Endpoints(ARROW[kind])
        case "quantiles":
            return Quantiles()
        case "distinct":
            return Distinct()
        case "frequent":
            return Frequent(ARROW[kind])
    raise ValueError(f"there is no family of statistics named {name}")


def distinct_measures(measures: Iterable[Measure]) -> tuple[Measure, ...]:
    """The measures, each once, in the order they were first named."""
    return tuple({measure.name: measure for measure in measures}.values())

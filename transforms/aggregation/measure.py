"""Measures: the figures of an aggregation, bound to the columns of its batches.

`Summary` drives any measure; statistics of a column are one kind, models (in `transforms.model`) another.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from transforms.aggregation.accumulator import Accumulator, Arrival, State
from transforms.aggregation.family import families, family_of
from transforms.aggregation.groups import Groups
from transforms.aggregation.spec import AggregationSpec
from transforms.specification import ColumnType


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

    def measure(self, batch: pa.RecordBatch, groups: Groups, arrival: Arrival) -> State:
        """The state of each group of a batch, whose columns may hold nulls."""
        ...

    def merge(self, state: State, groups: Groups) -> State:
        """Joins the states of each group; `state` holds one row for every row that `groups` groups."""
        ...


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


def column_measures(spec: AggregationSpec, columns: Mapping[str, ColumnType]) -> dict[str, ColumnMeasure]:
    """The measure of every output column of an aggregation; figures of one family share a measure."""
    shared: dict[tuple[str, str], ColumnMeasure] = {}
    chosen: dict[str, ColumnMeasure] = {}
    for output, (column, statistic) in spec.figures.items():
        wanted = [family_of(other) for other in spec.statistics[column]]
        name = family_of(statistic).name
        name = next((other.name for other in wanted if name in other.includes), name)
        if (column, name) not in shared:
            shared[column, name] = ColumnMeasure(column, name, accumulator(name, columns[column]))
        chosen[output] = shared[column, name]
    return chosen


def counted_before(name: str) -> str | None:
    """The measure that this one continues if the column was only counted before; both store counts by the same name."""
    column, _, family = name.rpartition("|")
    included = families()[family].includes if family in families() else ()
    return next((f"{column}|{other}" for other in included), None)


def accumulator(name: str, kind: ColumnType) -> Accumulator:
    """The accumulator of a family for a column of that type.

    Raises:
        ValueError: if there is no such family, or it does not take such columns.
    """
    if name not in families():
        raise ValueError(f"there is no family of statistics named {name}")
    family = families()[name]
    if kind not in family.takes:
        raise ValueError(f"{name} need numbers, not {kind}")
    return family.accumulator(kind)


def distinct_measures(measures: Iterable[Measure]) -> tuple[Measure, ...]:
    """The measures, each once, in the order they were first named."""
    return tuple({measure.name: measure for measure in measures}.values())

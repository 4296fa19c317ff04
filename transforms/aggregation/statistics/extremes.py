"""Extremes: the smallest and the largest value of a column of any type."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.aggregation.accumulator import Arrival, State, as_numpy
from transforms.aggregation.family import Family, Statistic
from transforms.aggregation.groups import Groups
from transforms.record.batch import ARROW, filled


@dataclass(frozen=True, slots=True)
class Extremes:
    """`min` and `max`, in the column's own type; text is compared by code point."""

    kind: pa.DataType

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field("low", self.kind), pa.field("high", self.kind)])

    def measure(self, values: pa.Array, groups: Groups, arrival: Arrival) -> State:
        return {"low": self._extreme(values, groups, np.minimum), "high": self._extreme(values, groups, np.maximum)}

    def merge(self, state: State, groups: Groups) -> State:
        low, high = state["low"], state["high"]
        return {"low": self._extreme(low, groups, np.minimum), "high": self._extreme(high, groups, np.maximum)}

    def finish(self, state: State, statistic: str) -> pa.Array:
        figure = state["low" if statistic == "min" else "high"]
        # 0.0 and -0.0 are one value; the result must not depend on which came first.
        return pc.add(figure, 0.0) if pa.types.is_floating(self.kind) else figure

    def _extreme(self, values: pa.Array, groups: Groups, better: np.ufunc) -> pa.Array:
        if not len(groups):
            return pa.nulls(0, self.kind)
        comparable, back = _comparable(values)
        comparable = comparable[groups.order]
        if not values.null_count:
            return back(groups.reduce(better, comparable), None)
        present = as_numpy(values.is_valid())[groups.order]
        worst = _worst(comparable.dtype, better)
        best = groups.reduce(better, np.where(present, comparable, worst))
        return back(best, ~groups.reduce(np.logical_or, present))


def _comparable(values: pa.Array):  # type: ignore[no-untyped-def]  # a numpy array and the way back from one
    """The values as numbers in the same order, and the way back from such numbers to the column's type."""
    kind = values.type
    if pa.types.is_string(kind):
        encoded = values.dictionary_encode()
        by_value = as_numpy(pc.array_sort_indices(encoded.dictionary)).astype(np.int64)
        ranks = np.empty(len(by_value), np.int64)
        ranks[by_value] = np.arange(len(by_value))
        codes = filled(encoded.indices)
        ranked = encoded.dictionary.take(pa.array(by_value))

        def text(numbers: npt.NDArray[np.int64], absent: npt.NDArray[np.bool_] | None) -> pa.Array:
            return ranked.take(pa.array(numbers, mask=absent))

        return (ranks[codes] if len(ranks) else codes.astype(np.int64)), text
    plain = values.cast(pa.int64()) if pa.types.is_timestamp(kind) or pa.types.is_boolean(kind) else values

    def same(numbers: npt.NDArray[np.generic], absent: npt.NDArray[np.bool_] | None) -> pa.Array:
        return pa.array(numbers, mask=absent).cast(kind)

    return filled(plain), same


def _worst(kind: np.dtype[Any], better: np.ufunc) -> float | int:
    if kind.kind == "f":
        return np.inf if better is np.minimum else -np.inf
    return np.iinfo(kind).max if better is np.minimum else np.iinfo(kind).min


FAMILY: Final = Family(
    name="extremes",
    order=3,
    statistics=(
        Statistic(
            name="min",
            meaning="the smallest value",
            title="Minimum",
            also=dict.fromkeys(("minimum", "lowest"), "min"),
        ),
        Statistic(
            name="max",
            meaning="the largest value",
            title="Maximum",
            also=dict.fromkeys(("maximum", "highest"), "max"),
        ),
    ),
    accumulator=lambda kind: Extremes(ARROW[kind]),
)

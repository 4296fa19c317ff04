"""Quantiles: DDSketch, with a relative error of 1 %; merges are exact in any order.

Masson, Rim and Lee, "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees",
PVLDB 12(12), 2019. A value x > 0 counts in bin ceil(log_g x), g = (1 + a) / (1 - a), a = 0.01; the bin stands
for 2 g^i / (g + 1). Negative values have bins of their own, mirrored; so does 0. Bins are never collapsed:
float64 has at most 70,000 of them, and a group holds only those it fills.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.aggregation.accumulator import Arrival, State, as_numpy, nullable, numbers
from transforms.aggregation.family import Family, Statistic
from transforms.aggregation.groups import Groups
from transforms.aggregation.lists import add_up, from_lists, group_of_rows, to_lists
from transforms.specification import NUMERIC

ACCURACY: Final = 0.01
_LOG_GAMMA: Final = float(np.log((1 + ACCURACY) / (1 - ACCURACY)))
_LOG_CENTRE: Final = float(np.log1p(-ACCURACY))  # 2 g^i / (g + 1) = g^i (1 - a)
_BIAS: Final = 40_000  # above |log_g x| of every float64 (37,254 for the smallest subnormal): bins keep their sign


@dataclass(frozen=True, slots=True)
class Quantiles:
    """`pNN`: the value at rank floor(q (n - 1)) of the sorted values, 0-based, within 1 % of it."""

    @property
    def schema(self) -> pa.Schema:
        return pa.schema(
            [
                pa.field("bins", pa.list_(pa.int32())),
                pa.field("counts", pa.list_(pa.int64())),
                pa.field("low", pa.float64()),
                pa.field("high", pa.float64()),
            ]
        )

    def measure(self, values: pa.Array, groups: Groups, arrival: Arrival) -> State:
        plain, present = numbers(values, groups)
        members = groups.members()
        low = high = plain
        if present is not None:
            low, high = np.where(present, plain, np.inf), np.where(present, plain, -np.inf)
            members, plain = members[present], plain[present]
        return _state(
            members,
            bins(plain),
            np.ones(len(plain), np.int64),
            groups.reduce(np.minimum, low),
            groups.reduce(np.maximum, high),
        )

    def merge(self, state: State, groups: Groups) -> State:
        rows, codes = from_lists(state["bins"])
        counts = as_numpy(state["counts"].flatten())
        low, high = (as_numpy(state[name])[groups.order] for name in ("low", "high"))
        members = group_of_rows(groups)[rows]
        return _state(members, as_numpy(codes), counts, groups.reduce(np.minimum, low), groups.reduce(np.maximum, high))

    def finish(self, state: State, statistic: str) -> pa.Array:
        rows, codes = from_lists(state["bins"])
        counts = as_numpy(state["counts"].flatten())
        size = len(state["bins"])
        totals = np.bincount(rows, weights=counts, minlength=size).astype(np.int64)
        ranks = np.floor(quantile(statistic) * np.maximum(totals - 1, 0) + 1e-9).astype(np.int64)
        upto = np.cumsum(counts) - np.repeat(np.cumsum(totals) - totals, np.bincount(rows, minlength=size))
        # The bins up to and including the answer's predecessors hold at most `rank` values each.
        passed = np.bincount(rows[upto <= ranks[rows]], minlength=size)
        first = np.searchsorted(rows, np.arange(size))
        place = np.minimum(first + passed, max(len(codes) - 1, 0))
        figure = representatives(as_numpy(codes)[place]) if len(codes) else np.zeros(size)
        low, high = as_numpy(state["low"]), as_numpy(state["high"])
        return nullable(np.clip(figure, low, high) + 0.0, totals == 0, pa.float64())  # + 0.0: no -0.0


def quantile(statistic: str) -> float:
    """The quantile that `pNN` asks for.

    >>> quantile("p99.9")
    0.9990000000000001
    """
    return float(statistic[1:]) / 100


def bins(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """The signed bin of each value; bins are in the order of the values they hold, 0 being the bin of 0."""
    size = np.abs(values)
    with np.errstate(divide="ignore"):
        index = np.ceil(np.log(np.where(size == 0, 1.0, size)) / _LOG_GAMMA) + _BIAS
    index = np.minimum(index, 2 * _BIAS)  # an infinity's own bin
    signed = np.where(values == 0, 0.0, np.copysign(index, values))
    return signed.astype(np.int32)


def representatives(codes: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """The value that stands for each bin: no value of the bin is further than 1 % from it."""
    index = np.abs(codes).astype(np.float64) - _BIAS
    with np.errstate(over="ignore"):
        size = np.exp(index * _LOG_GAMMA + _LOG_CENTRE)
    return np.where(codes == 0, 0.0, np.copysign(size, codes))


def _state(
    members: npt.NDArray[np.intp],
    codes: npt.NDArray[np.int32],
    counts: npt.NDArray[np.int64],
    low: npt.NDArray[np.float64],
    high: npt.NDArray[np.float64],
) -> State:
    members, codes, counts = add_up(members, codes, counts)
    size = len(low)
    return {
        "bins": to_lists(members, pa.array(codes, pa.int32()), size),
        "counts": to_lists(members, pa.array(counts, pa.int64()), size),
        "low": pa.array(low),
        "high": pa.array(high),
    }


def _title(name: str) -> str:
    """The words for a percentile.

    >>> _title("p99.9"), _title("p2"), _title("p11")
    ('99.9th percentile', '2nd percentile', '11th percentile')
    """
    share = name[1:]
    ending = "th" if share[-2:] in ("11", "12", "13") else {"1": "st", "2": "nd", "3": "rd"}.get(share[-1], "th")
    return f"{share}{ending} percentile"


FAMILY: Final = Family(
    name="quantiles",
    order=5,
    statistics=(
        Statistic(
            name="pNN",
            meaning="a percentile, p50 or p99.9: within 1 % of the value at rank floor(q (n - 1))",
            title=_title,
            pattern=r"p[0-9]{1,3}(\.[0-9]{1,6})?",
            accepts=lambda name: float(name[1:]) <= 100,
            also=dict.fromkeys(("median", "med"), "p50"),
            samples=("p0", "p1", "p50", "p99.9", "p100"),
        ),
    ),
    accumulator=lambda kind: Quantiles(),
    takes=NUMERIC,
)

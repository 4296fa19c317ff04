"""Moments: count, mean and centred sum of squares; merging is exact algebra, at any offset.

The sum is kept as `count` * `pivot` + `rest`, the pivot being close to the mean: this holds whole numbers of any
int64 without an error, and the sum of values up to the largest double. Differences between means lose no digits at an
offset of 1e8. Measuring takes two passes over a group's values (Chan, Golub and LeVeque, "Algorithms for Computing
the Sample Variance", The American Statistician 37, 1983, eq. 1.7); merging is their pairwise update (eq. 2.1) for any
number of parts.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.aggregation.accumulator import Arrival, State, as_numpy, nullable, numbers
from transforms.aggregation.doubles import HUGE, SHRUNK, Doubles, group_sums, two_product, two_sum
from transforms.aggregation.family import Family, Statistic
from transforms.aggregation.groups import Groups
from transforms.specification import NUMERIC

_COARSE: Final = 2.0**33 + 1
_HALF: Final = 32
"""Whole numbers are split at this bit if their sum may exceed 64 bits; a batch has fewer than 2^30 of them."""
_LOW: Final = (1 << _HALF) - 1

_Present = npt.NDArray[np.bool_] | None
_Measured = tuple[Doubles, Doubles, Doubles]


@dataclass(frozen=True, slots=True)
class Moments:
    """`count`, `missing`, `mean`, `std`, `var` (ddof = 1) and `sum` of a numeric column."""

    @property
    def schema(self) -> pa.Schema:
        floats = [pa.field(name, pa.float64()) for name in ("pivot", "rest", "squares")]
        return pa.schema([pa.field("count", pa.int64()), pa.field("missing", pa.int64()), *floats])

    def measure(self, values: pa.Array, groups: Groups, arrival: Arrival) -> State:
        is_whole = not pa.types.is_floating(values.type)
        with np.errstate(over="ignore", invalid="ignore"):
            if is_whole and not _fits_a_double(values, groups):
                present = as_numpy(values.is_valid())[groups.order] if values.null_count else None
                count = _present(present, groups)
                pivot, rest, squares = _of_large_integers(values, present, np.maximum(count, 1), groups)
            else:
                plain, present = numbers(values, groups)
                count = _present(present, groups)
                pivot, rest, squares = _of_floats(plain, present, np.maximum(count, 1), groups, is_whole)
        return _state(count, groups.counts - count, pivot, rest, np.maximum(squares, 0.0))

    def merge(self, state: State, groups: Groups) -> State:
        count, missing, pivot, rest, squares = (as_numpy(state[name])[groups.order] for name in self.schema.names)
        counts = groups.reduce(np.add, count)
        with np.errstate(over="ignore", invalid="ignore"):
            centre, left = _joined(count, pivot, rest, np.maximum(counts, 1), groups)
            mean_left = groups.spread(left / np.maximum(counts, 1))
            apart = (pivot - groups.spread(centre)) + (rest / np.maximum(count, 1) - mean_left)
            apart[count == 0] = 0.0
            within = groups.reduce(np.add, squares + count * apart * apart)
        return _state(counts, groups.reduce(np.add, missing), centre, left, within)

    def finish(self, state: State, statistic: str) -> pa.Array:
        if statistic in ("count", "missing"):
            return state[statistic]
        count, _, pivot, rest, squares = (as_numpy(state[name]) for name in self.schema.names)
        with np.errstate(over="ignore", invalid="ignore"):
            if statistic == "mean":
                figure, needed = pivot + rest / np.maximum(count, 1), 1
            elif statistic == "sum":
                unit = np.where(np.abs(pivot) > HUGE, SHRUNK, 1.0)
                total, error = two_product(count.astype(np.float64), pivot * unit)
                figure, needed = (total + (error + rest * unit)) / unit, 1
            else:
                variance = squares / np.maximum(count - 1, 1)
                figure, needed = (variance if statistic == "var" else np.sqrt(variance)), 2
        return nullable(figure, (count < needed) | ~np.isfinite(figure), pa.float64())


def _present(present: _Present, groups: Groups) -> npt.NDArray[np.int64]:
    return groups.counts if present is None else groups.reduce(np.add, present.astype(np.int64))


def _fits_a_double(values: pa.Array, groups: Groups) -> bool:
    """Whether both the values and the sums of their differences are exact."""
    bounds = pc.min_max(values.cast(pa.int64()))
    low, high = bounds["min"].as_py() or 0, bounds["max"].as_py() or 0
    return max(-low, high, (high - low) * int(groups.counts.max(initial=1))) < 1 << 53


def _of_floats(
    plain: Doubles, present: _Present, some: npt.NDArray[np.int64], groups: Groups, is_whole: bool
) -> _Measured:
    """The pivot, rest and centred squares of each group; `some` is how many values there are, at least 1."""

    def apart_from(origin: Doubles) -> Doubles:
        apart = plain - groups.spread(origin)
        if present is not None:
            apart[~present] = 0.0
        return apart

    anchor = _one_of(plain, present, groups)
    offset = groups.reduce(np.add, apart_from(anchor)) / some
    # A whole number, or twenty bits: then differences of whole numbers from the pivot, and their sums, are exact.
    stretched = offset * _COARSE
    pivot = anchor + (np.rint(offset) if is_whole else stretched - (stretched - offset))
    deviation = apart_from(pivot)
    rest = groups.reduce(np.add, deviation)
    squares = groups.reduce(np.add, deviation * deviation) - rest * (rest / some)
    is_near = np.isfinite(rest) & (np.abs(pivot) <= HUGE)
    if not is_near.all():
        # The differences or the sum may have overflowed although the figures do not.
        exact = _joined(np.ones(groups.rows), plain, np.zeros(groups.rows), some, groups)
        pivot, rest = np.where(is_near, (pivot, rest), exact)
    return pivot, rest, squares


def _of_large_integers(values: pa.Array, present: _Present, some: npt.NDArray[np.int64], groups: Groups) -> _Measured:
    """The same for whole numbers of any size, split in two so that no sum or difference overflows or is rounded."""
    plain = as_numpy(values.fill_null(0))[groups.order]
    upper, lower = plain >> _HALF, plain & _LOW
    above, carried = np.divmod(groups.reduce(np.add, upper), some)
    below, rest = np.divmod((carried << _HALF) + groups.reduce(np.add, lower), some)
    is_over = rest > some // 2
    centre, rest = (above << _HALF) + below + is_over, rest - some * is_over
    upper -= groups.spread(centre >> _HALF)
    lower -= groups.spread(centre & _LOW)
    deviation = np.ldexp(upper.astype(np.float64), _HALF) + lower
    if present is not None:
        deviation[~present] = 0.0
    pivot, left = two_sum(np.ldexp((centre >> _HALF).astype(np.float64), _HALF), (centre & _LOW).astype(np.float64))
    squares = groups.reduce(np.add, deviation * deviation) - rest * (rest / some)
    return pivot, rest + some * left, squares


def _joined(
    count: npt.NDArray[Any], pivot: Doubles, rest: Doubles, some: npt.NDArray[np.int64], groups: Groups
) -> tuple[Doubles, Doubles]:
    """The pivot and the rest of the joined sums of each group."""
    unit = np.ones(len(groups))
    if is_huge := bool((np.abs(pivot) > HUGE).any()):
        unit = np.where(groups.reduce(np.maximum, np.abs(pivot)) > HUGE, SHRUNK, 1.0)
        pivot, rest = pivot * groups.spread(unit), rest * groups.spread(unit)
    high, low = two_product(count.astype(np.float64), pivot)
    total, error = group_sums(groups, high, low + rest)
    centre = total / some
    product, missed = two_product(some.astype(np.float64), centre)
    left = ((total - product) - missed) + error
    return (centre / unit, left / unit) if is_huge else (centre, left)


def _one_of(plain: Doubles, present: _Present, groups: Groups) -> Doubles:
    # An actual value of the group as the first origin: equal values then deviate by exactly 0.
    if present is None:
        first: Doubles = plain[groups.starts]
        return first
    lowest = groups.reduce(np.minimum, np.where(present, plain, np.inf))
    return np.where(np.isfinite(lowest), lowest, 0.0)


def _state(*columns: npt.NDArray[Any]) -> State:
    return dict(zip(Moments().schema.names, map(pa.array, columns), strict=True))


FAMILY: Final = Family(
    name="moments",
    order=2,
    statistics=(
        Statistic(
            name="mean",
            meaning="the arithmetic mean",
            title="Mean",
            also=dict.fromkeys(("average", "avg"), "mean"),
        ),
        Statistic(
            name="std",
            meaning="the standard deviation, ddof = 1",
            title="Standard deviation",
            also=dict.fromkeys(("stddev", "stdev", "stddev_samp", "sd", "standard_deviation"), "std"),
            is_amount=True,
        ),
        Statistic(
            name="var",
            meaning="the variance, ddof = 1",
            title="Variance",
            also=dict.fromkeys(("variance", "var_samp"), "var"),
            is_amount=True,
        ),
        Statistic(name="sum", meaning="the sum, as float64", title="Sum", also={"total": "sum"}),
    ),
    accumulator=lambda kind: Moments(),
    takes=NUMERIC,
    includes=frozenset({"presence"}),
)

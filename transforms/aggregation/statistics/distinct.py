"""Distinct values: counted exactly up to 1,000, beyond that by HyperLogLog with a standard error of 0.8 %.

Flajolet et al., "HyperLogLog", AofA 2007, with 2^14 registers, and the estimator of Ertl, "New Cardinality
Estimation Algorithms for HyperLogLog Sketches", arXiv:1702.01284 (2017), algorithm 6, which needs no
correction table at any cardinality. The state holds the hashes themselves while they are few, then only the
registers that are not 0; which of the two depends on the values alone, so the order of merges does not matter.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.aggregation.accumulator import Arrival, State, as_numpy
from transforms.aggregation.family import Family, Statistic
from transforms.aggregation.groups import Groups, sorting
from transforms.aggregation.lists import from_lists, group_of_rows, to_lists
from transforms.record.hashing import Hashes, hash_values

EXACT: Final = 1_000
PRECISION: Final = 14
_REGISTERS: Final = 1 << PRECISION
_RANKS: Final = 64 - PRECISION + 1
_RANK_BITS: Final = 6  # a register is packed as index << 6 | rank

Members = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Distinct:
    """`distinct`: how many different values a group has, nulls not counted."""

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field("hashes", pa.list_(pa.uint64())), pa.field("registers", pa.list_(pa.uint32()))])

    def measure(self, values: pa.Array, groups: Groups, arrival: Arrival) -> State:
        members, hashes = groups.members(), hash_values(values)[groups.order]
        if values.null_count:
            present = as_numpy(values.is_valid())[groups.order]
            members, hashes = members[present], hashes[present]
        return _state(members, hashes, np.empty(0, np.intp), np.empty(0, np.uint32), len(groups))

    def merge(self, state: State, groups: Groups) -> State:
        group_of = group_of_rows(groups)
        of_hash, hashes = from_lists(state["hashes"])
        of_register, registers = from_lists(state["registers"])
        return _state(group_of[of_hash], as_numpy(hashes), group_of[of_register], as_numpy(registers), len(groups))

    def finish(self, state: State, statistic: str) -> pa.Array:
        exact = as_numpy(state["hashes"].value_lengths().fill_null(0)).astype(np.int64)
        members, packed = from_lists(state["registers"])
        return pa.array(np.where(exact > 0, exact, _estimate(members, as_numpy(packed), len(exact))))


def _state(
    of_hash: Members, hashes: Hashes, of_register: Members, registers: npt.NDArray[np.uint32], size: int
) -> State:
    of_hash, hashes = _unique(of_hash, hashes, size)
    spilled = np.bincount(of_hash, minlength=size) > EXACT
    spilled[of_register] = True
    leaves = spilled[of_hash]
    if leaves.any():
        of_register = np.concatenate((of_register, of_hash[leaves]))
        registers = np.concatenate((registers, _registers(hashes[leaves])))
        of_hash, hashes = of_hash[~leaves], hashes[~leaves]
    of_register, registers = _largest(of_register, registers)
    return {
        "hashes": to_lists(of_hash, pa.array(hashes, pa.uint64()), size),
        "registers": to_lists(of_register, pa.array(registers, pa.uint32()), size),
    }


def _unique(members: Members, hashes: Hashes, size: int) -> tuple[Members, Hashes]:
    """The different hashes of each group, sorted."""
    order = np.argsort(hashes, kind="stable")
    order = order[sorting(members[order].astype(np.int64), max(size, 1))]
    members, hashes = members[order], hashes[order]
    new = np.ones(len(hashes), bool)
    new[1:] = (members[1:] != members[:-1]) | (hashes[1:] != hashes[:-1])
    return members[new], hashes[new]


def _registers(hashes: Hashes) -> npt.NDArray[np.uint32]:
    """The register of each hash and the rank that the hash gives it, packed."""
    index = (hashes >> np.uint64(64 - PRECISION)).astype(np.uint32)
    rest = hashes << np.uint64(PRECISION)
    # The rank is 1 + the leading zeros of the remaining 50 bits; halving finds them without a loop over rows.
    zeros = np.zeros(len(hashes), np.uint32)
    for bits in (32, 16, 8, 4, 2, 1):
        empty = rest < np.uint64(1 << (64 - bits))
        zeros += np.uint32(bits) * empty
        rest = np.where(empty, rest << np.uint64(bits), rest)
    rank = np.minimum(zeros + np.uint32(1), np.uint32(_RANKS))
    return (index << np.uint32(_RANK_BITS)) | rank


def _largest(members: Members, packed: npt.NDArray[np.uint32]) -> tuple[Members, npt.NDArray[np.uint32]]:
    """The highest rank of each (group, register)."""
    if not len(packed):
        return members, packed
    order = np.lexsort((packed, members))
    members, packed = members[order], packed[order]
    index = packed >> np.uint32(_RANK_BITS)
    last = np.r_[(members[1:] != members[:-1]) | (index[1:] != index[:-1]), True]
    return members[last], packed[last]


def _estimate(members: Members, packed: npt.NDArray[np.uint32], size: int) -> npt.NDArray[np.int64]:
    """Ertl's estimate for every group that has registers, 0 for the others."""
    estimates = np.zeros(size, np.int64)
    ranks = (packed & np.uint32((1 << _RANK_BITS) - 1)).astype(np.int64)
    groups, places = np.unique(members, return_inverse=True)
    filled = np.bincount(places * (_RANKS + 1) + ranks, minlength=len(groups) * (_RANKS + 1))
    for group, histogram in zip(groups.tolist(), filled.reshape(-1, _RANKS + 1), strict=True):
        histogram[0] = _REGISTERS - histogram.sum()
        z = _REGISTERS * _tau(1 - histogram[_RANKS] / _REGISTERS)
        for rank in range(_RANKS - 1, 0, -1):
            z = 0.5 * (z + float(histogram[rank]))
        z += _REGISTERS * _sigma(float(histogram[0]) / _REGISTERS)
        estimates[group] = round(_REGISTERS**2 / (2 * np.log(2)) / z)
    return estimates


def _sigma(x: float) -> float:
    if x == 1:
        return float("inf")
    total, y, power = x, 1.0, x
    while True:
        power *= power
        before = total
        total += power * y
        y += y
        if total == before:
            return total


def _tau(x: float) -> float:
    if x in (0, 1):
        return 0.0
    y, total = 1.0, 1 - x
    while True:
        x = float(np.sqrt(x))
        before = total
        y *= 0.5
        total -= (1 - x) ** 2 * y
        if total == before:
            return total / 3


FAMILY: Final = Family(
    name="distinct",
    order=6,
    statistics=(
        Statistic(
            name="distinct",
            meaning="how many different values: exact to 1,000, then within 0.8 % (one standard error)",
            title="Distinct values",
            also=dict.fromkeys(("unique", "nunique", "count_distinct", "approx_distinct", "cardinality"), "distinct"),
            is_amount=True,
        ),
    ),
    accumulator=lambda kind: Distinct(),
)

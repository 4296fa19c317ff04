"""Groups against pandas' groupby, with nulls as keys of their own and keys of every size."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.aggregation.groups import Groups, concatenate, encode, group, sorting

TEXTS = st.none() | st.sampled_from(["", " ", "a", "A", "ä", "a\u0308", "𝄞", "null", "None", "\x00"])
NUMBERS = st.none() | st.sampled_from([0, -1, 2**63 - 1, -(2**63), 2**62, 1 << 16])


def rows_of_groups(groups: Groups) -> dict[tuple[Any, ...], list[int]]:
    """The rows of each group by its key, in the order they stand in."""
    keys = list(zip(*(values.to_pylist() for values in groups.keys.values()), strict=True))
    parts = np.split(groups.order, groups.starts[1:]) if len(groups) else []
    assert len(set(keys)) == len(keys)
    return {key: part.tolist() for key, part in zip(keys, parts, strict=True)}


def by_hand(*columns: list[Any]) -> dict[tuple[Any, ...], list[int]]:
    found: dict[tuple[Any, ...], list[int]] = {}
    for row, key in enumerate(zip(*columns, strict=True)):
        found.setdefault(key, []).append(row)
    return found


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(TEXTS, NUMBERS, st.none() | st.booleans()), max_size=30))
def test_rows_with_equal_keys_meet_and_null_is_a_key(rows: list[tuple[Any, Any, Any]]) -> None:
    texts, numbers, flags = ([row[i] for row in rows] for i in range(3))
    columns = {"t": pa.array(texts, pa.string()), "n": pa.array(numbers, pa.int64()), "f": pa.array(flags, pa.bool_())}
    assert rows_of_groups(group(columns)) == by_hand(texts, numbers, flags)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5), min_size=1, max_size=30), st.data())
def test_groups_follow_a_first_column_of_integers(slices: list[int], data: st.DataObject) -> None:
    keys = data.draw(st.lists(TEXTS, min_size=len(slices), max_size=len(slices)))
    groups = group({"slice": pa.array(slices, pa.int64()), "k": pa.array(keys, pa.string())})
    assert rows_of_groups(groups) == by_hand(slices, keys)
    assert groups.keys["slice"].to_pylist() == sorted(groups.keys["slice"].to_pylist())


@pytest.mark.parametrize("columns", [2, 3, 5])
def test_cardinalities_may_multiply_beyond_what_an_integer_holds(columns: int) -> None:
    # 2^16 different values in all columns but the first: with five, a number of 64 bits has no room for the first.
    chance = np.random.default_rng(columns)
    size = 1 << 16
    frame = pd.DataFrame({f"c{i}": chance.permutation(size) * 1_000_003 - 2**40 for i in range(columns)})
    frame["c0"] = frame["c0"] % 7
    again, elsewhere = frame.iloc[::3], frame.iloc[1::3].assign(c0=lambda rows: rows["c0"] + 1)
    frame = pd.concat([frame, again, elsewhere], ignore_index=True)
    groups = group({name: pa.array(frame[name].to_numpy()) for name in frame})
    want = frame.groupby(list(frame)).size()
    got = pd.Series(groups.counts, pd.MultiIndex.from_arrays([groups.keys[name].to_numpy() for name in frame]))
    assert len(got) == size + len(elsewhere)
    assert got.sort_index().tolist() == want.sort_index().tolist()
    assert got.sort_index().index.tolist() == want.sort_index().index.tolist()


def test_many_text_and_time_keys_answer_like_pandas() -> None:
    chance = np.random.default_rng(4)
    size = 30_000
    frame = pd.DataFrame(
        {
            "route": pd.Series([f"é{n % 311}" for n in chance.integers(0, 9_999, size)]).where(
                chance.random(size) > 0.1
            ),
            "at": pd.to_datetime(chance.integers(-(10**6), 10**6, size), unit="us", utc=True).astype(
                "datetime64[us, UTC]"
            ),
        }
    )
    groups = group({name: pa.array(frame[name], from_pandas=True) for name in frame})
    want = frame.groupby(["route", "at"], dropna=False).size()
    assert len(groups) == len(want)
    assert sorted(groups.counts) == sorted(want)
    assert groups.keys["route"].null_count > 1  # with one instant or another


def test_reducing_and_spreading_are_over_the_sorted_rows() -> None:
    groups = group({"k": pa.array(["b", "a", "b", None, "a", "b"])})
    values = np.array([1, 2, 4, 8, 16, 32])[groups.order]
    sums = dict(zip(groups.keys["k"].to_pylist(), groups.reduce(np.add, values).tolist(), strict=True))
    assert sums == {"b": 37, "a": 18, None: 8}
    assert dict(zip(groups.keys["k"].to_pylist(), groups.counts.tolist(), strict=True)) == {"b": 3, "a": 2, None: 1}
    assert groups.reduce(np.add, groups.spread(np.ones(3, np.int64))).tolist() == groups.counts.tolist()
    assert np.array_equal(groups.spread(np.arange(3)), groups.members())
    pairs = np.stack((values, values), axis=1)
    assert np.array_equal(groups.reduce(np.add, pairs)[:, 1], groups.reduce(np.add, values))


def test_no_rows_are_no_groups() -> None:
    groups = group({"slice": pa.array([], pa.int64()), "k": pa.array([], pa.string())})
    assert (len(groups), groups.rows, groups.counts.tolist()) == (0, 0, [])
    assert len(groups.reduce(np.minimum, np.empty(0))) == 0


def test_a_slice_of_a_larger_column_is_grouped_by_its_own_values() -> None:
    column = pa.array([5, 5, 7, None, 7, 9, 5])
    assert rows_of_groups(group({"k": column.slice(2, 3)})) == {(7,): [0, 2], (None,): [1]}
    assert rows_of_groups(group({"k": column.slice(4)})) == {(5,): [2], (7,): [0], (9,): [1]}


def test_codes_name_values_from_nought() -> None:
    for values in (pa.array(["x", None, "x"]), pa.array([2**63 - 1, -(2**63), 2**63 - 1]), pa.array([4, None, 4])):
        codes, cardinality = encode(values)
        assert codes[0] == codes[2] != codes[1]
        assert (min(codes), max(codes), cardinality) == (0, 1, 2)
    assert encode(pa.array([], pa.int64()))[1] >= 1


@pytest.mark.parametrize("cardinality", [1, 2, 1 << 16, (1 << 16) + 1, 1 << 32, 1 << 33, 1 << 62])
def test_sorting_is_stable_at_every_cardinality(cardinality: int) -> None:
    ids = np.random.default_rng(cardinality % 97).integers(0, cardinality, 3_000)
    ids[::7] = ids[0]
    assert np.array_equal(sorting(ids, cardinality), np.argsort(ids, kind="stable"))


def test_parts_of_a_column_are_joined() -> None:
    assert concatenate([pa.array([1])]).to_pylist() == [1]
    assert concatenate([pa.array([1]), pa.array([None, 2])]).to_pylist() == [1, None, 2]

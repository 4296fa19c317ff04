"""Lists as states: what goes in by group comes out by row."""

from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.aggregation.groups import group
from transforms.aggregation.lists import add_up, from_lists, group_of_rows, to_lists


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(-9, 9), max_size=4), max_size=8))
def test_lists_come_back_as_they_were_put_together(lists: list[list[int]]) -> None:
    members = np.repeat(np.arange(len(lists)), [len(one) for one in lists]).astype(np.intp)
    put = to_lists(members, pa.array([value for one in lists for value in one], pa.int64()), len(lists))
    assert put.to_pylist() == lists
    rows, values = from_lists(put)
    assert (rows.tolist(), values.to_pylist()) == (members.tolist(), [value for one in lists for value in one])


def test_a_null_list_and_a_slice_of_lists_are_read_as_they_stand() -> None:
    lists = pa.array([[9], [1, 2], None, [], [3]], pa.list_(pa.int64())).slice(1)
    rows, values = from_lists(lists)
    assert (rows.tolist(), values.to_pylist()) == ([0, 0, 3], [1, 2, 3])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 2), st.integers(1, 9)), max_size=30))
def test_counts_of_equal_pairs_add_up_in_order(entries: list[tuple[int, int, int]]) -> None:
    want: Counter[tuple[int, int]] = Counter()
    for member, code, count in entries:
        want[member, code] += count
    members, codes, counts = (np.array([entry[i] for entry in entries], np.int64) for i in range(3))
    got = add_up(members, codes, counts)
    assert list(zip(*(part.tolist() for part in got), strict=True)) == [(*pair, want[pair]) for pair in sorted(want)]


def test_each_row_knows_its_group() -> None:
    groups = group({"k": pa.array(["x", "y", "x", None, "y"])})
    keys = groups.keys["k"].to_pylist()
    assert [keys[g] for g in group_of_rows(groups)] == ["x", "y", "x", None, "y"]

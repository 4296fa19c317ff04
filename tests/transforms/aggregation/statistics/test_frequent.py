"""Frequent values against `collections.Counter`."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.columns import figure, figures
from transforms.aggregation.statistics.frequent import CAP


def counted(values: list[Any], most: int) -> list[dict[str, Any]]:
    counts = Counter(value for value in values if value is not None)
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return [{"value": value, "count": count} for value, count in ordered[:most]]


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["a", "", None]), st.none() | st.text(alphabet="aéZ𝄞 ", max_size=2)), max_size=40
    ),
    most=st.integers(1, 12),
    batch_rows=st.integers(1, 40),
)
def test_the_most_frequent_come_first_and_ties_in_the_order_of_the_values(
    rows: list[tuple[Any, Any]], most: int, batch_rows: int
) -> None:
    keys, values = [key for key, _ in rows], [value for _, value in rows]
    got = figures("frequent", "string", values, f"top{most}", keys=keys, batch_rows=batch_rows)
    for key in set(keys):
        assert got[key] == (counted([value for k, value in rows if k == key], most),)


@pytest.mark.parametrize("batch_rows", [None, 1])
def test_every_type_has_frequent_values(batch_rows: int | None) -> None:
    numbers = [2**63 - 1, -(2**63), 5, 5, None, -(2**63)]
    assert figure("frequent", "int64", numbers, "top9", batch_rows) == counted(numbers, 9)
    flags = [True, None, False, True]
    assert figure("frequent", "bool", flags, "top1", batch_rows) == [{"value": True, "count": 2}]
    floats = [1e300, 5e-324, -1.5, -1.5]
    assert figure("frequent", "float64", floats, "top3", batch_rows) == counted(floats, 3)
    times = figure("frequent", "timestamp", [0, -1, 0, None], "top2", batch_rows)
    assert [(entry["value"].timestamp(), entry["count"]) for entry in times] == [(0, 2), (-1e-6, 1)]


@pytest.mark.parametrize("batch_rows", [None, 1])
@pytest.mark.parametrize("values", [[0.0, -0.0, 1.0], [-0.0, 1.0, 0.0]])
def test_zero_is_one_value_whatever_its_sign(values: list[float], batch_rows: int | None) -> None:
    got = figure("frequent", "float64", values, "top3", batch_rows)
    assert str(got) == str([{"value": 0.0, "count": 2}, {"value": 1.0, "count": 1}])


def test_no_value_is_an_empty_list() -> None:
    assert figure("frequent", "string", [None, None], "top3") == []


@pytest.mark.parametrize("batch_rows", [None, 4_000, 9_999])
def test_ten_thousand_values_are_counted_and_one_more_is_null(batch_rows: int | None) -> None:
    values = [*range(CAP), 3, 3, 7]
    want = [{"value": 3, "count": 3}, {"value": 7, "count": 2}, {"value": 0, "count": 1}]
    assert figure("frequent", "int64", values, "top3", batch_rows) == want
    assert figure("frequent", "int64", [*values, CAP], "top3", batch_rows) is None
    assert figure("frequent", "int64", [CAP, *values], "top3", batch_rows) is None


def test_a_key_beyond_the_cap_leaves_its_neighbours_their_answers() -> None:
    keys = ["many"] * (CAP + 1) + ["few"] * 3
    got = figures("frequent", "int64", [*range(CAP + 1), 1, 1, 2], "top1", keys=keys, batch_rows=5_000)
    assert got == {"many": (None,), "few": ([{"value": 1, "count": 2}],)}


def test_a_key_that_is_over_stays_over_when_more_comes() -> None:
    values = [*range(CAP + 1), *[0] * CAP]
    assert figure("frequent", "int64", values, "top1", CAP + 1) is None


def test_more_places_than_values_give_all_of_them() -> None:
    assert figure("frequent", "string", ["b", "a", "b"], "top9999") == counted(["b", "a", "b"], 9)

"""Functions of the user's: what they get, what they may give, and the rows on which they fail."""

from datetime import datetime, timezone
from typing import Any

import pandas as pd
import pytest

from tests.transforms.preprocessing.rows import COLUMNS, batch, rows
from transforms.preprocessing.function import AppliedFunction, plan_function, to_frame
from transforms.record.batch import PAYLOAD, POSITION

HERE = "tests.transforms.preprocessing.functions"
MOMENT = datetime(2013, 1, 1, 5, tzinfo=timezone.utc)
LARGEST = 2**63 - 1


def planned(name: str) -> AppliedFunction:
    return plan_function(f"{HERE}:{name}", COLUMNS)


def applied(name: str, **columns: list[Any]) -> tuple[Any, dict[int, str]]:
    return planned(name)(batch(**columns))


def test_a_frame_has_pandas_types_that_keep_nulls_and_digits() -> None:
    frame = to_frame(batch(i=[2**53 + 1, None], f=[0.5, None], s=["", None], b=[True, None], t=[MOMENT, None]))
    assert [str(kind) for kind in frame.dtypes] == ["Int64", "float64", "object", "boolean", "datetime64[us, UTC]"]
    assert frame.index.equals(pd.RangeIndex(2))
    assert frame["i"][0] == 2**53 + 1
    assert frame.isna().iloc[1].all()


def test_a_function_that_keeps_its_frame_keeps_the_batch() -> None:
    given = batch(i=[LARGEST, None], f=[0.5, None], s=["", None], b=[True, None], t=[MOMENT, None])
    found, failed = planned("keep")(given)
    assert found.equals(given)
    assert not failed


def test_new_columns_have_the_type_that_the_function_gives_an_empty_frame() -> None:
    assert dict(planned("add_double").columns) == {**COLUMNS, "double": "int64"}
    found, failed = applied("add_double", i=[2**61 + 1, None])
    assert rows(found, "double") == [2**62 + 2, None]
    assert not failed


@pytest.mark.parametrize(
    "name, reason",
    [
        ("fail_on_three", "Unnameable: three"),
        ("change_in_place", "Unnameable: three"),
        ("infinite_on_three", f"{HERE}:infinite_on_three gave f a value that no column can hold: inf is not finite"),
        ("nul_on_three", f"{HERE}:nul_on_three gave s a value that no column can hold: the text holds U+0000"),
        (
            "far_on_three",
            f"{HERE}:far_on_three gave t a value that no column can hold: 300000000000000000 µs since 1970 lie ",
        ),
        ("two_on_three", "ValueError: b is neither true nor false"),
        ("half_on_three", "ArrowInvalid: Float value 3.500000 was truncated converting to int64"),
        ("texts_on_three", "ArrowInvalid: Failed to parse string: 'x' as a scalar of type double"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 33])
def test_only_the_rows_that_fail_are_lost(name: str, reason: str, size: int) -> None:
    for place in {0, size // 2, size - 1}:
        numbers = [1] * size
        numbers[place] = 3
        found, failed = applied(name, i=numbers, s=["x"] * size, f=[1.0] * size)
        assert list(failed) == [place]
        assert failed[place].startswith(reason)
        assert rows(found, POSITION) == [row for row in range(size) if row != place]
        assert rows(found, PAYLOAD) == [str(row).encode() for row in range(size) if row != place]


def test_a_frame_changed_in_place_is_a_copy() -> None:
    found, failed = applied("change_in_place", i=[1, 3, 5, None])
    assert rows(found, "i") == [2, 6, None]
    assert list(failed) == [1]


def test_columns_may_come_back_as_nulls_alone() -> None:
    given: dict[str, list[Any]] = {
        "i": [1, 2],
        "f": [1.0, 2.0],
        "s": ["a", "b"],
        "b": [True, False],
        "t": [MOMENT, MOMENT],
    }
    found, failed = applied("nulls", **given)
    assert not failed
    assert rows(found, *COLUMNS) == [(None,) * 5] * 2


@pytest.mark.parametrize("name", ["naive_times", "other_times"])
def test_times_come_back_as_instants(name: str) -> None:
    found, failed = applied(name, t=[MOMENT, None])
    assert not failed
    assert rows(found, "t") == [MOMENT, None]


@pytest.mark.parametrize("name", ["shift_the_index", "reverse"])
def test_a_frame_with_another_index_has_failed(name: str) -> None:
    found, failed = applied(name, i=[1, 2, 3])
    if name == "reverse":  # one row has no order
        assert rows(found, "i") == [1, 2, 3]
    else:
        assert found.num_rows == 0
        assert failed[2] == f"ValueError: {HERE}:{name} must keep the index, and gave 1 rows for 1"


def test_a_frame_with_fewer_rows_has_failed_and_is_asked_again_for_fewer() -> None:
    found, failed = applied("lose_a_row", i=[1, 2, 3])
    assert rows(found, "i") == [1, 2, 3]
    assert not failed


def test_an_empty_batch_gets_the_new_columns_too() -> None:
    found, failed = planned("add_double")(batch(i=[1]).slice(0, 0))
    assert found.schema.names[-1] == "double"
    assert (found.num_rows, failed) == (0, {})


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("nowhere", "cannot be imported"),
        ("fail_when_empty", "fails on a frame without rows: IndexError"),
        ("give_a_series", "fails on a frame without rows: TypeError"),
        ("shift_the_index", None),
        ("drop_a_column", "must keep every column, and drops f"),
        ("name_by_number", "must name columns by text, and gives 5"),
        ("name_twice", "gives two columns i"),
        ("give_categories", "gives c as category, which is not a column type"),
    ],
)
def test_what_is_wrong_with_a_function_shows_when_it_is_planned(name: str, sentence: str | None) -> None:
    if sentence is None:
        assert planned(name)
    else:
        with pytest.raises(ValueError, match=f"^{HERE}:{name} {sentence}"):
            planned(name)


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"^no_such_module:f cannot be imported: .*No module named 'no_such_module'"):
        plan_function("no_such_module:f", COLUMNS)

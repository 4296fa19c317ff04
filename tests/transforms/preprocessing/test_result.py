"""Results: what no column holds."""

import pyarrow as pa

from transforms.preprocessing.result import unfit, without
from transforms.time.event_time import EARLIEST, LATEST


def test_floats_must_be_finite() -> None:
    values = pa.array([1.0, float("nan"), None, float("-inf"), -0.0])
    assert unfit(values) == {1: "nan is not finite", 3: "-inf is not finite"}


def test_times_must_lie_in_the_years_that_event_times_lie_in() -> None:
    values = pa.array([EARLIEST - 1, EARLIEST, LATEST - 1, LATEST, None, 2**63 - 1], pa.int64())
    assert unfit(values.cast(pa.timestamp("us", "UTC"))).keys() == {0, 3, 5}


def test_texts_must_not_hold_what_sql_cannot() -> None:
    assert unfit(pa.array(["a", "a\0", None, "\0", ""])) == dict.fromkeys((1, 3), "the text holds U+0000")


def test_integers_and_truth_values_always_fit() -> None:
    assert unfit(pa.array([2**63 - 1, None])) == unfit(pa.array([True, None])) == {}


def test_rows_are_taken_out_and_others_stay() -> None:
    assert without(pa.array([1, None, 3]), {2: ""}).to_pylist() == [1, None, None]
    assert without(pa.array(["a", "b"]), {}).to_pylist() == ["a", "b"]

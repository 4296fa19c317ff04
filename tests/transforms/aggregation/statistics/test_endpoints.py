"""Endpoints against sorting the rows by event time, source and position."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.columns import figures
from transforms.aggregation.measure import ColumnMeasure
from transforms.aggregation.statistics.endpoints import Endpoints
from transforms.aggregation.summary import Summary
from transforms.record.batch import EVENT_TIME, POSITION, Origin, with_origin
from transforms.time.event_time import TIMESTAMP
from transforms.time.windows.sized import Sized


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["a", None]), st.integers(0, 3), st.none() | st.text(max_size=2)), max_size=25
    ),
    batch_rows=st.integers(1, 12),
)
def test_first_and_last_are_those_of_sorted_rows(rows: list[tuple[Any, int, Any]], batch_rows: int) -> None:
    want = {}
    for key in {key for key, _, _ in rows}:
        # Python's sort is stable: of equal event times the earlier position stays first.
        present = [value for k, _, value in sorted(rows, key=lambda row: row[1]) if k == key and value is not None]
        want[key] = (present[0], present[-1]) if present else (None, None)
    keys, times, values = ([row[i] for row in rows] for i in range(3))
    assert (
        figures("endpoints", "string", values, "first", "last", keys=keys, times=times, batch_rows=batch_rows) == want
    )


def test_event_time_decides_and_not_arrival() -> None:
    assert figures("endpoints", "int64", [1, 2, 3], "first", "last", times=[5, 9, 1])[None] == (3, 2)


def test_a_null_is_neither_first_nor_last() -> None:
    assert figures("endpoints", "float64", [None, 7.5, None], "first", "last", times=[0, 1, 2])[None] == (7.5, 7.5)


def test_every_type_has_endpoints() -> None:
    assert figures("endpoints", "bool", [None, False, True], "first", "last")[None] == (False, True)
    assert figures("endpoints", "int64", [-(2**63), 2**63 - 1], "first", "last")[None] == (-(2**63), 2**63 - 1)


@pytest.mark.parametrize("turned", [False, True])
def test_the_source_decides_among_equal_event_times_then_the_position(turned: bool) -> None:
    measure = ColumnMeasure("x", "endpoints", Endpoints(pa.string()))
    summary = Summary({}, Sized(size="1h"), [measure])
    parts = [summary.summarize(from_source(ordinal, 10 - ordinal, f"source {ordinal}")) for ordinal in range(3)]
    state = summary.state(summary.merge(parts[::-1] if turned else parts), measure)
    ends = [measure.accumulator.finish(state, end).to_pylist() for end in ("first", "last")]
    assert ends == [["source 0"], ["source 2"]]


def from_source(ordinal: int, position: int, value: str) -> pa.RecordBatch:
    columns = {"x": pa.array([value]), EVENT_TIME: pa.array([7], TIMESTAMP), POSITION: pa.array([position])}
    return with_origin(pa.record_batch(columns), Origin(f"part-{ordinal}", ordinal))

"""The laws of windows, which every kind must keep, windows that grow among them."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.aggregations import DAY, HOUR, Aggregation, aggregation
from tests.more_kinds import more_windows
from transforms.time.event_time import Instants, as_timestamps
from transforms.time.window import Spans, Window, kinds, window_of

WRITTEN: Final[list[dict[str, Any]]] = [
    {"size": "1h"},
    {"size": "5h", "every": "1h"},
    {"calendar": "day", "time_zone": "Europe/Berlin"},
    {"calendar": "month", "time_zone": "America/Sao_Paulo"},
    {"gap": "1h"},
    {"gap": "20m"},
]
every_kind = pytest.mark.parametrize("written", WRITTEN, ids=str)
INSTANTS = st.lists(st.integers(-3 * HOUR, 3 * HOUR) | st.integers(-60 * DAY, 60 * DAY), min_size=1, max_size=20)
some = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def one_more() -> Iterator[None]:
    with more_windows():
        yield


def of(written: dict[str, Any]) -> Aggregation:
    return aggregation({"x": "int64"}, window=written, statistics={"x": ["sum"]})


def spans(window: Window, instants: list[int]) -> Spans:
    """The slice of each record."""
    starts = window.slices(as_timestamps(np.array(instants, np.int64)))
    return Spans(starts, window.slice_ends(starts))


def windows_of(written: dict[str, Any], instants: list[int]) -> set[tuple[int, ...]]:
    """The windows of records, each with how many records it holds and their sum."""
    frame = pd.DataFrame({"at": instants, "x": np.arange(len(instants)) + 1})
    return {(r["window_start"], r["window_end"], r["rows"], r["x_sum"]) for r in of(written).rows(frame, 7)}


def test_every_kind_is_tried() -> None:
    assert {name for name in kinds() for written in WRITTEN if name in written} == set(kinds())
    for kind in kinds().values():
        assert kind.words and kind.spec.__doc__ and kind.name in kind.spec.model_fields


@every_kind
@some
@given(instants=INSTANTS)
def test_a_slice_holds_its_record_and_windows_hold_the_slice(written: dict[str, Any], instants: list[int]) -> None:
    window = window_of(written)
    slices, at = spans(window, instants), np.array(instants)
    assert np.all((slices.starts <= at) & (at < slices.ends))
    bounds = window.bounds(slices)
    assert np.all((bounds.starts <= slices.starts) & (slices.ends <= bounds.ends))
    assert np.all(window.last_ends(slices) >= bounds.ends)
    if window.longest is not None:
        assert np.all(bounds.ends - bounds.starts <= window.longest)
    order: Instants = np.argsort(slices.starts, kind="stable")
    assert np.all(np.diff(window.ordinals(slices.starts)[order]) >= 0)


@every_kind
@some
@given(instants=INSTANTS, horizon=st.integers(-3 * HOUR, 3 * HOUR), more=INSTANTS)
def test_a_slice_that_ends_later_changes_no_window_that_has_ended(
    written: dict[str, Any], instants: list[int], horizon: int, more: list[int]
) -> None:
    ends = spans(window_of(written), more).ends
    later = [instant for instant, end in zip(more, ends.tolist(), strict=True) if end > horizon]
    before, after = windows_of(written, instants), windows_of(written, [*instants, *later])
    assert {each for each in before if each[1] <= horizon} == {each for each in after if each[1] <= horizon}


@every_kind
@some
@given(instants=INSTANTS, after=st.integers(-3 * HOUR, 3 * HOUR), by=st.integers(1, 3 * HOUR))
def test_the_next_end_is_the_first_end_of_a_window_and_a_tick_is_due_then(
    written: dict[str, Any], instants: list[int], after: int, by: int
) -> None:
    window, by = window_of(written), after + by
    slices = spans(window, instants)
    ends = sorted({end for _, end, *_ in (w for at in instants for w in windows_of(written, [at]))})
    assert window.next_end(slices, after) == next((end for end in ends if end > after), None)
    if any(after < end <= by for end in (*ends, *slices.ends.tolist())):
        assert window.may_end(after, by)
    assert window.last_ends(slices).max() == ends[-1]


@every_kind
@some
@given(instants=INSTANTS, more=INSTANTS)
def test_what_begins_after_a_state_holds_none_of_its_records(
    written: dict[str, Any], instants: list[int], more: list[int]
) -> None:
    window, last_end = window_of(written), int(window_of(written).last_ends(spans(window_of(written), instants)).max())
    alone = windows_of(written, more)
    for start, end, rows, total in windows_of(written, [*more, *instants]):
        if window.begins_after(Spans(np.array([start]), np.array([end])), last_end).all():
            assert (start, end, rows, total) in alone


@every_kind
def test_no_records_have_no_slices(written: dict[str, Any]) -> None:
    window = window_of(written)
    none = spans(window, [])
    assert [len(part) for part in (*none, *window.bounds(none), window.ordinals(none.starts))] == [0] * 5
    assert window.next_end(none, 0) is None


def test_a_kind_asks_by_its_field_and_is_gone_when_its_file_is() -> None:
    assert str(window_of({"gap": "90s"})) == "sessions with gaps of 90s"
    with pytest.raises(ValueError, match=r"exactly one of `size`, `calendar` and `gap`"):
        window_of({"size": "1h", "gap": "1h"})
    with pytest.raises(ValueError, match=r"window\.every goes with `size`, not with `gap`"):
        window_of({"gap": "1h", "every": "1m"})
    with pytest.raises(ValueError, match=r"window\.gap must be longer than 0s and at most 366d, is 0s"):
        window_of({"gap": "0s"})

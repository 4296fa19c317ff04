"""Marks: few of them, and always one that is as old as a retention and not much older."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.specification import Seconds
from transforms.storage.checkpoint.expiry import STEPS, Mark, expiring, with_mark


@given(
    st.lists(st.floats(1.0, 90.0), min_size=1, max_size=400),
    st.lists(st.sampled_from([60.0, 600.0, 3_600.0, 9_999.0]), min_size=1, max_size=3),
)
def test_rows_stay_as_long_as_is_said_and_at_most_a_third_longer(steps: list[float], stays: list[float]) -> None:
    retention = {f"t{number}": Seconds(seconds) for number, seconds in enumerate(stays)}
    marks: list[Mark] = []
    gone: dict[str, Mark] = {}
    now = 0.0
    for name, step in enumerate(steps):
        now += step
        found = expiring(marks, retention, gone, now, oldest=name)
        assert all(mark.time > gone[table].time for table, mark in found.items() if table in gone)
        gone |= found
        for table, seconds in retention.items():
            through = gone[table].time if table in gone else steps[0]
            assert table not in gone or now - through >= seconds
            assert now - through <= seconds + 1.5 * max(seconds, min(stays)) / STEPS + 3 * 90, table
        marks = with_mark(marks, Mark(name, now, 0, {}), retention, name)
        assert len(marks) < 64


@pytest.mark.parametrize("stays", [{"a": 30.0, "b": 90.0, "c": 365.0}, {"a": 7.0, "b": 365.0}, {"a": 30.0, "b": 45.0}])
def test_each_table_has_its_own_retention_however_far_they_are_apart(stays: dict[str, Seconds]) -> None:
    """In days, with a checkpoint each hour."""
    marks: list[Mark] = []
    gone: dict[str, Mark] = {}
    for hour in range(24 * 800):
        now = hour / 24
        gone |= expiring(marks, stays, gone, now, oldest=hour)
        for table, days in stays.items():
            assert now < days * 1.01 or table in gone, table
            assert table not in gone or days <= now - gone[table].time <= days * 4 / 3, table
        marks = with_mark(marks, Mark(hour, now, 0, {}), stays, hour)
        assert len(marks) < 64


@pytest.mark.parametrize("seconds", [600.0, 3_000.0, 5_000.0])
def test_a_retention_shorter_than_what_verify_needs_goes_by_that(seconds: Seconds) -> None:
    """Checkpoints each 5 s, the oldest kept is between one and two hours old."""
    marks: list[Mark] = []
    gone: dict[str, Mark] = {}
    times = []
    for name in range(8_000):
        now, oldest = name * 5.0, max(0, name - 720 - name % 720)
        found = expiring(marks, {"t": seconds}, gone, now, oldest)
        times += [now] if found else []
        gone |= found
        marks = with_mark(marks, Mark(name, now, 0, {}), {"t": seconds}, oldest)
    assert len(times) > 8 and now - gone["t"].time < 3 * 3600


def test_after_going_back_nothing_goes_that_went_before() -> None:
    gone = {"t": Mark(78, 78.0, 0, {})}
    marks = [Mark(name, float(name), 0, {}) for name in range(0, 71, 2)]
    assert expiring(marks, {"t": Seconds(10.0)}, gone, 71.0, oldest=70) == {}
    later = [*marks, Mark(80, 80.0, 0, {})]
    assert expiring(later, {"t": Seconds(10.0)}, gone, 91.0, oldest=90)["t"].name == 80


def test_what_verify_may_compare_stays() -> None:
    marks = [Mark(name, float(name), 0, {}) for name in (1, 2, 3)]
    assert expiring(marks, {"ledger": Seconds(1.0)}, {}, 99.0, oldest=2)["ledger"].name == 2
    assert expiring(marks, {"ledger": Seconds(1.0)}, {}, 99.0, oldest=0) == {}


def test_a_clock_that_was_set_back_lets_nothing_go() -> None:
    assert expiring([Mark(1, 500.0, 0, {})], {"ledger": Seconds(10.0)}, {}, 100.0, oldest=9) == {}
    marks = with_mark([Mark(1, 500.0, 0, {})], Mark(2, 100.0, 0, {}), {"ledger": Seconds(10.0)}, 2)
    assert [mark.name for mark in marks] == [2]
    gone = {"ledger": Mark(1, 500.0, 0, {})}
    assert expiring(marks, {"ledger": Seconds(10.0)}, gone, 111.0, oldest=9)["ledger"].name == 2

"""Marks: few of them, and always one that is as old as a retention and not much older."""

from hypothesis import given
from hypothesis import strategies as st

from transforms.storage.checkpoint.expiry import STEPS, Mark, expiring, with_mark


@given(
    st.lists(st.floats(1.0, 90.0), min_size=1, max_size=400),
    st.lists(st.sampled_from([60.0, 600.0, 3_600.0, 9_999.0]), min_size=1, max_size=3),
)
def test_rows_stay_as_long_as_is_said_and_at_most_a_third_longer(steps: list[float], stays: list[float]) -> None:
    retention = {f"t{number}": seconds for number, seconds in enumerate(stays)}
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
            assert now - through <= seconds + 2 * max(seconds, min(stays)) / STEPS * 1.34 + 4 * 90, table
        marks = with_mark(marks, Mark(name, now, 0, {}), retention)
        assert len(marks) < 64


def test_what_verify_may_compare_stays() -> None:
    marks = [Mark(name, float(name), 0, {}) for name in (1, 2, 3)]
    assert expiring(marks, {"ledger": 1.0}, {}, 99.0, oldest=2)["ledger"].name == 2
    assert expiring(marks, {"ledger": 1.0}, {}, 99.0, oldest=0) == {}


def test_a_clock_that_was_set_back_lets_nothing_go() -> None:
    assert expiring([Mark(1, 500.0, 0, {})], {"ledger": 10.0}, {}, 100.0, oldest=9) == {}
    marks = with_mark([Mark(1, 500.0, 0, {})], Mark(2, 100.0, 0, {}), {"ledger": 10.0})
    assert [mark.name for mark in marks] == [2]
    gone = {"ledger": Mark(1, 500.0, 0, {})}
    assert expiring(marks, {"ledger": 10.0}, gone, 111.0, oldest=9)["ledger"].name == 2

"""What tests wait with: it returns at once when it is so, and says what was seen when it is not."""

import time

import pytest

from tests.waiting import Deadline, Stuck, until


def test_it_ends_as_soon_as_it_is_so_with_what_was_seen() -> None:
    numbers = iter(range(100))
    assert until(lambda: next(numbers), "a three", lambda number: number == 3) == 3


def test_what_does_not_come_is_told_with_what_was_seen_last() -> None:
    with pytest.raises(Stuck, match=r"^waited 0\.05 s for a four, last seen: 3\nthe log$"):
        until(lambda: 3, "a four", lambda number: number == 4, seconds=0.05, said=lambda: "the log\n")
    with pytest.raises(Stuck, match=r"^waited 0 s for the end$"):
        until(lambda: False, "the end", seconds=0)


def test_what_cannot_come_any_more_is_not_waited_for() -> None:
    began = time.monotonic()
    with pytest.raises(Stuck, match=r"^waited for a row, which cannot come any more: exit code 1$"):
        until(lambda: False, "a row", unless=lambda: "exit code 1")
    assert time.monotonic() - began < 5
    assert until(lambda: True, "what is there already", unless=lambda: "exit code 1")


def test_a_loop_that_works_has_a_deadline() -> None:
    Deadline("all of it").check()
    with pytest.raises(Stuck, match=r"^waited 0 s for all of it, last seen: \{0: 1\}$"):
        Deadline("all of it", 0).check({0: 1})

"""How much of a log is handed over at a time."""

import pytest

from transforms.collection.feed import FLUSH_BYTES, Appetite


def settled(bytes_a_second: float, waiting: int = 1 << 40) -> int:
    """How much is handed over in the end to what takes so many bytes a second."""
    appetite = Appetite()
    for _ in range(30):
        size = min(appetite.bytes, waiting)
        appetite.took(size / bytes_a_second, size)
    return appetite.bytes


@pytest.mark.parametrize("bytes_a_second", [10e3, 250e3, 1e6, 5e6])
def test_a_portion_takes_a_slow_job_two_to_four_seconds(bytes_a_second: float) -> None:
    assert 1.9 < settled(bytes_a_second) / bytes_a_second < 4.1


def test_a_fast_job_has_the_largest_portions_after_a_few() -> None:
    appetite, portions = Appetite(), 0
    while appetite.bytes < FLUSH_BYTES:
        appetite.took(0.1, appetite.bytes)
        portions += 1
    assert portions <= 6
    assert settled(50e6) == FLUSH_BYTES


def test_portions_of_what_comes_in_say_nothing_of_larger_ones() -> None:
    assert settled(250e3, waiting=10_000) == Appetite().bytes

"""The table of targets."""

import pytest

from benchmarks.targets import print_table


def test_one_target_missed_is_told_and_remembered(capsys: pytest.CaptureFixture[str]) -> None:
    assert not print_table([("rate", "at least 2", "1", False), ("size", "-", "3", True)])
    *_, rate, size = capsys.readouterr().out.splitlines()
    assert (rate, size) == ("| rate | at least 2 | 1 | **missed** |", "| size | - | 3 | met |")


def test_nothing_measured_misses_nothing() -> None:
    assert print_table([])

"""What `flink status` makes of a cluster's figures."""

from typing import Any

from dataflow.commands.flink_state import growth_of


def history(*sizes: int, status: str = "COMPLETED", savepoint: bool = False) -> list[dict[str, Any]]:
    """Checkpoints every 10 s, newest first as Flink tells them."""
    return [
        {"status": status, "is_savepoint": savepoint, "state_size": size, "trigger_timestamp": 10_000 * number}
        for number, size in reversed(list(enumerate(sizes)))
    ]


def test_growth_is_bytes_a_day() -> None:
    assert growth_of(history(1000, 6000, 11_000)) == 5_000 * 8_640


def test_what_comes_and_goes_with_windows_is_no_growth() -> None:
    assert growth_of(history(1000, 6000, 900_000, 905_000, 10_000, 15_000)) == 5_000 * 8_640


def test_too_few_checkpoints_say_nothing() -> None:
    assert growth_of(history(1000, 6000)) == 0
    assert growth_of(history(1, 2, 3, 4, status="FAILED")) == growth_of(history(1, 2, 3, 4, savepoint=True)) == 0

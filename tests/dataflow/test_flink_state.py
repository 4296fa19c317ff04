"""What `flink status` makes of a cluster's figures, and which savepoints fit a job."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from dataflow.commands.flink.start import refuse_other_state
from dataflow.commands.flink.state import growth_of, standstill
from dataflow.errors import Refused
from dataflow.execution.checkpoints import identity
from tests.dataflow.page.pages import live_job

SUBMITTED = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


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


def said(kept: timedelta | None, after: timedelta, pace: float = 10.0) -> str:
    """What is said so long after the submission of a job whose newest checkpoint was taken so long after it."""
    taken = None if kept is None else (SUBMITTED + kept).timestamp()
    return standstill(taken, SUBMITTED.isoformat(timespec="seconds"), (SUBMITTED + after).timestamp(), pace)


@pytest.mark.parametrize("kept", [None, timedelta(days=-3)])
def test_a_job_that_was_just_resumed_is_not_said_to_keep_nothing(kept: timedelta | None) -> None:
    assert said(kept, timedelta(seconds=30)) == ""
    assert said(kept, timedelta(minutes=5)).startswith(
        "it is running and has kept no checkpoint for 5 m: check the last failure"
    )


def test_a_job_that_stopped_keeping_checkpoints_is_said_to_since_the_last_one() -> None:
    assert said(timedelta(minutes=10), timedelta(minutes=11)) == ""
    assert said(timedelta(minutes=10), timedelta(minutes=14)).startswith(
        "it is running and has kept no checkpoint for 4 m:"
    )


def test_a_slow_pace_of_checkpoints_is_no_standstill() -> None:
    assert said(timedelta(), timedelta(minutes=50), pace=600) == ""
    assert said(timedelta(), timedelta(minutes=121), pace=600).startswith(
        "it is running and has kept no checkpoint for 2 h:"
    )


def test_a_savepoint_fits_the_same_job_also_if_an_earlier_version_took_it(tmp_path: Path) -> None:
    job = live_job(tmp_path)
    known = identity(job)
    earlier = {part: value for part, value in known.items() if part != "source"}
    for was in (known, earlier):
        refuse_other_state(job, was, ["a"], ["a"])
    for part, was in (("source", {**known, "source": "kafka"}), ("job", {**earlier, "job": "another"})):
        with pytest.raises(Refused, match=f"`{part}` has changed"):
            refuse_other_state(job, was, ["a"], ["a"])

"""What is recorded of a job on a cluster, and that nothing else runs it meanwhile."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dataflow.errors import JobRunning
from dataflow.execution.bounded import held, locked
from dataflow.execution.submission import (
    RECORD,
    Standing,
    Submission,
    forget_savepoints,
    is_running,
    recorded,
    refuse_while_it_runs,
)
from tests.runners.test_flink import server  # noqa: F401  # a fixture
from transforms.errors import SinkError, StateRefused
from transforms.storage.checkpoint.history import Stretch

SUBMITTED = Submission(
    cluster="localhost:1",
    job="a" * 32,
    jar="/a.jar",
    parallelism=2,
    submitted="2026-01-01T00:00:00+00:00",
    labels=["a", "b"],
    identity={"job": "x"},
    start=-1,
    settings=[],
    flags=[],
    before=[],
    savepoints=[],
)

LINE = (Stretch("first"),)
MARK = Standing(8, "first", [], 1_000, {"log": 5}, LINE)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[str]:
    yield str(tmp_path / "state")


def there(server: Any, status: str | None) -> Submission:  # noqa: F811
    if status is not None:
        server.known[f"GET /v1/jobs/{SUBMITTED.job}/status"] = 200, {"status": status}
    return replace(SUBMITTED, cluster=server.address)


def test_a_record_is_read_as_it_was_written(state: str) -> None:
    assert Submission.read(state) is None
    record = SUBMITTED.with_savepoint("file:/savepoints/savepoint-1", MARK)
    record.write(state)
    assert Submission.read(state) == record
    assert os.listdir(state) == [RECORD]


def test_savepoints_are_forgotten_where_tables_were_made_anew(state: str) -> None:
    forget_savepoints(state)
    SUBMITTED.with_savepoint("file:/s/savepoint-1", MARK).write(state)
    forget_savepoints(state)
    left = Submission.read(state)
    assert left is not None and (list(left.savepoints), left.job) == ([], SUBMITTED.job)


def test_a_savepoint_is_found_by_its_name_wherever_it_is_now() -> None:
    record = SUBMITTED.with_savepoint("file:/a/savepoint-1", MARK).with_savepoint("file:/a/savepoint-2", None)
    latest, moved = record.savepoint("latest", LINE), record.savepoint("s3://b/savepoint-1/", LINE)
    assert latest and latest.path == "file:/a/savepoint-2"
    assert moved and (moved.path, moved.labels) == ("s3://b/savepoint-1/", ["a", "b"])
    assert record.savepoint("file:/a/savepoint-3", LINE) is None


def test_the_latest_savepoint_is_one_that_the_job_has_not_left() -> None:
    """It went back to checkpoint 8: what followed in that history is no place to resume from."""
    later = replace(MARK, name=12)
    record = SUBMITTED.with_savepoint("file:/a/savepoint-1", MARK).with_savepoint("file:/a/savepoint-2", later)
    line = (Stretch("first", 8), Stretch("second"))
    latest, named = record.savepoint("latest", line), record.savepoint("savepoint-2", line)
    assert latest and latest.path == "file:/a/savepoint-1" and not latest.is_abandoned(line)
    assert named and named.is_abandoned(line)
    assert named.is_after(latest) and not latest.is_after(named)


def test_savepoints_stand_in_the_order_they_were_taken_in_and_once() -> None:
    record = SUBMITTED.with_savepoint("file:/a/savepoint-2", MARK, "2026-01-02T00:00:00+00:00")
    record = record.with_savepoint("file:/a/savepoint-1", None, "2026-01-01T00:00:00+00:00")
    record = record.with_savepoint("file:/a/savepoint-1", MARK, "2026-01-01T00:00:00+00:00")
    assert [(entry.path[-1], entry.mark) for entry in record.savepoints] == [("1", MARK), ("2", MARK)]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 99}'])
def test_a_record_that_cannot_be_read_is_refused_with_what_to_do(state: str, content: str) -> None:
    SUBMITTED.write(state)
    Path(state, RECORD).write_text(content)
    with pytest.raises(StateRefused, match=r"flink\.json: (cannot be read|has format 99)"):
        Submission.read(state)


def test_a_start_that_fails_leaves_the_record_before(state: str) -> None:
    with pytest.raises(ValueError, match="no"), recorded(state, SUBMITTED):
        raise ValueError("no")
    assert Submission.read(state) is None and os.listdir(state) == []
    SUBMITTED.write(state)
    with pytest.raises(ValueError, match="no"), recorded(state, replace(SUBMITTED, job="b" * 32)):
        raise ValueError("no")
    assert Submission.read(state) == SUBMITTED


def test_a_state_that_cannot_be_written_is_a_sinks_failure(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(SinkError):
        SUBMITTED.write(str(tmp_path / "state"))


@pytest.mark.parametrize(
    ("status", "runs"), [("RUNNING", True), ("RESTARTING", True), ("FINISHED", False), (None, False)]
)
def test_a_job_runs_until_its_cluster_says_otherwise(server: Any, status: str | None, runs: bool) -> None:  # noqa: F811
    assert is_running(there(server, status)) is runs


def test_a_job_on_a_cluster_runs_nowhere_else(state: str, server: Any) -> None:  # noqa: F811
    there(server, "RUNNING").write(state)
    with pytest.raises(JobRunning, match="runs on Flink at"), locked(state):
        pass
    with held(state), locked(state):
        pass


def test_a_job_whose_cluster_is_silent_runs_nowhere_else_either(state: str) -> None:
    SUBMITTED.write(state)
    with pytest.raises(JobRunning, match=r"it is unknown whether it still runs: .* remove .*flink\.json"):
        refuse_while_it_runs(state)


def test_a_job_that_ended_there_may_run_here(state: str, server: Any) -> None:  # noqa: F811
    there(server, "CANCELED").write(state)
    with locked(state):
        assert json.loads(Path(state, RECORD).read_text())["job"] == SUBMITTED.job

"""What a runner raises, as the failure that it is about."""

import pytest

from dataflow.errors import JobFailed
from dataflow.execution.bounded import as_failure
from transforms.errors import SinkError, SourceError, SqlSinkError, TableLost, failures

TRACE = "Error from worker: Traceback (most recent call last):\n  File 'x.py', line 1, in y\n"


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (
            RuntimeError(f"{TRACE}transforms.errors.SinkError: out: disk full [while running 'Store']"),
            SinkError,
            "out: disk full",
        ),
        (RuntimeError(f"{TRACE}transforms.errors.SqlSinkError: db: gone"), SinkError, "db: gone"),
        (
            RuntimeError(f"{TRACE}transforms.errors.TakenOver: state: another goes on"),
            SinkError,
            "state: another goes on",
        ),
        (RuntimeError(f"{TRACE}transforms.errors.SourceError: a.csv: cut short"), JobFailed, "a.csv: cut short"),
        (RuntimeError(f"{TRACE}ValueError: no"), JobFailed, "the job failed: ValueError: no"),
        (RuntimeError("nothing but words"), JobFailed, "the job failed: nothing but words"),
        (KeyError("k"), JobFailed, "the job failed: KeyError: 'k'"),
        (SqlSinkError("db: gone [while running 'Store']"), SinkError, "db: gone"),
        (SourceError("a.csv: cut short"), JobFailed, "a.csv: cut short"),
    ],
)
def test_a_failure_is_found_in_what_a_runner_raises(error: Exception, kind: type[Exception], words: str) -> None:
    found = as_failure(error)
    assert (type(found), str(found)) == (kind, words)


def test_a_failure_is_found_behind_others() -> None:
    outer = RuntimeError("wrapped")
    outer.__cause__ = ValueError("wrapped again")
    outer.__cause__.__context__ = TableLost("out/t: a file is gone")
    assert str(as_failure(outer)) == "out/t: a file is gone"


def test_failures_are_known_by_name() -> None:
    assert {"SinkError", "SqlTableGone", "LogLost", "JobFailed", "JobRunning"} <= failures().keys()

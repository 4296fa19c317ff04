"""What only a process of its own shows: how long help takes, what a run says on stderr, and how it ends."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.dataflow.jobs import JSON_LINES, changed, finished, in_process_of_its_own, readings, start, written

WORK = "def work(frame):\n    frame['double'] = frame['value'] * 2\n    return frame\n"


def test_help_answers_within_a_second() -> None:
    seconds = []
    for _ in range(3):
        began = time.monotonic()
        ended = in_process_of_its_own("--help")
        seconds.append(time.monotonic() - began)
        assert (ended.code, ended.err) == (0, "")
    assert statistics.median(seconds) < 1


@pytest.mark.parametrize("flags", [(), ("--direct_num_workers=2", "--direct_running_mode=multi_processing")])
def test_a_healthy_run_says_nothing_on_stderr(tmp_path: Path, flags: tuple[str, ...]) -> None:
    (tmp_path / "doubling.py").write_text(WORK)
    sinks = [{"parquet": {"path": "out"}}, {"sql": {"url": "sqlite:///out/figures.db"}}]
    aggregation = {**JSON_LINES["aggregations"][0], "statistics": {"value": ["mean"], "double": ["sum"]}}
    aggregation["models"] = {"m": {"kind": "linear_regression", "target": "double", "features": ["value"]}}
    job = changed(
        JSON_LINES, sinks=sinks, report="r.html", aggregations=[aggregation], preprocess=[{"apply": "doubling:work"}]
    )
    ended = in_process_of_its_own("run", written(tmp_path, job, readings(3_000)), *flags)
    assert (ended.code, ended.err) == (0, "")
    assert "read 3,000 = accepted 3,000" in ended.out


def test_a_run_needs_no_stderr(tmp_path: Path) -> None:
    command = ["sh", "-c", 'exec "$0" -m dataflow.main run "$1" 2>&-', sys.executable, str(written(tmp_path))]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, "dead_letters" in ended.stdout) == (0, True), ended


def test_a_failure_in_a_worker_process_is_told_once_by_the_job(tmp_path: Path) -> None:
    (tmp_path / "one_process_only.py").write_text(
        "import os\n"
        "if os.path.exists('here') and os.getpid() != int(open('here').read()):\n    raise OSError('not here')\n"
        "def work(frame):\n    return frame\n"
    )
    job = written(tmp_path, changed(JSON_LINES, preprocess=[{"apply": "one_process_only:work"}]))
    flags = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
    process = start("run", job, *flags, cwd=tmp_path)
    (tmp_path / "here").write_text(str(process.pid))
    ended = finished(process)
    assert ended.code == 1
    assert "one_process_only:work cannot be imported" in ended.message and len(ended.message.splitlines()) == 1


def test_a_full_output_and_a_reader_that_left_are_no_tracebacks(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        ended = in_process_of_its_own("schema", stdout=full)
    assert (ended.code, "No space left" in ended.message) == (1, True)
    process = start("run", written(tmp_path))
    assert process.stdout
    process.stdout.close()
    assert process.stderr
    assert (process.wait(60), process.stderr.read()) == (0, "")
    process.stderr.close()

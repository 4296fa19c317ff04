import sys
from pathlib import Path

import pytest

from benchmarks.measurement import Measurement, RunError, measure

BUSY = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\n"
IN_A_CHILD = "import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', sys.argv[1]])\n"


def run(folder: Path, *arguments: str, limit_s: float = 60) -> Measurement:
    return measure([sys.executable, "-c", *arguments], folder=folder, working_folder=folder, limit_s=limit_s)


def test_peak_is_the_commands_and_not_the_callers(tmp_path: Path) -> None:
    ballast = bytearray(200_000_000)
    assert run(tmp_path, "pass").peak_bytes < len(ballast) / 4
    assert 200_000_000 < run(tmp_path, "b = bytearray(200_000_000)").peak_bytes < 250_000_000


def test_cpu_of_a_child_counts(tmp_path: Path) -> None:
    assert run(tmp_path, IN_A_CHILD + "child.wait()", BUSY).cpu_s >= 0.5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt orphans")
def test_cpu_of_a_child_that_outlives_the_command_counts(tmp_path: Path) -> None:
    cost = run(tmp_path, IN_A_CHILD, BUSY)
    assert cost.cpu_s >= 0.5 > cost.wall_s


def test_failing_command_is_told_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="exit code 3: no such job"):
        run(tmp_path, "import sys; print('no such job', file=sys.stderr); sys.exit(3)")


def test_endless_command_is_ended(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"took longer than 0\.2 s"):
        run(tmp_path, "import time; time.sleep(600)", limit_s=0.2)

"""What one run of one command cost."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

STOPWATCH = Path(__file__).with_name("stopwatch.py")
LIMIT_S = 900.0  # the slowest peer's sample takes a minute on two slow cores


class RunError(Exception):
    """A command ended with an error, took too long, or gave a wrong answer."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run: wall clock, user and system time of every process, peak resident memory of the process tree."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    processes: int


def measure(command: Sequence[str], *, folder: Path, working_folder: Path, limit_s: float = LIMIT_S) -> Measurement:
    """Runs `command` once; `folder` receives its log (`log.txt`) and the stopwatch's report.

    Raises:
        RunError: the command did not end with 0 within `limit_s`; the message quotes its last line.
    """
    report, log = folder / "cost.json", folder / "log.txt"
    # -I -S: no site packages, so that the stopwatch stays at 10 MB.
    stopwatch = [sys.executable, "-I", "-S", str(STOPWATCH), str(report), str(limit_s), *command]
    with log.open("wb") as out:
        process = subprocess.Popen(stopwatch, stdout=out, stderr=subprocess.STDOUT, cwd=working_folder)
        try:
            exit_code = process.wait()
        except BaseException:  # Ctrl-C: the stopwatch ends what it started, then itself
            process.terminate()
            process.wait()
            raise
    if exit_code != 0:
        raise RunError(f"could not be started: {last_line(log)}")
    cost = json.loads(report.read_text())
    if cost["timed_out"]:
        raise RunError(f"took longer than {limit_s:g} s")
    if cost["exit_code"] != 0:
        raise RunError(f"exit code {cost['exit_code']}: {last_line(log)}")
    return Measurement(cost["wall_s"], cost["cpu_s"], cost["peak_bytes"], cost["processes"])


def last_line(log: Path) -> str:
    """The last line that says something: some errors end with an arrow under the line before."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if any(map(str.isalnum, line))]
    return lines[-1] if lines else "(no output)"

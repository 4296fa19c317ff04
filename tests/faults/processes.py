"""The processes of a case: started as a user starts them, killed as nobody would."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.dataflow.jobs import ROOT
from tests.waiting import Stuck, until


@dataclass(frozen=True)
class Process:
    """A command of the product in a process of its own."""

    name: str
    pid: int
    out: Path
    err: Path
    code_file: Path

    @property
    def code(self) -> int | None:
        """How it ended; None: it runs."""
        try:
            return int(self.code_file.read_text())
        except FileNotFoundError:
            return None

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, unless it has ended."""
        if self.code is None:
            os.kill(self.pid, number)

    def ended(self) -> int:
        """Waits for the end; the exit code."""
        until(lambda: self.code is not None, f"the end of {self.name}")
        return int(self.code_file.read_text())

    def kill(self) -> bool:
        """kill -9; whether it still ran."""
        self.send(signal.SIGKILL)
        return self.ended() == -signal.SIGKILL


class Nursery:
    """Starts processes in a case's folder."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._number = 0
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise Stuck("the process that starts the others has ended")
        return line.strip()

    def start(
        self,
        name: str,
        folder: Path,
        *arguments: str | Path,
        patch: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Starts a command.

        Args:
            patch: `module:function`, called in the new process first.
        """
        assert self._process.stdin
        self._number += 1
        said = folder / "said"
        said.mkdir(exist_ok=True)
        out, err, code = (said / f"{self._number:03d}-{name}.{kind}" for kind in ("out", "err", "code"))
        out.touch()
        err.touch()
        request = {
            "arguments": [str(argument) for argument in arguments],
            "folder": str(folder),
            "out": str(out),
            "err": str(err),
            "code": str(code),
            "patch": patch,
            "environment": dict(environment or {}),
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Process(name, int(self._answer()), out, err, code)

    def close(self) -> None:
        """Ends it, and all that it started."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def left_in(folder: Path) -> list[int]:
    """The processes that work in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                where = os.readlink(entry / "cwd")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state != "Z" and (where == str(folder) or where.startswith(f"{folder}/")):
                found.append(int(entry.name))
    return found

"""The container engine of this machine: docker's command line, or podman's, and its error messages."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

PROGRAMS: Final = ("docker", "podman")
PATIENCE_SECONDS: Final = 600
"""Enough for a pull or a push of the image over a slow line, the longest operations here."""

SEALED: Final = ("--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--tmpfs=/tmp:rw,exec,size=256m")
"""Options for running a program of an image for inspection: no network, no writable files, no privileges."""


class EngineError(ValueError):
    """No engine answers, or an engine failed; says what to do."""


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that answers: the program that controls it, and the platform of its images."""

    program: str
    architecture: str
    """In the terms of Go and image registries: amd64, arm64."""

    def ask(self, *arguments: str) -> str:
        """The engine's answer to a command.

        Raises:
            EngineError: if it fails; quotes its message.
        """
        ran = _run([self.program, *arguments])
        if ran.returncode:
            raise EngineError(f"{self.program} {arguments[0]} failed: {_said(ran)}")
        return ran.stdout.strip()

    def watch(self, *arguments: str) -> None:
        """Runs a command of the engine and shows its output on a terminal.

        Raises:
            EngineError: if it fails; quotes its last lines.
        """
        lines: list[str] = []
        with subprocess.Popen(
            [self.program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as running:
            assert running.stdout is not None
            for line in running.stdout:
                lines = [*lines[-19:], line.rstrip()]
                if sys.stderr.isatty():
                    sys.stderr.write(line)
        if running.returncode:
            raise EngineError("\n".join([f"{self.program} {arguments[0]} failed; its last lines:", *lines]))

    def has(self, image: str) -> bool:
        """Whether an image is on this machine."""
        return not _run([self.program, "image", "inspect", image]).returncode

    def inspect(self, image: str) -> Mapping[str, Any]:
        """The engine's facts about an image on this machine.

        Raises:
            EngineError: if it does not exist.
        """
        ran = _run([self.program, "image", "inspect", image])
        if ran.returncode:
            raise EngineError(f"the image {image} is not on this machine: build it, or `{self.program} pull {image}`")
        return dict(json.loads(ran.stdout)[0])

    def look(self, image: str, program: str, *arguments: str) -> str:
        """The output of a program in an image, run without a network and without writable files.

        Raises:
            EngineError: if it cannot be run, or fails.
        """
        return self.ask("run", *SEALED, f"--entrypoint={program}", image, *arguments)


def find() -> Engine:
    """The first engine that answers.

    Raises:
        EngineError: if there is none.
    """
    silent = []
    for program in PROGRAMS:
        if shutil.which(program) is None:
            continue
        ran = _run(
            [program, "version", "--format", "{{.Server.Arch}}" if program == "docker" else "{{.Client.OsArch}}"]
        )
        if not ran.returncode and ran.stdout.strip():
            return Engine(program, ran.stdout.strip().rpartition("/")[2])
        silent.append(f"{program} does not answer ({_said(ran)})")
    if silent:
        raise EngineError(f"{'; '.join(silent)}: is its engine running, and may this user access it?")
    raise EngineError(f"there is no container engine: install Docker or Podman ({' or '.join(PROGRAMS)} on PATH)")


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=PATIENCE_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"{command[0]} {command[1]} took longer than {PATIENCE_SECONDS} s") from None


def _said(ran: "subprocess.CompletedProcess[str]") -> str:
    lines = (ran.stderr.strip() or ran.stdout.strip()).splitlines() or ["it printed nothing"]
    return " / ".join(lines[-3:])

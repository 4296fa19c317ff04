"""The container engine of this machine: docker's command line, or podman's, and what it says when it fails."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

PROGRAMS: Final = ("docker", "podman")
PATIENCE_SECONDS: Final = 600
"""A pull or a push of the image over a slow line; nothing here takes longer."""

SEALED: Final = ("--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--tmpfs=/tmp:rw,exec,size=256m")
"""How a look into an image is run: it reaches nothing, changes nothing and may nothing."""


class EngineError(ValueError):
    """There is no engine that answers, or it could not do what it was asked; says what to do."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One that answers: the program that speaks to it, and the platform that its images run on."""

    program: str
    architecture: str
    """As Go and image registries name it: amd64, arm64."""

    def ask(self, *arguments: str) -> str:
        """What the engine answers.

        Raises:
            EngineError: if it fails, with what it said.
        """
        ran = _run([self.program, *arguments])
        if ran.returncode:
            raise EngineError(f"{self.program} {arguments[0]} failed: {_said(ran)}")
        return ran.stdout.strip()

    def watch(self, *arguments: str) -> None:
        """Lets the engine work, and people see it on a terminal; its last words count if it fails.

        Raises:
            EngineError: if it does, with its last lines.
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
            raise EngineError("\n".join([f"{self.program} {arguments[0]} failed; it said last:", *lines]))

    def has(self, image: str) -> bool:
        """Whether an image is on this machine."""
        return not _run([self.program, "image", "inspect", image]).returncode

    def inspect(self, image: str) -> Mapping[str, Any]:
        """What the engine knows of an image on this machine.

        Raises:
            EngineError: if it is not there.
        """
        ran = _run([self.program, "image", "inspect", image])
        if ran.returncode:
            raise EngineError(f"the image {image} is not on this machine: build it, or `{self.program} pull {image}`")
        return dict(json.loads(ran.stdout)[0])

    def look(self, image: str, program: str, *arguments: str) -> str:
        """What a program of an image prints, run without a network and with nothing to write to.

        Raises:
            EngineError: if it cannot be run, or fails.
        """
        return self.ask("run", *SEALED, f"--entrypoint={program}", image, *arguments)


def find() -> Engine:
    """The first engine that answers.

    Raises:
        EngineError: if there is none.
    """
    told = []
    for program in PROGRAMS:
        if shutil.which(program) is None:
            continue
        ran = _run(
            [program, "version", "--format", "{{.Server.Arch}}" if program == "docker" else "{{.Client.OsArch}}"]
        )
        if not ran.returncode and ran.stdout.strip():
            return Engine(program, ran.stdout.strip().rpartition("/")[2])
        told.append(f"{program} does not answer ({_said(ran)})")
    if told:
        raise EngineError(f"{'; '.join(told)}: is its engine running, and may this user speak to it?")
    raise EngineError(f"there is no container engine: install Docker or Podman ({' or '.join(PROGRAMS)} on PATH)")


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=PATIENCE_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"{command[0]} {command[1]} took longer than {PATIENCE_SECONDS} s") from None


def _said(ran: "subprocess.CompletedProcess[str]") -> str:
    lines = (ran.stderr.strip() or ran.stdout.strip()).splitlines() or ["it says nothing"]
    return " / ".join(lines[-3:])

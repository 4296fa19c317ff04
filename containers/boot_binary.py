"""Beam's boot program, which starts its workers in a container: built by Go for the image's platform, and cached."""

import os
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

from containers.engine import EngineError

PACKAGE: Final = "github.com/apache/beam/sdks/v2/python/container"


def cached(architecture: str) -> Path:
    """The path of the built program."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches, "streamgauge", f"boot-{version('apache-beam')}-{architecture}", "boot")


def build(architecture: str) -> Path:
    """Builds the program, unless it exists. It is linked statically, so that it runs on every base image.

    Raises:
        EngineError: if it cannot be built.
    """
    target = cached(architecture)
    if target.exists():
        return target
    if shutil.which("go") is None:
        raise EngineError("go is missing, which builds Beam's boot program: install Go (https://go.dev/dl), or --boot")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=target.parent) as folder:
        here = Path(folder)
        # `go install` would choose the folder for another platform's program.
        (here / "tools.go").write_text(f'//go:build tools\n\npackage tools\n\nimport _ "{PACKAGE}"\n')
        _go(here, architecture, "mod", "init", "streamgauge.invalid/boot")
        _go(here, architecture, "get", f"{PACKAGE}@v{version('apache-beam')}")
        _go(here, architecture, "build", "-mod=mod", "-trimpath", "-ldflags=-s -w", "-o", "boot", PACKAGE)
        os.replace(here / "boot", target)
    return target


def _go(folder: Path, architecture: str, *arguments: str) -> None:
    platform = {"GOOS": "linux", "GOARCH": architecture, "CGO_ENABLED": "0"}
    environment = {**os.environ, "GOFLAGS": "", "GOWORK": "off", **platform}
    ran = subprocess.run(["go", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        said = ran.stderr.strip().splitlines() or ["it printed nothing"]
        raise EngineError(f"go {' '.join(arguments[:2])} failed: {said[-1]}")

"""Where the program Prism is: the one that was named, the one that `make prism` built, or Beam's own download.

`python -m runners.prism_binary` is `make prism`. It builds the Go module of Beam's version with the lines of PATCHES
changed.
"""

import mmap
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

VARIABLE: Final = "STREAMGAUGE_PRISM"
PACKAGE: Final = "github.com/apache/beam/sdks/v2/go/cmd/prism"
_INTERNAL: Final = "vendor/github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism/internal"


class Patch(NamedTuple):
    """Lines of Prism's source that are replaced, and why."""

    why: str
    path: str
    before: str
    after: str


PATCHES: Final = (
    Patch(
        "it listens on every network interface, and would run the job of anybody who reaches it",
        f"{_INTERNAL}/jobservices/server.go",
        'fmt.Sprintf(":%d", port)',
        'fmt.Sprintf("localhost:%d", port)',
    ),
    Patch(
        "a Flatten that takes longer than 0.1 s is asked for its progress, has no worker to ask, and ends the job",
        f"{_INTERNAL}/stage.go",
        "\t\t\tresp, err := b.Progress(ctx, wk)\n",
        "\t\t\tif wk == nil {\n\t\t\t\tcontinue progress\n\t\t\t}\n\t\t\tresp, err := b.Progress(ctx, wk)\n",
    ),
)
BUILD: Final = f"{len(PATCHES)}"
"""Tells a Prism with these patches from one with fewer."""

WAYS: Final = f"run `make prism`, which needs Go, or name it with --prism_location or {VARIABLE}"
DOWNLOAD_SECONDS: Final = 20
"""How long a download may stand still: Beam's own would wait for ever."""

# What a Go program says of itself, in its own bytes: https://pkg.go.dev/runtime/debug#BuildInfo
_BUILT_AS: Final = b"path\t" + PACKAGE.encode() + b"\n"
# A version that Go made up for a commit between two releases, such as v2.76.1-0.2026…, says nothing.
_MODULE: Final = re.compile(rb"mod\tgithub\.com/apache/beam/sdks/v2\tv(\d+\.\d+\.\d+)(?:-RC\d+)?(?:\+\w+)?[\t\n]")


class PrismError(ValueError):
    """There is no Prism that could run the job, or it does not start; says what to do."""


def beam_version() -> str:
    """The installed Beam's version, which Prism must have too."""
    return version("apache-beam")


def cached() -> Path:
    """Where `make prism` puts it."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches, "streamgauge", f"prism-{beam_version()}-{BUILD}", "prism")


def locate(flags: Sequence[str]) -> Path:
    """The Prism to run a job with these flags on.

    The first of: `--prism_location`, the variable STREAMGAUGE_PRISM, what `make prism` built, Beam's own download.

    Raises:
        PrismError: if the one that was named is no Prism of Beam's version, or if none is named and there is none.
        FlagError: if Beam does not understand the flags.
    """
    from apache_beam.options.pipeline_options import PrismRunnerOptions

    from runners.flags import options_of

    named = options_of(flags).view_as(PrismRunnerOptions).prism_location
    if named:
        return checked(Path(named), "--prism_location")
    if os.environ.get(VARIABLE):
        return checked(Path(os.environ[VARIABLE]), VARIABLE)
    if cached().exists():
        return checked(cached(), "the cache")
    return checked(_download(flags), "Beam's download")


def checked(program: Path, by: str) -> Path:
    """The program itself, if it is a Prism that can run a job of this Beam; `by` says who named it.

    Raises:
        PrismError: if it is not.
    """
    told = f"{by}: {program}"
    if not program.is_file():
        raise PrismError(f"{told} is no file; {WAYS}")
    if not os.access(program, os.X_OK):
        raise PrismError(f"{told} is not executable; make it so with `chmod +x`")
    try:
        found = version_of(program)
    except OSError as error:
        raise PrismError(f"{told} cannot be read: {error.strerror}") from None
    if found not in ("", beam_version()):
        raise PrismError(f"{told} is Prism {found} and Beam is {beam_version()}: they must be the same; {WAYS}")
    return program


def version_of(program: Path) -> str:
    """Which Beam a Prism belongs to; empty: it does not say, as when it was built from a checkout.

    Raises:
        PrismError: if the program is something else.
    """
    if program.stat().st_size == 0:
        raise PrismError(f"{program} is no Prism; {WAYS}")
    with open(program, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.find(_BUILT_AS)
        if at < 0:
            raise PrismError(f"{program} is no Prism; {WAYS}")
        said = _MODULE.search(content, at, at + (1 << 16))
        return said[1].decode() if said else ""


def build() -> Path:
    """Builds Prism into the cache, unless it is there.

    Raises:
        PrismError: if it cannot be built.
    """
    target = cached()
    if target.exists():
        try:
            return checked(target, "the cache")
        except PrismError:
            target.unlink()
    if shutil.which("go") is None:
        raise PrismError("go is missing, which builds Prism: install Go 1.21 or newer (https://go.dev/dl)")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=target.parent) as folder:
        here = Path(folder)
        (here / "tools.go").write_text(f'//go:build tools\n\npackage tools\n\nimport _ "{PACKAGE}"\n')
        _go(here, "mod", "init", "streamgauge.invalid/prism")
        _go(here, "get", f"{PACKAGE}@v{beam_version()}")
        _go(here, "mod", "vendor")
        for patch in PATCHES:
            source = (here / patch.path).read_text()
            if source.count(patch.before) != 1:
                raise PrismError(f"{patch.path} of Prism {beam_version()} is not the one that these patches are for")
            (here / patch.path).write_text(source.replace(patch.before, patch.after))
        _go(here, "build", "-mod=vendor", "-o", "prism", PACKAGE)
        os.replace(here / "prism", target)
    return checked(target, "the cache")


def _go(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "GOFLAGS": "", "GOWORK": "off"}
    ran = subprocess.run(["go", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        said = ran.stderr.strip().splitlines() or ["it says nothing"]
        raise PrismError(f"go {' '.join(arguments)} failed: {said[-1]}")


def _download(flags: Sequence[str]) -> Path:
    """Beam's own Prism, from its own cache or from the page of its releases."""
    from apache_beam.runners.portability.prism_runner import PrismJobServer

    from runners.flags import options_of

    try:
        with _impatient():
            return Path(PrismJobServer(options_of(flags))._get_executable_path())
    except Exception as error:  # noqa: BLE001  # a network, a disk, an archive: whatever it was, there is no Prism
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise PrismError(f"an endless job needs Prism, and Beam could not download it ({told[0]}): {WAYS}") from None


@contextmanager
def _impatient() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def main() -> int:
    """`make prism`."""
    try:
        sys.stdout.write(f"prism {beam_version()}: {build()}\n")
    except (PrismError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

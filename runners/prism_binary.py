"""Locates the program Prism: the named one, the one that `make prism` built, or Beam's own download.

`python -m runners.prism_binary` is `make prism`. It builds the Go module of Beam's version with the changes in PATCHES
applied.
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
SOCKET: Final = "STREAMGAUGE_PRISM_SOCKET"
"""The variable with the path of the Unix socket on which the Prism of `make prism` listens, instead of a port."""

_INTERNAL: Final = "vendor/github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism/internal"


class Patch(NamedTuple):
    """Lines of Prism's source to replace, and why."""

    why: str
    path: str
    before: str
    after: str


PATCHES: Final = (
    Patch(
        "it listens on every network interface, and would run jobs of anyone who can reach it",
        f"{_INTERNAL}/jobservices/server.go",
        '\tlis, err := net.Listen("tcp", fmt.Sprintf(":%d", port))\n',
        '\tnetwork, address := "tcp", fmt.Sprintf("localhost:%d", port)\n'
        f'\tif socket := os.Getenv("{SOCKET}"); socket != "" {{\n'
        '\t\tnetwork, address = "unix", socket\n'
        "\t}\n"
        "\tlis, err := net.Listen(network, address)\n",
    ),
    Patch(
        "the address of a Unix socket has no port: what a client of the job is given",
        f"{_INTERNAL}/jobservices/server.go",
        "\t_, port, _ := net.SplitHostPort(s.lis.Addr().String())\n",
        '\tif s.lis.Addr().Network() == "unix" {\n\t\treturn "unix:" + s.lis.Addr().String()\n\t}\n'
        "\t_, port, _ := net.SplitHostPort(s.lis.Addr().String())\n",
    ),
    Patch(
        "the address of a Unix socket has no port: what workers are given",
        f"{_INTERNAL}/worker/worker.go",
        "\t\twg:       make(map[string]*sync.WaitGroup),\n\t}\n",
        "\t\twg:       make(map[string]*sync.WaitGroup),\n\t}\n"
        '\tif lis.Addr().Network() == "unix" {\n\t\tmw.endpoint = "unix:" + lis.Addr().String()\n\t}\n',
    ),
    Patch(
        "a request for the progress of a Flatten that takes longer than 0.1 s finds no worker, and ends the job",
        f"{_INTERNAL}/stage.go",
        "\t\t\tresp, err := b.Progress(ctx, wk)\n",
        "\t\t\tif wk == nil {\n\t\t\t\tcontinue progress\n\t\t\t}\n\t\t\tresp, err := b.Progress(ctx, wk)\n",
    ),
)
BUILD: Final = f"{len(PATCHES)}"
"""Distinguishes a Prism with these patches from one with fewer."""

WAYS: Final = f"run `make prism`, which needs Go, or name it with --prism_location or {VARIABLE}"
DOWNLOAD_SECONDS: Final = 20
"""How long a download may stall: Beam's own would wait for ever."""

# The build information in the bytes of a Go program: https://pkg.go.dev/runtime/debug#BuildInfo
_BUILT_AS: Final = b"path\t" + PACKAGE.encode() + b"\n"
# A pseudo-version of a commit between two releases, such as v2.76.1-0.2026…, does not identify a release.
_MODULE: Final = re.compile(rb"mod\tgithub\.com/apache/beam/sdks/v2\tv(\d+\.\d+\.\d+)(?:-RC\d+)?(?:\+\w+)?[\t\n]")


class PrismError(ValueError):
    """No Prism can run the job, or it does not start; says what to do."""


def beam_version() -> str:
    """The installed Beam's version, which must also be Prism's."""
    return version("apache-beam")


def cached() -> Path:
    """The path at which `make prism` puts Prism."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches, "streamgauge", f"prism-{beam_version()}-{BUILD}", "prism")


def locate(flags: Sequence[str]) -> Path:
    """The Prism for a job with these flags.

    The first of: `--prism_location`, the variable STREAMGAUGE_PRISM, what `make prism` built, Beam's own download.

    Raises:
        PrismError: if the named one is not a Prism of Beam's version, or none is named and none is found.
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
    """The program, if it is a Prism that can run a job of this Beam; `by` says what named it.

    Raises:
        PrismError: otherwise.
    """
    named = f"{by}: {program}"
    if not program.is_file():
        raise PrismError(f"{named} is not a file; {WAYS}")
    if not os.access(program, os.X_OK):
        raise PrismError(f"{named} is not executable; make it so with `chmod +x`")
    try:
        found = version_of(program)
    except OSError as error:
        raise PrismError(f"{named} cannot be read: {error.strerror}") from None
    if found not in ("", beam_version()):
        raise PrismError(f"{named} is Prism {found} and Beam is {beam_version()}: they must be the same; {WAYS}")
    return program


def version_of(program: Path) -> str:
    """The Beam version of a Prism; empty if it does not say, as when it was built from a checkout.

    Raises:
        PrismError: if the program is something else.
    """
    if program.stat().st_size == 0:
        raise PrismError(f"{program} is not a Prism; {WAYS}")
    with open(program, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.find(_BUILT_AS)
        if at < 0:
            raise PrismError(f"{program} is not a Prism; {WAYS}")
        said = _MODULE.search(content, at, at + (1 << 16))
        return said[1].decode() if said else ""


def build() -> Path:
    """Builds Prism in the cache, unless it exists.

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
                raise PrismError(
                    f"{patch.path} of Prism {beam_version()} is not the file for which these patches were made"
                )
            (here / patch.path).write_text(source.replace(patch.before, patch.after))
        _go(here, "build", "-mod=vendor", "-o", "prism", PACKAGE)
        os.replace(here / "prism", target)
    return checked(target, "the cache")


def _go(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, "GOFLAGS": "", "GOWORK": "off"}
    ran = subprocess.run(["go", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        said = ran.stderr.strip().splitlines() or ["it printed nothing"]
        raise PrismError(f"go {' '.join(arguments)} failed: {said[-1]}")


def _download(flags: Sequence[str]) -> Path:
    """Beam's own Prism, from its cache or from the download page of its releases."""
    from apache_beam.runners.portability.prism_runner import PrismJobServer

    from runners.flags import options_of

    try:
        with _impatient():
            return Path(PrismJobServer(options_of(flags))._get_executable_path())
    except Exception as error:  # noqa: BLE001  # whether network, disk or archive: there is no Prism
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise PrismError(f"an endless job needs Prism, and Beam could not download it ({said[0]}): {WAYS}") from None


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

"""Builds the image: fills a folder with its contents, lets the engine build there without a network, and checks that
the result is the intended image."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from containers import boot_binary, image
from containers.checkout import FILES, SOURCES, Checkout
from containers.engine import Engine, EngineError

_HERE: Final = Path(__file__).parent
MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
NEWEST_GLIBC: Final = 31
"""The glibc of the packages' wheels, 2.31: every maintained Debian and Ubuntu has a newer one."""

_VERSIONS: Final = "import sys; print('%d.%d' % sys.version_info[:2])"


@dataclass(frozen=True, slots=True)
class Recipe:
    """The ingredients of an image."""

    checkout: Checkout
    version: str
    base: str
    tags: tuple[str, ...]
    boot: Path | None = None
    prism: Path | None = None
    """Runs endless jobs in the image itself; without it, only a cluster does."""


@dataclass(frozen=True, slots=True)
class Built:
    """An image that was built and has passed its check."""

    image: image.Image
    contents: dict[str, Any]
    seconds: float


def default_base() -> str:
    """The public slim image of this Python."""
    return f"python:{image.submitter()[0]}-slim-bookworm"


def build(recipe: Recipe, on: Engine, report: Callable[[str], None]) -> Built:
    """Builds and checks an image, and tags it only then.

    Raises:
        EngineError: if anything fails; no tag is set or moved then.
    """
    started = time.monotonic()
    _check_base(recipe.base, on)
    with tempfile.TemporaryDirectory(prefix="streamgauge-image-") as name:
        folder = Path(name, "context")
        report(f"collecting packages for linux/{on.architecture}")
        prepare(folder, recipe, on.architecture)
        report(f"building on {recipe.base}")
        named = Path(name, "image")
        on.watch("build", *_flags(recipe, on), f"--iidfile={named}", str(folder))
        identity = named.read_text().strip()
    report("checking")
    found = check(identity, recipe, on)
    for tag in recipe.tags:
        on.ask("tag", identity, tag)
    return Built(image.read(recipe.tags[0], on), found, time.monotonic() - started)


def prepare(folder: Path, recipe: Recipe, architecture: str) -> None:
    """Fills a folder with all parts of the image: any builder can build it there, without a network.

    Raises:
        EngineError: if a package or a program is not available.
    """
    programs = folder / "bin"
    programs.mkdir(parents=True)
    for path, name in ((recipe.boot or boot_binary.build(architecture), "boot"), (recipe.prism, "prism")):
        if path is not None:
            shutil.copy(path, programs / name)
            (programs / name).chmod(0o755)
    for name in ("Dockerfile", "requirements.txt", "build-requirements.txt"):
        shutil.copy(recipe.checkout.root / "containers" / name, folder / name)
    shutil.copy(recipe.checkout.root / "LICENSE", folder / "LICENSE")
    _wheel(recipe.checkout.root, folder / "wheel")
    platforms = [f"--platform={platform}" for platform in _platforms(architecture)]
    only = ("--only-binary=:all:", "--implementation=cp", f"--python-version={image.submitter()[0]}", *platforms)
    for locked in ("requirements.txt", "build-requirements.txt"):
        _pip("download", "--no-deps", *only, "--dest", str(folder / "wheels"), "-r", str(folder / locked))


def check(identity: str, recipe: Recipe, on: Engine) -> dict[str, Any]:
    """Runs an image without network, privileges or writable folders, and compares it with the recipe.

    Raises:
        EngineError: if they differ; gives both values.
    """
    on.look(identity, "python", "-m", "pip", "check")
    found = image.contents(identity, on)
    python, beam = image.submitter()
    meant = {"python": python, "beam": beam, "streamgauge": recipe.version}
    holds = {**found, "python": image.minor(found["python"])}
    for what, value in meant.items():
        if holds[what] != value:
            raise EngineError(f"the image that was built has {what} {holds[what]}, and should have {value}")
    said = image.mismatch(identity, on)
    if said is not None:
        raise EngineError(said)
    return found


def _check_base(base: str, on: Engine) -> None:
    try:
        python = on.look(base, "python3", "-c", _VERSIONS).splitlines()[-1]
    except EngineError as error:
        raise EngineError(
            f"the base image {base} has no Python, or is not available; name another with --base\n{error}"
        ) from None
    if python != image.submitter()[0]:
        raise EngineError(
            f"the base image {base} has Python {python} and this is {image.submitter()[0]}: "
            "workers could not read what it sends; name another with --base"
        )


def _flags(recipe: Recipe, on: Engine) -> list[str]:
    python, beam = image.submitter()
    checkout = recipe.checkout
    arguments = {
        "BASE": recipe.base,
        "VERSION": recipe.version,
        "REVISION": (checkout.commit or "") + ("" if checkout.clean else "-dev"),
        "SOURCE": checkout.source or "",
        "CREATED": checkout.committed or "",
        "PYTHON": python,
        "BEAM": beam,
    }
    flags = ["--network=none", *(f"--build-arg={name}={value}" for name, value in arguments.items())]
    # An image in OCI format has no health check, and that is podman's default format.
    return [*flags, "--format=docker"] if on.program == "podman" else flags


def _platforms(architecture: str) -> list[str]:
    """Every platform whose wheels run there: PEP 600, and the older names."""
    machine = MACHINES.get(architecture)
    if machine is None:
        raise EngineError(f"Beam has no packages for linux/{architecture}, only for {' and '.join(MACHINES)}")
    named = [f"manylinux_2_{minor}_{machine}" for minor in range(NEWEST_GLIBC, 4, -1)]
    return [*named, *(f"manylinux{year}_{machine}" for year in ("2014", "2010", "1"))]


def _wheel(root: Path, target: Path) -> None:
    """Our own wheel, built from a copy: a build leaves files, and would include those of an earlier one."""
    with tempfile.TemporaryDirectory(prefix="streamgauge-wheel-") as name:
        copy = Path(name, "streamgauge")
        copy.mkdir()
        for file in FILES:
            shutil.copy(root / file, copy / file)
        for package in SOURCES:
            shutil.copytree(root / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
        _pip("wheel", "--no-deps", "--wheel-dir", str(target), str(copy))


def _pip(*arguments: str) -> None:
    """Runs this machine's pip, with its index, certificates and passwords, none of which enter the image."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        said = [line for line in ran.stderr.splitlines() if line.startswith("ERROR")] or ran.stderr.splitlines()[-3:]
        raise EngineError("\n".join([f"pip {arguments[0]} failed:", *said]))

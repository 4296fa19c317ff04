"""The labels of an image, and whether it can run what this Python submits."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from containers import engine
from containers.engine import Engine

PYTHON_LABEL: Final = "streamgauge.python"
BEAM_LABEL: Final = "streamgauge.beam"
NAME: Final = "streamgauge"


@dataclass(frozen=True, slots=True)
class Image:
    """An image on this machine."""

    name: str
    identity: str
    labels: Mapping[str, str]
    size_bytes: int
    layers: int
    architecture: str
    user: str


def submitter() -> tuple[str, str]:
    """The Python (`3.11`) and the Beam of this process, which pickles what workers unpickle."""
    return f"{sys.version_info.major}.{sys.version_info.minor}", version("apache-beam")


def read(image: str, on: Engine | None = None) -> Image:
    """Reads the facts of an image on this machine.

    Raises:
        EngineError: if there is no engine, or no such image.
    """
    found = (on or engine.find()).inspect(image)
    return Image(
        image,
        found["Id"],
        (found.get("Config") or {}).get("Labels") or {},
        found["Size"],
        len((found.get("RootFS") or {}).get("Layers") or []),
        found.get("Architecture", ""),
        (found.get("Config") or {}).get("User", ""),
    )


def mismatch(image: str, on: Engine | None = None) -> str | None:
    """Why an image cannot run what this Python submits; None if it can. Only reads labels, and starts nothing.

    Raises:
        EngineError: if there is no engine, or the image is not on this machine.
    """
    return disagreement(read(image, on).labels, image)


def disagreement(labels: Mapping[str, str], image: str) -> str | None:
    """The disagreement between the labels of an image and this process, in one sentence; None if they agree."""
    missing = [label for label in (PYTHON_LABEL, BEAM_LABEL) if not labels.get(label)]
    if missing:
        return f"{image} is not a Streamgauge image: it has no label {missing[0]}"
    python, beam = submitter()
    if minor(labels[PYTHON_LABEL]) != python:
        return f"{image} has Python {labels[PYTHON_LABEL]} and this is {python}: workers could not read what it sends"
    if labels[BEAM_LABEL] != beam:
        return f"{image} has Beam {labels[BEAM_LABEL]} and this is {beam}: they must be the same"
    return None


def minor(python: str) -> str:
    """
    >>> minor("3.11.2")
    '3.11'
    """
    return ".".join(python.split(".")[:2])


def contents(image: str, on: Engine) -> dict[str, Any]:
    """The contents of the image, determined inside it; see `containers.contents`.

    Raises:
        EngineError: if it cannot be run, or is not a Streamgauge image.
    """
    return dict(json.loads(on.look(image, "python", "-m", "containers.contents")))


def tags(version_of_ours: str, commit: str | None, *, clean: bool, registry: str | None = None) -> tuple[str, ...]:
    """The names of an image: by version and commit, and by version alone; `-dev` when there are uncommitted changes.

    >>> tags("0.2.0", "5152c38", clean=True, registry="localhost:5000/team")
    ('localhost:5000/team/streamgauge:0.2.0-5152c38', 'localhost:5000/team/streamgauge:0.2.0')
    >>> tags("0.2.0", "5152c38", clean=False)
    ('streamgauge:0.2.0-5152c38-dev', 'streamgauge:0.2.0-dev')
    >>> tags("0.2.0", None, clean=True)
    ('streamgauge:0.2.0',)
    """
    name = f"{registry.rstrip('/')}/{NAME}" if registry else NAME
    suffix = "" if clean else "-dev"
    exact = (f"{name}:{version_of_ours}-{commit}{suffix}",) if commit else ()
    return (*exact, f"{name}:{version_of_ours}{suffix}")

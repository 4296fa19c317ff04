"""The checkout from which an image is built: its commit, and whether it has uncommitted changes."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from containers.engine import EngineError

ROOT: Final = Path(__file__).parent.parent
SOURCES: Final = ("dataflow", "transforms", "runners", "containers")
FILES: Final = ("setup.py", "pyproject.toml", "README.md", "LICENSE")


@dataclass(frozen=True, slots=True)
class Checkout:
    """What git knows of a checkout; all None without git."""

    root: Path
    commit: str | None = None
    committed: str | None = None
    """The time of the commit, in ISO 8601."""

    clean: bool = True
    source: str | None = None


def read(root: Path = ROOT) -> Checkout:
    """Reads the facts of a checkout.

    Raises:
        EngineError: if the folder is not a checkout.
    """
    missing = [name for name in FILES if not (root / name).exists()]
    if missing:
        raise EngineError(
            f"an image is built in a checkout of Streamgauge, and {root} is not one: {missing[0]} is missing"
        )
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return Checkout(root)
    changes = _git(root, "status", "--porcelain", "--", *SOURCES, *FILES)
    origin = _git(root, "remote", "get-url", "origin")
    return Checkout(root, commit, _git(root, "log", "-1", "--format=%cI"), not changes, public(origin or "") or None)


def public(url: str) -> str:
    """A remote's address without the user and the password that may be in it, or empty.

    >>> public("https://bot:secret@example.com:8443/team/streamgauge.git")
    'https://example.com:8443/team/streamgauge.git'
    >>> public("git@example.com:team/streamgauge.git"), public("/srv/git/streamgauge")
    ('https://example.com/team/streamgauge.git', '')
    """
    if "://" not in url:
        host, _, path = url.rpartition("@")[2].partition(":")
        return f"https://{host}/{path}" if host and path else ""
    parts = urlsplit(url)
    where = (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
    return f"{parts.scheme}://{where}{parts.path}" if where else ""


def _git(root: Path, *arguments: str) -> str | None:
    try:
        ran = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return None if ran.returncode else ran.stdout.strip()

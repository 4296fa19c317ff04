"""Who reads a log, and how far each has come: one small file a reader, in the log's folder."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

READERS: Final = "readers"


def announce(folder: str, reader: str, passed: int) -> None:
    """Lets the collector know that `reader` will not ask again for chunks before `passed`."""
    path = Path(folder, READERS, f"{reader}.json")
    path.parent.mkdir(exist_ok=True)
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps({"passed": passed}), encoding="utf-8")
    os.replace(aside, path)


def passed_by_all(folder: str) -> int | None:
    """The chunk before which every reader has passed; None: there is no reader."""
    return min(readers(folder).values(), default=None)


def readers(folder: str) -> dict[str, int]:
    """The readers of a log, and the chunk before which each has passed; 0, if what one announced cannot be read."""
    passed = {}
    for path in sorted(Path(folder, READERS).glob("*.json")):
        with suppress(FileNotFoundError):
            try:
                passed[path.stem] = int(json.loads(path.read_text(encoding="utf-8"))["passed"])
            except (ValueError, KeyError, TypeError):
                passed[path.stem] = 0  # a power cut may empty it; until it is announced again, nothing is forgotten
    return passed

"""The readers of a log, and the chunk that each has passed: one small file per reader in the log's folder."""

import json
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from transforms.specification import Seconds, format_duration

READERS: Final = "readers"
SPARE: Final = "spare"
_SIZE: Final = 128
"""The size in bytes of an announcement: constant, so that on a full disk a new one can overwrite an old one."""

_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader of a log.

    Args:
        passed: the reader needs no chunk before this one; 0 if its announcement cannot be read.
        retain: how far back (s) it holds the log on purpose; None if it has not said.
        silent: seconds since its last announcement.
    """

    name: str
    passed: int
    retain: Seconds | None
    silent: Seconds


def reader_file(folder: str, reader: str) -> Path:
    """The file that holds a reader's announcement."""
    return Path(folder, READERS, f"{reader}.json")


def announce(folder: str, reader: str, passed: int, retain: Seconds | None = None) -> None:
    """Announces to the collector that `reader` no longer needs chunks before `passed`.

    Raises:
        OSError: if it cannot be written.
    """
    path = reader_file(folder, reader)
    path.parent.mkdir(exist_ok=True)
    content = json.dumps({"passed": passed, "retain": retain}).ljust(_SIZE).encode()
    aside = path.parent / f"{reader}.{os.getpid()}-{threading.get_ident()}.new"
    try:
        aside.write_bytes(content)
        os.replace(aside, path)
    except OSError:
        with suppress(OSError):
            aside.unlink()
        # The disk may be full, and stays full until the log hears of this: so it overwrites an existing file.
        spare = path if path.exists() else path.parent / SPARE
        if not spare.exists() or spare.stat().st_size < _SIZE:
            raise
        with open(spare, "r+b", buffering=0) as file:
            file.write(content)
        os.replace(spare, path)


def make_spare(folder: str) -> None:
    """Reserves room for a reader that arrives when the disk is full."""
    path = Path(folder, READERS, SPARE)
    with suppress(OSError):
        if not path.exists() or path.stat().st_size < _SIZE:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b" " * _SIZE)


def forget(folder: str, reader: str) -> bool:
    """Removes a reader, which then no longer holds the log; false if there is none of that name."""
    if reader not in readers(folder):
        return False
    reader_file(folder, reader).unlink(missing_ok=True)
    return True


def passed_by_all(folder: str) -> int | None:
    """The chunk before which every reader has passed; None: there is no reader."""
    return min(readers(folder).values(), default=None)


def passed_by(folder: str, reader: str) -> int | None:
    """The chunk before which a reader has passed; None if it has not announced one."""
    try:
        return int(json.loads(reader_file(folder, reader).read_text(encoding="utf-8"))["passed"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def readers(folder: str) -> dict[str, int]:
    """The readers of a log, and the chunk before which each has passed; 0 if its announcement cannot be read."""
    return {reader.name: reader.passed for reader in seen(folder)}


def seen(folder: str) -> list[Reader]:
    """The readers of a log, by name."""
    found = []
    for path in sorted(Path(folder, READERS).glob("*.json")):
        with suppress(FileNotFoundError):
            silent = Seconds(max(time.time() - path.stat().st_mtime, 0.0))
            try:
                said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                found.append(Reader(path.stem, int(said["passed"]), said.get("retain"), silent))
            except (ValueError, KeyError, TypeError, AttributeError):
                # A power cut may leave the file empty; until the next announcement, nothing is forgotten.
                found.append(Reader(path.stem, 0, None, silent))
    return found


def holders(folder: str, first: int) -> Sequence[Reader]:
    """The readers that may still need chunk `first`, so that the log cannot forget it."""
    return [reader for reader in seen(folder) if reader.passed <= first]


def words_of(reader: Reader, folder: str) -> str:
    """What a reader holds and why, as part of a sentence."""
    heard = format_duration(timedelta(seconds=int(reader.silent)))
    words = f"reader {reader.name} holds it from chunk {reader.passed:,} on, last heard of {heard} ago"
    if reader.retain:
        words += f", and keeps `source.log.retain` of {format_duration(timedelta(seconds=reader.retain))}"
    if reader.silent > 60:
        words += f" (if its job is gone for good: `collect --log {folder} --forget-reader {reader.name}`)"
    return words


def held(folder: str, first: int) -> str:
    """The readers that hold a log from chunk `first`, as part of a sentence; says so if no job reads the log."""
    found = seen(folder)
    if not found:
        return "no job reads the log, and a log never forgets what no job has read"
    holding = [words_of(reader, folder) for reader in holders(folder, first)]
    more = f"; and {len(holding) - _SHOWN} more" if len(holding) > _SHOWN else ""
    return "; ".join(holding[:_SHOWN]) + more

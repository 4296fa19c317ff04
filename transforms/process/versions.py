"""A small file in numbered versions, each written at most once: a compare-and-set without a lock that could block.

A writer of version N has read version N - 1 and decides by its content. Two writers that read the same version cannot
both write the next one, however long one of them was stopped in between: `link` refuses an existing name. A version
is never changed, and ends with its checksum. The newest two are kept.
"""

import errno
import json
import os
import re
import uuid
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from transforms.process import durable

_NAMED: Final = re.compile(r"(\d{12})\.json")
_ENDING: Final = re.compile(rb"\ncrc32 ([0-9a-f]{8})\n\Z")
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
KEPT: Final = 2


class VersionTaken(Exception):
    """Another writer has written this version, or a later one."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version.

    Args:
        number: its number, from 1.
        content: its content.
        newest: the number of the newest version; greater than `number` if the versions after it are damaged.
    """

    number: int
    content: bytes
    newest: int

    @property
    def follows_damage(self) -> bool:
        """Whether a later version exists and cannot be read."""
        return self.newest > self.number


class Damaged(Exception):
    """Versions exist, and all of them are damaged."""


def read(folder: str) -> Version | None:
    """The newest undamaged version; None if none was ever written.

    Raises:
        Damaged: if there are versions and all are damaged.
        OSError: if the folder cannot be read.
    """
    numbers: Sequence[int] = ()
    for _ in range(5):  # a writer may remove old versions while they are listed
        numbers = numbers_in(folder)
        for number in reversed(numbers):
            try:
                content = _whole(Path(_path(folder, number)).read_bytes())
            except FileNotFoundError:
                continue
            if content is not None:
                return Version(number, content, numbers[-1])
        if not numbers:
            return None
    raise Damaged(f"{folder}: {_path(folder, numbers[-1])} is damaged, and so is every older version")


def content(folder: str) -> dict[str, Any]:
    """The content of the newest undamaged version, which is JSON.

    Raises:
        FileNotFoundError: if there are no versions.
        Damaged: if all are damaged.
    """
    version = read(folder)
    if version is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
    found: dict[str, Any] = json.loads(version.content)
    return found


def write(folder: str, number: int, content: bytes) -> None:
    """Writes the version with this number durably; it becomes the newest.

    Raises:
        VersionTaken: if that version or a later one exists.
        OSError: if the disk refuses; nothing has changed.
    """
    os.makedirs(folder, exist_ok=True)
    aside = f"{folder}/.{uuid.uuid4().hex}"
    try:
        with open(aside, "wb") as file:
            file.write(content + b"\ncrc32 %08x\n" % zlib.crc32(content))
            file.flush()
            os.fsync(file.fileno())
        try:
            _put(aside, _path(folder, number))
        except FileExistsError:
            raise VersionTaken(f"{folder}: version {number} already exists") from None
    finally:
        with suppress(OSError):
            os.remove(aside)
    numbers = numbers_in(folder)
    if numbers and numbers[-1] > number:  # old versions are removed, so a name may be free again
        with suppress(OSError):
            os.remove(_path(folder, number))
        raise VersionTaken(f"{folder}: version {numbers[-1]} already exists")
    durable.keep_entries(folder)
    for old in numbers[:-KEPT]:
        with suppress(OSError):
            os.remove(_path(folder, old))


def numbers_in(folder: str) -> list[int]:
    """The numbers of the existing versions, in order."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted(int(found[1]) for found in map(_NAMED.fullmatch, names) if found)


def sweep(folder: str) -> None:
    """Removes the temporary files of killed writers; a writer that was only stopped misses its file, and fails."""
    for path in Path(folder).glob(".*"):
        with suppress(OSError):
            path.unlink()


def _put(aside: str, path: str) -> None:
    """Gives a file its name; fails if the name exists."""
    try:
        os.link(aside, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with open(path, "xb") as file:  # a half-written file counts as damaged, so the version before it is used
            file.write(Path(aside).read_bytes())
            file.flush()
            os.fsync(file.fileno())


def _whole(written: bytes) -> bytes | None:
    ending = _ENDING.search(written)
    if ending is None or zlib.crc32(written[: ending.start()]) != int(ending[1], 16):
        return None
    return written[: ending.start()]


def _path(folder: str, number: int) -> str:
    return f"{folder}/{number:012d}.json"

"""Disk space reserved for a log: SQLite must write before it can delete, even if the disk is full."""

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

RESERVE: Final = "reserve"
RESERVE_BYTES: Final = 16 << 20
"""More than SQLite holds outside its main file: a thousand pages and the largest chunk."""

WORKING_BYTES: Final = 8 << 20
"""Free space that a log needs to keep working, in addition to its reserve."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """A file in a log's folder that only occupies space."""

    folder: str

    @property
    def path(self) -> str:
        """The path of the file."""
        return os.path.join(self.folder, RESERVE)

    def is_there(self) -> bool:
        """Whether the file exists."""
        return os.path.exists(self.path)

    def free(self) -> int:
        """Bytes that are free on the disk."""
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize

    def make(self, spare: int = WORKING_BYTES) -> None:
        """Creates the file, if the disk has room for it and for `spare` bytes."""
        with suppress(OSError):
            if self.is_there() or self.free() < RESERVE_BYTES + spare:
                return
            aside = f"{self.path}.new"
            try:
                with open(aside, "wb") as file:
                    os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
                os.replace(aside, self.path)
            except OSError:
                os.unlink(aside)

    def release(self) -> bool:
        """Deletes the file to free its space; false if there was none."""
        try:
            os.unlink(self.path)
        except OSError:
            return False
        return True

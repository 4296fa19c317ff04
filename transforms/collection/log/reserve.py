"""Room beside a log for the day on which its disk is full: to forget something, SQLite has to write first."""

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

RESERVE: Final = "reserve"
RESERVE_BYTES: Final = 16 << 20
"""More than what SQLite has not copied into its file yet: a thousand pages and the greatest chunk."""

WORKING_BYTES: Final = 8 << 20
"""What a log needs beside its reserve to go on."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """A file in a log's folder that holds nothing but room."""

    folder: str

    @property
    def path(self) -> str:
        """Where it is."""
        return os.path.join(self.folder, RESERVE)

    def is_there(self) -> bool:
        """Whether there is one."""
        return os.path.exists(self.path)

    def free(self) -> int:
        """Bytes that the disk still has."""
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize

    def make(self, spare: int = WORKING_BYTES) -> None:
        """Makes it, if the disk has room for it and for `spare` bytes."""
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
        """Gives the room to whoever needs it; false: there was none."""
        try:
            os.unlink(self.path)
        except OSError:
            return False
        return True

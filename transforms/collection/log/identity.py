"""The files of a log that are open: they may be removed or replaced under whoever has them open, and nothing tells.

What is written to a file without a name is gone with the process, so a writer looks before it says that a record is
durable, and a reader before it says that there is nothing new.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final

from transforms.collection.log.file import log_file
from transforms.errors import LogError, LogLost, LogMissing

SIDES: Final = ("", "-wal", "-shm")
"""The files of SQLite's log. All three stay as long as anybody has the log open."""


LOCK: Final = "lock"


def lock(folder: str) -> IO[str]:
    """Makes whoever calls the only one who writes to a log, until the file is closed.

    Raises:
        LogError: if somebody else does, or the folder cannot be written.
    """
    try:
        file = open(os.path.join(folder, LOCK), "w")  # noqa: SIM115  # held until it is closed
    except OSError as error:
        raise LogError(f"{folder}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise LogError(f"{folder}: another collector writes to this log") from None
    return file


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Nobody else writes to a log meanwhile, which must be there.

    Raises:
        LogError: as `lock` does.
    """
    if not os.path.exists(log_file(folder)):
        raise LogMissing(f"{folder}: there is no log")
    with lock(folder):
        yield


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """The files of a log as they were when it was opened."""

    paths: Sequence[str]
    known: Sequence[tuple[int, int] | None]

    @staticmethod
    def of(folder: str, *further: str) -> "OpenFiles":
        """Those of a log that was just opened and read from, and further ones in its folder."""
        paths = [log_file(folder) + side for side in SIDES] + [os.path.join(folder, name) for name in further]
        return OpenFiles(paths, [_identity(path) for path in paths])

    def check(self) -> None:
        """Looks whether the names still lead to the files that are open.

        Raises:
            LogLost: if one of them does not.
        """
        for path, known in zip(self.paths, self.known, strict=True):
            if (found := _identity(path)) != known:
                what = "is gone" if found is None else "was replaced by another file"
                raise LogLost(f"{path} {what} while the log was in use")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino

"""The open files of a log, which another process can remove or replace without any error here.

Data written to a file without a name is lost when the process ends. So a writer checks the names before it reports a
record as durable, and a reader checks them before it reports that there is nothing new.
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
"""The files of SQLite's log. All three exist as long as a process has the log open."""


LOCK: Final = "lock"


def lock(folder: str) -> IO[str]:
    """Makes the caller the only writer of a log until the returned file is closed.

    Raises:
        LogError: if another process holds the lock, or the folder cannot be written.
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
    """Keeps other writers out of an existing log during the block.

    Raises:
        LogError: as `lock` does.
    """
    if not os.path.exists(log_file(folder)):
        raise LogMissing(f"{folder}: there is no log")
    with lock(folder):
        yield


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """The identities of a log's files when the log was opened."""

    paths: Sequence[str]
    known: Sequence[tuple[int, int] | None]

    @staticmethod
    def of(folder: str, *further: str) -> "OpenFiles":
        """The files of a log that was just opened and read from, and further files in its folder."""
        paths = [log_file(folder) + side for side in SIDES] + [os.path.join(folder, name) for name in further]
        return OpenFiles(paths, [_identity(path) for path in paths])

    def check(self) -> None:
        """Checks that the names still lead to the open files.

        Raises:
            LogLost: if a name does not.
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

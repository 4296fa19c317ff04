"""What a job says to the collector: which chunks it needs no more, behind each checkpoint and while there are none.

A job that has read everything keeps no further checkpoint, for it would be the same. Its checkpoints grow old all the
same, and let go of the log as they do: what is forgotten must not wait for something new, which a full log cannot take.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from transforms.collection.log.readers import announce, passed_by, reader_file
from transforms.process import versions
from transforms.time import retention

_LOOK_SECONDS: Final = 0.9
_HEARD_SECONDS: Final = 10.0
"""How often a job that has nothing new to say is heard of."""


@dataclass(frozen=True)
class Hold:
    """What one job holds of a log.

    Args:
        folder: the log's.
        reader: what the log calls the job.
        manifest: the folder whose newest version says which checkpoints the job has.
        retain: how old (s) the oldest of them is at least, once they are old enough.
    """

    folder: str
    reader: str
    manifest: str
    retain: float

    def announce(self, passed: int) -> None:
        """Says that chunks before `passed` are needed no more.

        Raises:
            OSError: if it cannot be said.
        """
        announce(self.folder, self.reader, passed, self.retain)

    def announce_kept(self, chunk: int) -> None:
        """Says, behind a checkpoint at `chunk`, what the job needs no more."""
        oldest = self._checkpoints()[0]["chunk"]
        with suppress(OSError):  # the log's disk may be full; what is not said now is said in a while
            self.announce(min(oldest, chunk))

    def needed(self, chunk: int, idle: float) -> int | None:
        """The first chunk that the job needs, when it has read everything before `chunk` since `idle` s.

        None: its newest checkpoint is not at `chunk` yet.
        """
        try:
            checkpoints = self._checkpoints()
        except FileNotFoundError:
            return None
        if not checkpoints or checkpoints[-1]["chunk"] != chunk:
            return None
        times = retention.moments(checkpoints)
        return int(checkpoints[retention.first_kept(times, times[-1] + idle, self.retain)]["chunk"])

    def _checkpoints(self) -> list[Any]:
        checkpoints: list[Any] = versions.content(self.manifest)["checkpoints"]
        return checkpoints


class IdleHold:
    """Lets go of a log while there is nothing new in it."""

    def __init__(self, hold: Hold):
        self._hold = hold
        self._chunk = 0
        self._since = self._heard = self._looked = 0.0

    def look(self, chunk: int) -> None:
        """Takes notice that everything before `chunk` is read, and there is nothing more."""
        now = time.monotonic()
        if chunk != self._chunk:
            self._chunk, self._since = chunk, now
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        needed = self._hold.needed(chunk, now - self._since)
        with suppress(OSError):
            # What is said behind a checkpoint, which another thread does, may have come after what was said here.
            if needed is not None and needed != passed_by(self._hold.folder, self._hold.reader):
                self._hold.announce(needed)
                self._heard = now
            elif now - self._heard >= _HEARD_SECONDS:
                os.utime(reader_file(self._hold.folder, self._hold.reader))
                self._heard = now

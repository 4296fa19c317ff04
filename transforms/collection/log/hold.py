"""What a job announces to the collector: which chunks it no longer needs, after each checkpoint and while idle.

A job that has read everything writes no further checkpoint, because it would be identical. Its checkpoints still age
and release the log as they do: pruning must not wait for new records, which a full log cannot accept.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from transforms.collection.log.readers import announce, passed_by, reader_file
from transforms.process import versions
from transforms.specification import Seconds
from transforms.time import retention

_LOOK_SECONDS: Final = 0.9
_HEARD_SECONDS: Final = 10.0
"""How often a job with nothing new to announce renews its sign of life."""


@dataclass(frozen=True)
class Hold:
    """The part of a log that one job holds.

    Args:
        folder: the folder of the log.
        reader: the job's name among the log's readers.
        manifest: the folder whose newest version lists the job's checkpoints.
        retain: the least age (s) of the oldest checkpoint that is kept, once one is that old.
    """

    folder: str
    reader: str
    manifest: str
    retain: Seconds

    def announce(self, passed: int) -> None:
        """Announces that chunks before `passed` are no longer needed.

        Raises:
            OSError: if the announcement cannot be written.
        """
        announce(self.folder, self.reader, passed, self.retain)

    def announce_kept(self, chunk: int) -> None:
        """Announces, after a checkpoint at `chunk`, what the job no longer needs."""
        oldest = self._checkpoints()[0]["chunk"]
        with suppress(OSError):  # the log's disk may be full; the next announcement covers this one
            self.announce(min(oldest, chunk))

    def needed(self, chunk: int, idle: float) -> int | None:
        """The first chunk that the job needs, if it read everything before `chunk` and has been idle for `idle` s.

        None if its newest checkpoint is not at `chunk` yet.
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
    """Releases a log as checkpoints age while the log has nothing new."""

    def __init__(self, hold: Hold):
        self._hold = hold
        self._chunk = 0
        self._since = self._heard = self._looked = 0.0

    def look(self, chunk: int) -> None:
        """Notes that everything before `chunk` has been read and that there is nothing more."""
        now = time.monotonic()
        if chunk != self._chunk:
            self._chunk, self._since = chunk, now
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        needed = self._hold.needed(chunk, now - self._since)
        with suppress(OSError):
            # The thread that announces after a checkpoint may have written after the last announcement from here.
            if needed is not None and needed != passed_by(self._hold.folder, self._hold.reader):
                self._hold.announce(needed)
                self._heard = now
            elif now - self._heard >= _HEARD_SECONDS:
                os.utime(reader_file(self._hold.folder, self._hold.reader))
                self._heard = now

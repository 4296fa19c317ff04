"""Notices when this process was stopped: by a signal, a debugger, or a paused machine.

An engine that does not hear from a process for long reassigns its work. A writer that was stopped for that long must
not finish what it had begun. A thread beats several times a second; a gap between two beats is a stop. Time during
which the machine was suspended does not count, because the engine was suspended too.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

BEAT_SECONDS: Final = 0.5


class Pulse:
    """The beats of a process, and the gaps between them.

    Args:
        clock: returns seconds, and never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self._beat = clock()
        self._stops: list[tuple[float, float]] = []
        self._lock = threading.Lock()

    def beat(self) -> None:
        """Records that the process is running now."""
        with self._lock:
            now = self.clock()
            if now - self._beat > 2 * BEAT_SECONDS:
                self._stops = [*self._stops[-99:], (now, now - self._beat)]
            self._beat = now

    def stopped(self, since: float) -> float:
        """The longest stop, in s, that ended after `since` by the clock; 0 if there was none."""
        self.beat()
        with self._lock:
            return max((length for end, length in self._stops if end > since), default=0.0)


_started: list[Pulse] = []
_starting = threading.Lock()


def pulse() -> Pulse:
    """The pulse of this process; it starts to beat at the first call."""
    with _starting:
        if not _started:
            _started.append(Pulse())
            threading.Thread(target=_beat, args=(_started[0],), name="pulse", daemon=True).start()
        return _started[0]


def _beat(pulse: Pulse) -> None:
    while True:
        time.sleep(BEAT_SECONDS)
        pulse.beat()

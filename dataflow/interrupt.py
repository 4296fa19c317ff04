"""Ctrl-C, noted: libraries that catch everything while they are imported would otherwise swallow it.

The first one is an ordinary KeyboardInterrupt, and is raised again by `check` if nobody saw it; the second ends the
process at once.
"""

import os
import signal
from types import FrameType

INTERRUPTED = 130
_noted = False


def listen() -> None:
    """Notes Ctrl-C from here on; for the main thread of a process of our own."""
    signal.signal(signal.SIGINT, _note)


def check() -> None:
    """Raises KeyboardInterrupt if there was a Ctrl-C."""
    if _noted:
        raise KeyboardInterrupt


def _note(number: int, frame: FrameType | None) -> None:
    global _noted
    if _noted:
        os._exit(INTERRUPTED)
    _noted = True
    raise KeyboardInterrupt

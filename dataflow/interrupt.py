"""Ctrl-C, noted: libraries that catch everything while they are imported would otherwise swallow it.

The first one is an ordinary KeyboardInterrupt, and is raised again by `check` if nobody saw it; the second ends the
process at once.
"""

import os
import signal
from types import FrameType

INTERRUPTED = 130
_noted = False
_listening = False


def listen() -> None:
    """Notes Ctrl-C from here on; for the main thread of a process of our own."""
    global _listening
    signal.signal(signal.SIGINT, _note)
    _listening = True


def leave_at_sigterm() -> None:
    """Ends the process with 0 at SIGTERM: until a live job has begun, there is nothing to bring to an end."""
    if _listening:
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))


def end_at_sigterm() -> None:
    """Ends the process by SIGTERM again, as by default: what has begun on a cluster was not brought to an end."""
    if _listening:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


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

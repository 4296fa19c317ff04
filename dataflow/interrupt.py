"""Notes Ctrl-C, since libraries that catch everything during their import would swallow it.

The first Ctrl-C is an ordinary KeyboardInterrupt, and `check` raises it again if it was swallowed; the second ends the
process at once.
"""

import os
import signal
from types import FrameType

INTERRUPTED = 130
_noted = False
_listening = False


def listen() -> None:
    """Notes Ctrl-C from now on; call it in the main thread of our own process."""
    global _listening
    signal.signal(signal.SIGINT, _note)
    _listening = True


def leave_at_sigterm() -> None:
    """Ends the process with 0 at SIGTERM: before a live job has begun, there is nothing to finish."""
    if _listening:
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))


def end_at_sigterm() -> None:
    """Lets SIGTERM end the process as by default again: a job that has begun on a cluster is not finished."""
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

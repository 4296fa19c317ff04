"""Moments: when, in Beam's time of a live pipeline, the steps of a tick happen."""

from typing import Final

from apache_beam.utils.timestamp import Timestamp

SENT: Final = -1
CLOSING: Final = 0
KEEPING: Final = 1
PASSED: Final = 2

_STEP: Final = 1_000
_TICK: Final = 1_000_000
"""A tick takes a second (µs): Beam's Java runners truncate the watermark of a paused source to whole seconds."""


def moment(name: int, step: int) -> Timestamp:
    """Beam's time of a step at a tick. Runners keep milliseconds, so a step is one, and the last is a whole second.

    The data of the chunks before the tick is `SENT`; windows close at `CLOSING`; a checkpoint of the result is kept
    at `KEEPING`; and when all is done the source's watermark has `PASSED`.
    """
    return Timestamp(micros=name * _TICK + (step - PASSED) * _STEP)


def tick_after(timestamp: Timestamp) -> int:
    """The name of the first tick at or after a moment."""
    return -(-timestamp.micros // _TICK)

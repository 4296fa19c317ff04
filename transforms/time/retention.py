"""How long a job holds its source: which of its checkpoints is old enough to be the oldest one kept.

A checkpoint's age is measured by the clock of its source, if it has one, because users cannot set that clock; a jump
of the machine's clock would otherwise release a log at once, or never.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from transforms.specification import Seconds


def moments(checkpoints: Sequence[Mapping[str, Any]]) -> list[float]:
    """When each checkpoint was taken, in s, all by the same clock.

    Args:
        checkpoints: `taken`, by the machine's clock (s), and `source`, which may have `clock` (µs).

    >>> moments([{"taken": 50.0, "source": {"clock": 3_000_000}}])
    [3.0]
    >>> moments([{"taken": 50.0, "source": {}}])
    [50.0]
    """
    clocks = [_clock(entry["source"]) for entry in checkpoints]
    known = [micros / 1e6 for micros in clocks if micros is not None]
    if len(known) == len(checkpoints):
        return known
    return [entry["taken"] for entry in checkpoints]


def _clock(source: Mapping[str, Any]) -> int | None:
    # In checkpoints of earlier versions, only the progress of a source has its clock.
    clock: int | None = source["clock"] if "clock" in source else (source.get("progress") or {}).get("elapsed")
    return clock


def first_kept(times: Sequence[float], now: float, retain: Seconds) -> int:
    """The number of the oldest checkpoint to keep: the youngest one that is at least `retain` old, or else the first.

    >>> first_kept([0, 10, 20, 30], now=35, retain=15)
    2
    >>> first_kept([0, 10], now=11, retain=15)
    0
    """
    return max((number for number, time in enumerate(times) if now - time >= retain), default=0)

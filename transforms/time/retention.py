"""How long a job holds what its source has: which of its checkpoints is old enough to stand at the beginning of it.

A checkpoint's age is measured by the clock of its source, if it has one, which nobody can set; a machine's clock that
jumps would else let go of a log at once, or never.
"""

from collections.abc import Mapping, Sequence
from typing import Any


def moments(checkpoints: Sequence[Mapping[str, Any]]) -> list[float]:
    """When each checkpoint was taken, in s, all by the same clock.

    Args:
        checkpoints: `taken`, by the machine's clock (s), and `source`, in which `progress` may know `elapsed` (µs).

    >>> moments([{"taken": 50.0, "source": {"progress": {"elapsed": 3_000_000}}}])
    [3.0]
    >>> moments([{"taken": 50.0, "source": {}}])
    [50.0]
    """
    elapsed = [(entry["source"].get("progress") or {}).get("elapsed") for entry in checkpoints]
    known = [micros / 1e6 for micros in elapsed if micros is not None]
    if len(known) == len(checkpoints):
        return known
    return [entry["taken"] for entry in checkpoints]


def first_kept(times: Sequence[float], now: float, retain: float) -> int:
    """The number of the checkpoint that everything older may go before: the youngest one that is `retain` old.

    >>> first_kept([0, 10, 20, 30], now=35, retain=15)
    2
    >>> first_kept([0, 10], now=11, retain=15)
    0
    """
    return max((number for number, time in enumerate(times) if now - time >= retain), default=0)

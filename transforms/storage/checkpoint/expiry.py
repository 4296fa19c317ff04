"""How long rows stay in the tables of a live job: at least as long as its job file says, from when they were stored.

A job remembers a few of the places that it has passed, its *marks*. Once a mark is as old as a table's retention, the
rows that the table had there go. Age is measured by the clock of the source, if it has one
(`transforms.time.retention`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

STEPS: Final = 8
"""Marks of an age lie at most a quarter of that age apart, as two steps make it."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place that a job has passed.

    Args:
        name: the name of its checkpoint.
        time: when it was there, in s.
        watermark: up to where event time had passed (µs).
        reached: of each source, the position of the first record that had not been read.
        growing: of sources whose last ledger row may still grow, the first position of that row.
    """

    name: int
    time: float
    watermark: int
    reached: Mapping[str, int]
    growing: Mapping[str, int] = field(default_factory=dict)

    @property
    def booked(self) -> Mapping[str, int]:
        """Of each source, the first position of the ledger rows that had not been finished."""
        return {**self.reached, **self.growing}


def with_mark(marks: Sequence[Mark], mark: Mark, retention: Mapping[str, float]) -> list[Mark]:
    """The marks to remember once there is another one: the older they are, the further apart.

    Args:
        retention: of tables, how long (s) their rows stay.

    >>> marks = []
    >>> for second in range(1000):
    ...     marks = with_mark(marks, Mark(second, second, 0, {}), {"ledger": 80.0})
    >>> [999 - mark.name for mark in marks]
    [89, 79, 69, 59, 49, 39, 29, 19, 9]
    """
    if not retention:
        return []
    shortest, longest = min(retention.values()), max(retention.values())
    marks = [earlier for earlier in marks if earlier.time <= mark.time]  # a clock that was ahead has been set back
    if marks and mark.time - marks[-1].time < shortest / STEPS:
        return list(marks)
    kept = [mark]
    for earlier in reversed(marks):
        if mark.time - kept[-1].time >= longest:
            break
        if kept[-1].time - earlier.time >= max(mark.time - earlier.time, shortest) / STEPS:
            kept.append(earlier)
    return kept[::-1]


def expiring(
    marks: Sequence[Mark], retention: Mapping[str, float], before: Mapping[str, Mark], now: float, oldest: int
) -> dict[str, Mark]:
    """Of tables, the marks up to which their rows may go now and have not gone yet.

    Args:
        before: up to where they went before.
        now: the present time, in s.
        oldest: the name of the oldest checkpoint that is kept: what came after it is still compared by `verify`.
    """
    found = {}
    for table, seconds in retention.items():
        passed = [mark for mark in marks if now - mark.time >= seconds and mark.name <= oldest]
        if passed and (table not in before or not passed[-1].time <= before[table].time <= now):
            found[table] = passed[-1]
    return found

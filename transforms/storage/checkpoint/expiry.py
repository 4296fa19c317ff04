"""How long rows stay in the tables of a live job: at least as long as its job file says, from when they were stored.

A job remembers a few of the places that it has passed, its *marks*. Once a mark is as old as a table's retention, the
rows that the table had there go. Age is measured by the clock of the source, if it has one
(`transforms.time.retention`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

STEPS: Final = 8
"""Marks of an age lie at most this part of it apart."""


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


def with_mark(marks: Sequence[Mark], mark: Mark, retention: Mapping[str, float], oldest: int) -> list[Mark]:
    """The marks to remember once there is another one: the older they are, the further apart.

    One goes if those on both sides of it are as near to each other as marks of their age may be, or if all rows of
    before have gone.

    Args:
        retention: of tables, how long (s) their rows stay.
        oldest: the name of the oldest checkpoint that is kept: rows up to a mark after it do not go yet.

    >>> marks = []
    >>> for second in range(2000):
    ...     marks = with_mark(marks, Mark(second, second, 0, {}), {"ledger": 80.0, "t": 800.0}, second)
    >>> ages = [1999 - mark.name for mark in marks]
    >>> [next(age for age in reversed(ages) if age >= stays) for stays in (80, 800)], len(ages)
    ([89, 879], 35)
    """
    if not retention:
        return []
    shortest, longest = min(retention.values()), max(retention.values())
    marks = [earlier for earlier in marks if earlier.time <= mark.time]  # a clock that was ahead has been set back
    if marks and mark.time - marks[-1].time < shortest / STEPS:
        return marks
    kept = [mark]
    for number in range(len(marks) - 1, -1, -1):
        if mark.time - kept[-1].time >= longest and kept[-1].name <= oldest:
            break
        older = marks[number - 1] if number else None
        if older is None or kept[-1].time - older.time > max(mark.time - older.time, shortest) / STEPS:
            kept.append(marks[number])
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
        # After going back to an old savepoint there are names again that came before; their rows have gone.
        if passed and (table not in before or passed[-1].name > before[table].name):
            found[table] = passed[-1]
    return found

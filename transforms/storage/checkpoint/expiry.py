"""How long rows stay in the tables of a live job: at least as long as its job file says, after they were stored.

A job remembers a few of the places that it has passed, its *marks*. Once a mark is as old as a table's retention, the
rows that the table had at the mark are deleted. The clock of the source measures the age, if it has one
(`transforms.time.retention`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from transforms.specification import Seconds

STEPS: Final = 8
"""Neighbouring marks are at most this share of their age apart."""


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


def with_mark(marks: Sequence[Mark], mark: Mark, retention: Mapping[str, Seconds], oldest: int) -> list[Mark]:
    """The marks to remember once a new mark is added: the older they are, the further apart.

    A mark is dropped if its two neighbours are as near to each other as marks of their age may be, or if all rows up
    to it have been deleted.

    Args:
        retention: how long (s) the rows of each table stay.
        oldest: the name of the oldest checkpoint that is kept: rows up to a mark after it are not deleted yet.

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
    marks = [earlier for earlier in marks if earlier.time <= mark.time]  # a clock that was fast has been set back
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
    marks: Sequence[Mark], retention: Mapping[str, Seconds], before: Mapping[str, Mark], now: float, oldest: int
) -> dict[str, Mark]:
    """For each table, the mark up to which its rows may be deleted now, if there are such rows.

    Args:
        before: the marks up to which rows have been deleted before.
        now: the present time, in s.
        oldest: the name of the oldest checkpoint that is kept: `verify` still compares the rows after it.
    """
    found = {}
    for table, seconds in retention.items():
        passed = [mark for mark in marks if now - mark.time >= seconds and mark.name <= oldest]
        # After a return to an old savepoint, earlier names come again; their rows have been deleted.
        if passed and (table not in before or passed[-1].name > before[table].name):
            found[table] = passed[-1]
    return found

"""What is wrong with a job file, and where."""

from dataclasses import dataclass

Place = tuple[str | int, ...]
"""The place of a value: names and indices."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where."""

    place: Place
    sentence: str

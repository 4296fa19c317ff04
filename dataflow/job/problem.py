"""What is wrong with a job file, and where."""

from dataclasses import dataclass

from transforms.refusal import Place as Place


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where."""

    place: Place
    sentence: str

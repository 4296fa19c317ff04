"""The histories of a job: which checkpoints follow one another, and which were abandoned.

A history begins when a job starts from nothing, and again each time it is rolled back to an older place: what followed
that place is abandoned. So the name of a checkpoint is unique only within a history, and both together identify it.
The *line* of a job leads from its beginning to where it stands: stretches of histories, each of which ends where the
next one branched off. What is not on the line was abandoned, and nothing may resume from there.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

NOTHING: Final = -1
"""The name of where a job stood before its first checkpoint."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job stands: the name of its last checkpoint, the history of that, and how far the topics were."""

    name: int = NOTHING
    topics: Sequence[Mapping[str, Any]] = field(default_factory=list)
    history: str = ""

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def from_json(content: bytes) -> "Place":
        return Place(**json.loads(content))

    def is_at(self, other: "Place") -> bool:
        """Whether it is the same checkpoint."""
        return (self.name, self.history) == (other.name, other.history)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the line: a history, up to the checkpoint `through`; None: to where the job stands."""

    history: str
    through: int | None = None

    def holds(self, name: int) -> bool:
        return self.through is None or name <= self.through


Line = Sequence[Stretch]


def begun() -> Line:
    """The line of a job that starts from nothing."""
    return (Stretch(new_history()),)


def holds(line: Line, place: Place) -> bool:
    """Whether a place lies on a line.

    >>> line = (Stretch("a", 8), Stretch("b"))
    >>> holds(line, Place(4, history="a")), holds(line, Place(12, history="a")), holds(line, Place(12, history="b"))
    (True, False, True)
    """
    return any(stretch.history == place.history and stretch.holds(place.name) for stretch in line)


def left_at(line: Line, place: Place) -> Line:
    """The line of a job that is rolled back to a place on its line: a new history begins there."""
    found = [number for number, stretch in enumerate(line) if stretch.history == place.history]
    kept = list(line[: found[-1] + 1])
    kept[-1] = replace(kept[-1], through=place.name)
    return (*kept, Stretch(new_history()))


def parting(line: Line, other: Line) -> Place | None:
    """The last place that two lines have in common; None: they have none, or are the same.

    >>> a, b = (Stretch("a", 8), Stretch("b")), (Stretch("a", 20), Stretch("c"))
    >>> parting(a, b).name, parting(a, (Stretch("x"),)), parting(a, a)
    (8, None, None)
    """
    last: Place | None = None
    for mine, its in zip(line, other, strict=False):
        if mine.history != its.history:
            break
        ends = [through for through in (mine.through, its.through) if through is not None]
        last = Place(min(ends), history=mine.history) if ends else None
        if mine.through != its.through:
            break
    return last


def new_history() -> str:
    """A name that no history has."""
    return uuid.uuid4().hex[:16]

"""What is wrong with the content of a job file, in sentences; and the rest of the content without that."""

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from dataflow.job.document import Document
from dataflow.job.problem import Place, Problem
from transforms import refusal
from transforms.collection.sources import SOURCES
from transforms.preprocessing.spec import STEPS
from transforms.refusal import place_of
from transforms.storage.sinks import SINKS

_TAGGED: Final = ("source", "preprocess", "sinks")


def problems(error: ValidationError, document: Document, root: type[BaseModel]) -> Iterator[Problem]:
    """Everything that pydantic found, each with its place in the document."""
    choices = {"unknown_step": tuple(STEPS), "unknown_sink": tuple(SINKS), "unknown_source": tuple(SOURCES)}
    found = refusal.problems(error, document.content, document.written, root, _TAGGED, choices)
    yield from (Problem(place, sentence) for place, sentence in found)


_LISTS: Final = ("preprocess", "aggregations", "sinks")
_REQUIRED: Final = ("source", "record", "aggregations", "sinks")


@dataclass(frozen=True, slots=True)
class Salvage:
    """A content without its wrong parts, so that the rest can be checked.

    `kept` holds the places that entries of a list had before others were removed. If `knows_columns` is false, a step
    of preprocessing is missing, so the columns of the aggregations are unknown.
    """

    content: dict[str, Any]
    kept: Mapping[str, list[int]] = field(default_factory=dict)
    knows_columns: bool = True

    def original(self, problem: Problem) -> Problem:
        """A problem of the rest, with its place in the whole content."""
        name, *further = problem.place or ("",)
        if name in self.kept and further and isinstance(further[0], int):
            return Problem((name, self.kept[str(name)][further[0]], *further[1:]), problem.sentence)
        return problem


def without_refused(content: dict[str, Any], error: ValidationError) -> Salvage:
    """Removes unknown fields, and the entries of lists and the optional parts that have an error."""
    rest, entries = deepcopy(content), dict[str, set[int]]()
    for item in error.errors():
        place = place_of(item, content, _TAGGED)
        if item["type"] == "extra_forbidden":
            _remove(rest, place)
    for item in error.errors():
        place = place_of(item, content, _TAGGED)
        if item["type"] == "extra_forbidden":
            continue
        if len(place) > 1 and place[0] in _LISTS and isinstance(place[1], int):
            entries.setdefault(place[0], set()).add(place[1])
        elif place and place[0] not in _REQUIRED:
            rest.pop(str(place[0]), None)
    kept = {name: _keep(rest, name, wrong) for name, wrong in entries.items()}
    rest.setdefault("job", "unnamed")
    return Salvage(rest, kept, "preprocess" not in kept)


def _keep(content: dict[str, Any], name: str, wrong: Iterable[int]) -> list[int]:
    kept = [index for index in range(len(content[name])) if index not in set(wrong)]
    content[name] = [content[name][index] for index in kept]
    return kept


def _remove(content: Any, place: Place) -> None:
    for part in place[:-1]:
        content = content[part]
    content.pop(place[-1], None)

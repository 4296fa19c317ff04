"""What is wrong with the content of a job file, in sentences; and what is left of it without that.

pydantic finds what is wrong with single fields. It speaks of Python's types and of members of unions; here that
becomes the field, the rule and the value, as they stand in the file.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from dataflow.job.document import Document
from dataflow.job.problem import Place, Problem
from transforms.model.kind import ModelSpec, specification_of
from transforms.preprocessing.spec import STEPS
from transforms.specification import OneOf
from transforms.storage.sinks import SINKS

_RULES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "must be a mapping"),
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("byte_size", "byte_size_unit"), "must be a size in bytes, such as 64KB or 16MiB"),
    "string_type": "must be a text",
    "too_short": "must not be empty",
}
_STEP_RULES: Final[Mapping[str, str]] = {
    "fill": "must be a number, a text, true or false",
    "clip": "must be [LOW, HIGH], each a number or null",
}
"""Steps whose values may be of several types: one rule, instead of one for each of them."""


def problems(error: ValidationError, document: Document, root: type[BaseModel]) -> Iterator[Problem]:
    """Everything that pydantic found, each with its place in the document."""
    for item in error.errors():
        if item["type"] == "too_short" and len(_written(item, document)) >= item["ctx"]["min_length"]:
            continue  # items that are wrong themselves were not counted
        place = _place(item, document.content)
        yield Problem(place, _sentence(item, place, document, root))


def _written(item: Any, document: Document) -> Any:
    value = document.value(_place(item, document.content))
    return value if isinstance(value, list | dict) else ()


def _place(item: Any, content: Any) -> Place:
    """The place in the document of a pydantic location, which also names union members and validators."""
    loc = item["loc"]
    if len(loc) > 2 and loc[0] in ("preprocess", "sinks"):
        loc = (*loc[:2], *loc[3:])  # the third is the tag by which the kind of the entry was told
    place: list[str | int] = []
    for part in loc:
        if (isinstance(content, dict) and part in content) or (
            isinstance(content, list) and isinstance(part, int) and part < len(content)
        ):
            content = content[part]
            place.append(part)
    if item["type"] == "missing":
        place.append(loc[-1])  # where it should stand
    return tuple(place)


def _sentence(item: Any, place: Place, document: Document, root: type[BaseModel]) -> str:
    kind, value, loc = item["type"], document.value(place), item["loc"]
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        known = sorted(_known_fields(loc[:-1], root, document.content))
        return f"is not a known field; {_nearest(place[-1], known) or 'there are ' + ', '.join(known)}"
    if kind in ("unknown_step", "unknown_sink"):
        named = next(iter(value)) if isinstance(value, dict) and value else value
        nearest = _nearest(named, list(STEPS if kind == "unknown_step" else SINKS))
        return "; ".join(filter(None, (item["msg"], nearest))) + f", is {shown(named)}"
    rule = _RULES.get(kind)
    if loc[0] == "preprocess" and len(loc) > 4 and kind != "extra_forbidden":
        rule = _STEP_RULES.get(str(loc[2]), rule)
    if rule is None:
        rule = item["msg"].removeprefix("Value error, ")
        for before, after in (("Input should", "must"), ("String should", "must"), (" at most 1 character", "")):
            rule = rule.replace(before, after)
        if ", is " in rule or ", are " in rule or isinstance(value, dict | list):
            return str(rule)
    if value is None and kind == "string_type" and _was_cut(document.value(place[:-1])):
        return f"{rule}, is null: between {{ and }} a comma ends a value, so put one that holds a comma in quotes"
    return f"{rule}, is {shown(value)}"


def _was_cut(siblings: Any) -> bool:
    """Whether a comma between `{` and `}` cut a value in two: a parenthesis is open in one part, closed in another."""
    if not isinstance(siblings, dict):
        return False
    texts = [f"{name} {value}" if isinstance(value, str) else str(name) for name, value in siblings.items()]
    return any(text.count("(") != text.count(")") for text in texts)


def shown(value: Any) -> str:
    """A value as a message quotes it.

    >>> shown(None), shown([1, 2]), shown(True)
    ('null', 'a list', 'true')
    """
    if isinstance(value, list | dict):
        return ("a list" if isinstance(value, list) else "a mapping") if value else "empty"
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if 0 < len(text) <= 80 else text[:79] + "…" if text else "''"


def _nearest(name: object, known: list[str]) -> str | None:
    nearest = difflib.get_close_matches(str(name), known, 1, 0.5)
    return f"did you mean `{nearest[0]}`?" if nearest else None


def _known_fields(loc: tuple[Any, ...], root: type[BaseModel], content: Any) -> set[str]:
    """The fields of the specification at a location of a content."""
    models: set[Any] = {root}
    for part in loc:
        following: set[Any] = set()
        for model in models:
            if isinstance(part, str) and part in model.model_fields:
                following |= set(_models_in(model.model_fields[part].annotation))
        models = following or models
        if (isinstance(content, dict) and part in content) or (isinstance(content, list) and isinstance(part, int)):
            content = content[part]
        if ModelSpec in models and isinstance(content, dict):
            models = {specification_of(content.get("kind"))}
    return {field.alias or name for model in models for name, field in model.model_fields.items()}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        if isinstance(argument, OneOf):
            yield from argument.choices().values()
        elif argument is not annotation and not isinstance(argument, str):
            yield from _models_in(argument)


_LISTS: Final = ("preprocess", "aggregations", "sinks")
_REQUIRED: Final = ("source", "record", "aggregations", "sinks")


@dataclass(frozen=True, slots=True)
class Salvage:
    """A content without what is wrong with it, so that the rest of it can be looked at.

    `kept` holds the places that entries of a list had before others were taken out. Without `knows_columns` a
    step of preprocessing is missing, and nobody knows what the aggregations would see.
    """

    content: dict[str, Any]
    kept: Mapping[str, list[int]] = field(default_factory=dict)
    knows_columns: bool = True

    def original(self, problem: Problem) -> Problem:
        """A problem of the rest, at its place in the whole."""
        name, *further = problem.place or ("",)
        if name in self.kept and further and isinstance(further[0], int):
            return Problem((name, self.kept[str(name)][further[0]], *further[1:]), problem.sentence)
        return problem


def without_refused(content: dict[str, Any], error: ValidationError) -> Salvage:
    """Takes out unknown fields, entries of lists that have an error, and optional parts that have one."""
    rest, entries = deepcopy(content), dict[str, set[int]]()
    for item in error.errors():
        place = _place(item, content)
        if item["type"] == "extra_forbidden":
            _remove(rest, place)
    for item in error.errors():
        place = _place(item, content)
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

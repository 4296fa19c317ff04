"""What is wrong with a specification, in sentences that name the field, the rule and the value.

pydantic finds what is wrong with single fields. Its messages are about Python's types and members of unions; here
they become the field, the rule and the value as written.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from transforms.specification import OneOf, Spec

Place = tuple[str | int, ...]
"""The place of a value: names and indices."""

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

Choices = Mapping[str, Sequence[str]]
"""For each type of error that a list of choices can give, the choices."""

S = TypeVar("S", bound=BaseModel)


class SpecError(ValueError):
    """The options of a transform are wrong; raised at construction, before anything runs.

    `problems` has a sentence for each problem, such as
    `window.every: must divide window.size (1h), is 7m`; the message has all of them, one a line.
    """

    def __init__(self, problems: Sequence[str]):
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def validated(
    model: type[S], content: Mapping[str, Any], tagged: Sequence[str] = (), choices: Choices | None = None
) -> S:
    """The specification in a mapping.

    Raises:
        SpecError: with everything that is wrong with it.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        found = problems(error, content, content, model, tagged, choices or {})
        # A value that may have several types has an error for each of them.
        raise SpecError(list(dict.fromkeys(sentence_at(*problem) for problem in found))) from None


def dotted(place: Place) -> str:
    """A place in the notation of messages and settings.

    >>> dotted(("aggregations", 0, "window", "every"))
    'aggregations[0].window.every'
    """
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def sentence_at(place: Place, sentence: str) -> str:
    """A sentence with its place before it.

    >>> sentence_at(("steps", 0, "clip"), "must not be empty")
    'steps[0].clip: must not be empty'
    """
    return f"{dotted(place)}: {sentence}" if place else sentence


def problems(
    error: ValidationError, content: Any, written: Any, root: type[BaseModel], tagged: Sequence[str], choices: Choices
) -> Iterator[tuple[Place, str]]:
    """Everything that pydantic found: the place in the content, and a sentence.

    Args:
        written: the content as sentences may quote it, without secrets.
        tagged: the fields that hold an entry of one of several kinds, or a list of them.
        choices: the names of the kinds of entries.
    """
    for item in error.errors():
        place = place_of(item, content, tagged)
        if item["type"] == "too_short" and _length(value_at(written, place)) >= item["ctx"]["min_length"]:
            continue  # items with errors of their own were not counted
        yield place, _sentence(item, place, written, root, choices)


def place_of(item: Any, content: Any, tagged: Sequence[str]) -> Place:
    """The place in the content of a pydantic location, which also names union members and validators."""
    loc = item["loc"]
    if len(loc) > 2 and loc[0] in tagged:
        tag = 2 if isinstance(loc[1], int) else 1  # the part that names the kind of the entry, in a list or not
        loc = (*loc[:tag], *loc[tag + 1 :])
    place: list[str | int] = []
    for part in loc:
        if (isinstance(content, Mapping) and part in content) or (
            isinstance(content, list | tuple) and isinstance(part, int) and part < len(content)
        ):
            content = content[part]
            place.append(part)
    if item["type"] == "missing":
        place.append(loc[-1])  # its place if it were there
    return tuple(place)


def shown(value: Any) -> str:
    """A value in the form of messages.

    >>> shown(None), shown([1, 2]), shown(True)
    ('null', 'a list', 'true')
    """
    if isinstance(value, list | tuple | Mapping):
        return ("a mapping" if isinstance(value, Mapping) else "a list") if value else "empty"
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if 0 < len(text) <= 80 else text[:79] + "…" if text else "''"


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list | tuple | Mapping) else 0


def value_at(content: Any, place: Place) -> Any:
    """The value in the content at a place; None: there is none."""
    for part in place:
        try:
            content = content[part]
        except (KeyError, IndexError, TypeError):
            return None
    return content


def _sentence(item: Any, place: Place, written: Any, root: type[BaseModel], choices: Choices) -> str:
    kind, value, loc = item["type"], value_at(written, place), item["loc"]
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        known = sorted(_known_fields(loc[:-1], root, written))
        return f"is not a known field; {_nearest(place[-1], known) or 'there are ' + ', '.join(known)}"
    if kind in choices:
        if isinstance(value, Mapping) and len(value) > 1:
            return f"{item['msg']}, has {' and '.join(shown(name) for name in value)}"
        named = next(iter(value)) if isinstance(value, Mapping) and value else value
        return "; ".join(filter(None, (item["msg"], _nearest(named, choices[kind])))) + f", is {shown(named)}"
    rule = _RULES.get(kind)
    if len(loc) > 4 and loc[0] in ("preprocess", "steps"):
        rule = _STEP_RULES.get(str(loc[2]), rule)
    if rule is None:
        rule = item["msg"].removeprefix("Value error, ")
        for before, after in (("Input should", "must"), ("String should", "must"), (" at most 1 character", "")):
            rule = rule.replace(before, after)
        if ", is " in rule or ", are " in rule or isinstance(value, list | tuple | Mapping):
            return str(rule)
    if value is None and kind == "string_type" and _was_cut(value_at(written, place[:-1])):
        return f"{rule}, is null: between {{ and }} a comma ends a value, so put one that holds a comma in quotes"
    return f"{rule}, is {shown(value)}"


def _was_cut(siblings: Any) -> bool:
    """Whether a comma between `{` and `}` cut a value in two: a parenthesis is open in one part, closed in another."""
    if not isinstance(siblings, Mapping):
        return False
    texts = [f"{name} {value}" if isinstance(value, str) else str(name) for name, value in siblings.items()]
    return any(text.count("(") != text.count(")") for text in texts)


def _nearest(name: object, known: Sequence[str]) -> str | None:
    nearest = difflib.get_close_matches(str(name), known, 1, 0.5)
    return f"did you mean `{nearest[0]}`?" if nearest else None


def _known_fields(loc: tuple[Any, ...], root: type[BaseModel], content: Any) -> set[str]:
    """The fields of the specification at a location of a content."""
    models: set[Any] = {root}
    for part in loc:
        following: set[Any] = set()
        for model in models:
            if isinstance(part, str) and part in model.model_fields:
                field = model.model_fields[part]
                following |= {*_models_in(field.annotation), *_chosen(field.metadata)}
        models = following or models
        content = value_at(content, (part,))
        models = {model.serving(content) if issubclass(model, Spec) else model for model in models}
    return {field.alias or name for model in models for name, field in model.model_fields.items()}


def _chosen(metadata: Iterable[Any]) -> Iterator[type[BaseModel]]:
    """The specifications among which a field's metadata lets a job file choose."""
    for entry in metadata:
        if isinstance(entry, OneOf):
            yield from entry.choices().values()


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _chosen([argument])
        if argument is not annotation and not isinstance(argument, str):
            yield from _models_in(argument)


def near(name: str, names: Iterable[str]) -> str:
    """What there is instead of a name, the names like it first."""
    there = list(names)
    plain = {_letters(other): other for other in reversed(there)}
    alike = [plain[match] for match in difflib.get_close_matches(_letters(name), list(plain), 1, 0.6)]
    did = f"did you mean `{alike[0]}`? " if alike else ""
    return f"{did}there are {', '.join(there)}"


def _letters(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())

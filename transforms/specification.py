"""The vocabulary of specifications: what the options of all stages share.

A specification is a frozen, validated value. A job file writes it as YAML, or Python code constructs it to use a
transform in another pipeline; the same rules apply to both.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal, NewType

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    GetCoreSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import core_schema

ColumnType = Literal["string", "int64", "float64", "bool", "timestamp"]
NUMERIC: frozenset[ColumnType] = frozenset({"int64", "float64", "bool"})

DURATION_PATTERN = r"^([0-9]+)(ms|s|m|h|d)$"
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(value: Any) -> timedelta:
    """Reads `90s`, `15m`, `1h`, `1d` (86,400 s) or `250ms`.

    Raises:
        ValueError: for anything else, a bare number included: a number has no unit.

    >>> parse_duration("15m")
    datetime.timedelta(seconds=900)
    """
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(DURATION_PATTERN, value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a duration such as 90s, 15m, 1h or 1d")
    try:
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        raise ValueError("is longer than any calendar") from None


def format_duration(value: timedelta) -> str:
    """Writes a duration the way the job file does.

    >>> format_duration(timedelta(hours=24))
    '1d'
    """
    total = microseconds(value)
    for suffix, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000)):
        if total % size == 0 and (total or suffix == "s"):
            return f"{total // size}{suffix}"
    return f"{total // 1000}ms"


Micros = NewType("Micros", int)
"""A duration in microseconds, the unit of every event time in this package."""

Seconds = NewType("Seconds", float)
"""A duration in seconds, the unit of every clock in this package."""


def microseconds(value: timedelta) -> Micros:
    """A duration as whole microseconds."""
    return Micros(value // timedelta(microseconds=1))


def seconds(value: timedelta) -> Seconds:
    """A duration as seconds."""
    return Seconds(value.total_seconds())


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["90s", "15m", "1h", "1d"]}),
]


def _plain_whole(value: Any) -> Any:
    if isinstance(value, bool | float) or (isinstance(value, str) and not re.fullmatch(r"[+-]?(0|[1-9]\d*)", value)):
        raise ValueError("must be a whole number")
    return value


def _plain_number(value: Any) -> Any:
    digits = r"[+-]?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?"
    if isinstance(value, bool) or (isinstance(value, str) and not re.fullmatch(digits, value)):
        raise ValueError("must be a number")
    return value


Whole = Annotated[int, BeforeValidator(_plain_whole, json_schema_input_type=int)]
"""A whole number as it is commonly written, also as text from the environment, but not `yes` or `010`."""

Number = Annotated[float, BeforeValidator(_plain_number, json_schema_input_type=float)]
"""A number as it is commonly written, also as text, but not `yes`."""


def _plain_size(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, str) and re.match(r"0\d", value)):
        raise ValueError("must be a size in bytes, such as 64KB or 16MiB")
    return value


Size = Annotated[ByteSize, BeforeValidator(_plain_size, json_schema_input_type=int | str)]
"""A size in bytes, as a number or with a unit."""


def one_or_more(value: Any) -> Any:
    """A single name as a list of one: `key: carrier` is `key: [carrier]`."""
    return [value] if isinstance(value, str) else value


def repeated(names: Iterable[str]) -> list[str]:
    """The names that occur more than once, in the order of their first places.

    >>> repeated(["a", "b", "c", "b", "a"])
    ['a', 'b']
    """
    return [name for name, times in Counter(names).items() if times > 1]


class Spec(BaseModel):
    """A frozen, validated value; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, hide_input_in_errors=False)

    @classmethod
    def serving(cls, content: Any) -> "type[Spec]":
        """The specification that checks a content: its own, or the one that the content names."""
        return cls


def name_in(spec: Spec) -> str:
    """The name of a specification that is a mapping with one name."""
    return next(iter(type(spec).model_fields))


@dataclass(frozen=True)
class OneOf:
    """For a field: a mapping with one of several names, each of which has its own specification.

    Args:
        choices: returns the specifications by name; called whenever a model with the field is built.
        error: the type of the error for anything else.
        message: the sentence before the names.
    """

    choices: Callable[[], Mapping[str, type[Spec]]]
    error: str
    message: str = "must be a mapping with one of"

    def name_of(self, value: Any) -> str | None:
        """The name in a value, as written or as validated; None: it has none of the names, or several."""
        if isinstance(value, Spec):
            return name_in(value)
        if isinstance(value, dict) and len(value) == 1:
            name = str(next(iter(value)))
            return name if name in self.choices() else None
        return None

    def _without_nulls(self, value: Any) -> Any:
        """A null under a name is as good as no name, as with any field that may be null."""
        if not isinstance(value, dict):
            return value
        return {name: each for name, each in value.items() if each is not None or name not in self.choices()} or value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        choices = self.choices()
        union = core_schema.tagged_union_schema(
            {name: handler.generate_schema(spec) for name, spec in choices.items()},
            discriminator=self.name_of,
            custom_error_type=self.error,
            custom_error_message=f"{self.message} " + ", ".join(choices),
        )
        return core_schema.no_info_before_validator_function(self._without_nulls, union)


ONE_OR_MORE = BeforeValidator(one_or_more, json_schema_input_type=str | tuple[str, ...])
"""Lets a field of names accept a single name."""


def not_in_this_version(name: str, until: str) -> Any:
    """A validator that refuses a field which the contract names and this version does not support."""

    def refuse(value: Any) -> Any:
        if value is not None:
            raise ValueError(f"`{name}` is not supported in this version; {until}")
        return value

    return BeforeValidator(refuse, json_schema_input_type=None)

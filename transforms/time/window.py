"""Windows: how records come into slices, how slices become windows, and when windows end.

A slice is the smallest part of event time for which an aggregation keeps figures. Slices and windows are [start, end),
in µs since the epoch. Each file of `transforms.time.windows` declares one kind of windows: a class of `Window`, and its
`KIND`. Everything that depends on the kind is asked of that class.

Windows of a kind that does not grow follow from event time alone: a slice is known by its start, and so are the windows
that it is in. Windows of a kind that grows follow from the records: slices of a key that meet become one slice, whose
bounds are part of the state, and a window ends later when a record joins it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, ClassVar, Final, NamedTuple, get_type_hints

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import GetCoreSchemaHandler, create_model
from pydantic_core import core_schema

from transforms.declared import declared_in
from transforms.specification import Duration, Micros, Spec, not_in_this_version
from transforms.time import windows as declared
from transforms.time.event_time import Instants, as_timestamps

SLICE: Final = "slice"
"""The column of partials with the start of each row's slice."""

SLICE_END: Final = "slice_end"
"""The column of partials with the end of each row's slice, for windows that grow."""

Merge = Callable[[Sequence[pa.RecordBatch]], pa.RecordBatch]
"""Merges partials: rows of one slice and key become one row."""

_ALWAYS_WRITTEN: Final[Mapping[str, Any]] = {
    "size": None,
    "every": None,
    "calendar": None,
    "time_zone": "UTC",
    "session_gap": None,
}
"""The fields that the identity of every window has had since the first version: checkpoints hold its digest."""


class Spans(NamedTuple):
    """Slices or windows: where each starts, and where it ends."""

    starts: Instants
    ends: Instants


class Window(Spec, ABC):
    """One division of event time. A kind defines what is abstract, and what its windows do not share with most.

    The law of lateness: a slice that ends after an instant changes no window that has ended by then. So a window
    may close when the watermark, less the lateness, has passed its end.
    """

    grows: ClassVar[bool] = False
    """Whether windows grow: then `meets` is asked, and the ends of slices are state."""

    @classmethod
    def serving(cls, content: Any) -> type[Spec]:
        """The specification with the fields of all kinds."""
        return written()

    @abstractmethod
    def __str__(self) -> str:
        """The window in words, as `1d every 6h`."""

    @property
    @abstractmethod
    def longest(self) -> Micros | None:
        """How long (µs) a window is at most; None: there is no bound."""

    @property
    def slices_per_window(self) -> int:
        """How many slices of a key a window has, at most, of those that a state keeps."""
        return 1

    @property
    def identity(self) -> Mapping[str, Any]:
        """What checkpoints know the window by."""
        return {**_ALWAYS_WRITTEN, **self.model_dump(mode="json")}

    # From records to slices.

    @abstractmethod
    def slices(self, event_times: pa.Array) -> Instants:
        """The start of the slice that holds each event time (timestamp[us, UTC], no nulls)."""

    @abstractmethod
    def slice_ends(self, starts: Instants) -> Instants:
        """The end of the slice that begins at each start. After it, and the lateness, a record of the slice is late."""

    @abstractmethod
    def ordinals(self, starts: Instants) -> Instants:
        """Numbers slices in their order: what was learnt fades by these steps."""

    def may_end(self, after: int, by: int) -> bool:
        """Whether a slice, or a window, may end in (after, by]."""
        return by > after if self.grows else len(set(self.slices(as_timestamps(np.array([after, by]))))) > 1

    def meets(self, ends: Instants, starts: Instants) -> npt.NDArray[np.bool_]:
        """For windows that grow: whether a slice that ends at `ends` and one with a later start are in one window."""
        raise NotImplementedError(f"{type(self).__name__} does not grow")

    # From slices to windows.

    def windows(self, slices: pa.RecordBatch, merge: Merge) -> pa.RecordBatch:
        """The windows of slices, as a partial in which each row's slice is the last one of its window."""
        return slices

    def bounds(self, slices: Spans) -> Spans:
        """The bounds of the windows whose last slices these are: of all windows with a slice, that one ends first."""
        return slices

    def last_ends(self, slices: Spans) -> Instants:
        """The end of the last window that each slice is in; after that nothing needs the slice."""
        return self.bounds(slices).ends

    def next_end(self, slices: Spans, after: int) -> int | None:
        """The first end after `after` of a window that any of these slices is in; None: there is none."""
        ends = self.bounds(slices).ends
        later = ends[ends > after]
        return int(later.min()) if len(later) else None

    def begins_after(self, windows: Spans, last_end: int) -> npt.NDArray[np.bool_]:
        """Which windows hold no record of a state whose last window ends at `last_end`."""
        return windows.starts >= last_end if self.grows else windows.ends > last_end


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowKind:
    """A kind of windows.

    Args:
        name: the field of the job file that asks for this kind.
        order: its place among the kinds, where they are listed.
        spec: its class, whose fields are those of the job file.
        words: its fields, in the words of the job file's schema.
        lacks: for fields of other kinds, why this kind does not have them.
    """

    name: str
    order: int
    spec: type[Window]
    words: str
    lacks: Mapping[str, str] = field(default_factory=dict)


_REGISTERED: Final[dict[str, WindowKind]] = {}


def register(kind: WindowKind) -> None:
    """Registers a kind from outside `windows`, so that job files can ask for it.

    Raises:
        ValueError: if its name, or another of its fields, is a field of another kind.
    """
    if _REGISTERED.get(kind.name) == kind:
        return
    if taken := [name for name in kind.spec.model_fields if any(name in k.spec.model_fields for k in kinds().values())]:
        raise ValueError(f"a kind of windows with the field {taken[0]} is registered already")
    _REGISTERED[kind.name] = kind
    forget_kinds()


def forget_kinds() -> None:
    """Clears the cached kinds."""
    kinds.cache_clear()
    written.cache_clear()


@cache
def kinds() -> Mapping[str, WindowKind]:
    """Every kind of windows by its name, in their order."""
    found: list[WindowKind] = [*declared_in(declared, "KIND"), *_REGISTERED.values()]
    return {kind.name: kind for kind in sorted(found, key=lambda kind: kind.order)}


@cache
def written() -> type[Spec]:
    """The window of a job file: the fields of all kinds."""
    fields: dict[str, Any] = {}
    for kind in kinds().values():
        types = get_type_hints(kind.spec, include_extras=True)
        for name, each in kind.spec.model_fields.items():
            fields[name] = (types[name] | None, None) if each.is_required() else (types[name], each.default)
    names = ", ".join(f"`{name}`" for name in fields if name != "time_zone")
    refused = not_in_this_version("session_gap", f"use {' or '.join(names.rsplit(', ', 1))}")
    fields.setdefault("session_gap", (Annotated[Duration | None, refused], None))
    words = f"How event time is divided: {', or '.join(kind.words for kind in kinds().values())}."
    return create_model("Window", __base__=Spec, __doc__=words, **fields)


def window_of(content: Any) -> Window:
    """The window that a mapping asks for.

    Raises:
        ValueError: if it asks for none, or for what its kind does not have.

    >>> str(window_of({"size": "1d", "every": "6h"}))
    '1d every 6h'
    """
    if isinstance(content, Window):
        return content
    asked = written().model_validate(content)
    given = [name for name in asked.model_fields_set if getattr(asked, name) is not None]
    named = [kind for name, kind in kinds().items() if name in given]
    if len(named) != 1:
        names = ", ".join(f"`{name}`" for name in kinds())
        raise ValueError(f"window must have exactly one of {' and '.join(names.rsplit(', ', 1))}")
    (kind,) = named
    for name in sorted(set(given) - set(kind.spec.model_fields)):
        owner = next(other.name for other in kinds().values() if name in other.spec.model_fields)
        why = kind.lacks.get(name)
        raise ValueError(f"window.{name} goes with `{owner}`{f'; {why}' if why else f', not with `{kind.name}`'}")
    return kind.spec.model_validate({name: content[name] for name in given})


class _OfItsKind:
    """For a field: a window, whose fields decide which kind checks it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        content = handler.generate_schema(written())
        return core_schema.no_info_plain_validator_function(window_of, json_schema_input_schema=content)


AnyWindow = Annotated[Window, _OfItsKind()]
"""A window as the job file writes it."""

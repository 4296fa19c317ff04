"""The kinds of sources: the only place that names them all. A new kind is registered here, and nothing else changes."""

from collections.abc import Iterator, Mapping
from inspect import getattr_static
from typing import Annotated, Final

from transforms.collection.cursor import SourceProgress
from transforms.collection.files.source import FilesSource
from transforms.collection.kafka.source import KafkaSource
from transforms.collection.log.source import LogSource
from transforms.collection.source import Source, Work
from transforms.specification import OneOf, Spec, name_in

SOURCES: Final[dict[str, type[Source]]] = {kind.kind: kind for kind in (FilesSource, LogSource, KafkaSource)}
"""Every kind of source by its name in the job file."""

SourceSpec = Annotated[Spec, OneOf(lambda: {name: kind.spec for name, kind in SOURCES.items()}, "unknown_source")]
"""A source as the job file writes it: a mapping with one of SOURCES."""


def register(kind: type[Source]) -> None:
    """Registers a kind of source, so that job files can name it.

    Raises:
        ValueError: if another kind has its name, or it lacks a method that its attributes promise.
    """
    if SOURCES.get(kind.kind, kind) is not kind:
        raise ValueError(f"a source named {kind.kind} is registered already")
    if list(kind.spec.model_fields) != [kind.kind]:
        raise ValueError(f"the specification of the source {kind.kind} must have one field, {kind.kind}")
    if lacking := list(_lacking(kind)):
        raise ValueError(f"the source {kind.kind} must define {', '.join(lacking)}")
    if kind.follows and progress_kinds().get(kind.progress.__name__, kind.progress) is not kind.progress:
        raise ValueError(f"the source {kind.kind} must have a progress of its own name, is {kind.progress.__name__}")
    SOURCES[kind.kind] = kind


def _lacking(kind: type[Source]) -> Iterator[str]:
    """What a kind must define to do what it says of itself."""
    needed = [
        *("describe", "whole", "reading"),
        *(("types",) if _is_own(kind, "brings_types") else ()),
        *(("progress", "begin", "resume", "feed", "span", "reached") if kind.follows else ()),
        *(("until", "between", "is_empty", "words_of") if kind.follows and kind.replays else ()),
    ]
    yield from (name for name in needed if not _is_own(kind, name))


def _is_own(kind: type[Source], name: str) -> bool:
    return getattr_static(kind, name, None) is not getattr_static(Source, name, None)


def kind_of(spec: Spec) -> type[Source]:
    """The kind of source of a specification."""
    return SOURCES[name_in(spec)]


def source_of(spec: Spec, work: Work) -> Source:
    """The source of a job."""
    return kind_of(spec).of(spec, work)


def progress_kinds() -> Mapping[str, type[SourceProgress]]:
    """The class of each source's progress, by the name that savepoints hold.

    >>> sorted(progress_kinds())
    ['KafkaProgress', 'Progress']
    """
    return {kind.progress.__name__: kind.progress for kind in SOURCES.values() if kind.follows}

"""The kinds of sinks: the only place that names them all. A new kind is registered here, and nothing else changes."""

from collections.abc import Iterator, Mapping, Sequence
from inspect import getattr_static
from typing import Annotated, Any, Final

from transforms.specification import OneOf, Spec, name_in
from transforms.storage.kafka.sink import KafkaSink
from transforms.storage.parquet.sink import ParquetSink
from transforms.storage.sink import Sink
from transforms.storage.sql.sink import SqlSink
from transforms.storage.tables import DEAD_LETTERS, Table

SINKS: Final[dict[str, type[Sink]]] = {kind.kind: kind for kind in (ParquetSink, SqlSink, KafkaSink)}
"""Every kind of sink by its name in the job file."""

SinkSpec = Annotated[Spec, OneOf(lambda: {name: kind.spec for name, kind in SINKS.items()}, "unknown_sink")]
"""A sink as the job file writes it: a mapping with one of SINKS."""


def register(kind: type[Sink]) -> None:
    """Registers a kind of sink, so that job files can name it.

    Raises:
        ValueError: if its name is another kind's, or it lacks what it says that it has.
    """
    if SINKS.get(kind.kind, kind) is not kind:
        raise ValueError(f"a sink named {kind.kind} is registered already")
    if list(kind.spec.model_fields) != [kind.kind]:
        raise ValueError(f"the specification of the sink {kind.kind} must have one field, {kind.kind}")
    if kind.journal in ("run", *(other.journal for other in SINKS.values() if other.journal and other is not kind)):
        raise ValueError(f"the sink {kind.kind} must have a `journal` of its own, is {kind.journal}")
    if lacking := list(_lacking(kind)):
        raise ValueError(f"the sink {kind.kind} must define {', '.join(lacking)}")
    SINKS[kind.kind] = kind


def _lacking(kind: type[Sink]) -> Iterator[str]:
    """The methods whose default would lose rows, by what a kind says of itself."""
    needed = [
        *("of", "uses", "places", "check"),
        *(("prepare", "finish", "discard") if kind.journal else ("publish",)),
        *(("adopted", "checkpointed", "show", "rolled_back", "continued") if _is_own(kind, "folders") else ()),
        *(("take", "store", "roll_back", "expire", "last_closed") if kind.stores_at_once else ()),
        *(("transactions",) if kind.has_position else ()),
        *(("read", "whole", "restored") if kind.reads_back else ()),
    ]
    yield from (name for name in needed if not _is_own(kind, name))


def _is_own(kind: type[Sink], name: str) -> bool:
    return getattr_static(kind, name) is not getattr_static(Sink, name)


def stores_live(kind: type[Sink]) -> bool:
    """Whether a kind stores the rows of live jobs."""
    return kind.stores_at_once or kind.has_position or _is_own(kind, "folders")


def retracts(kind: type[Sink]) -> bool:
    """Whether a kind keeps up with windows that grow: it deletes provisional rows, or has none."""
    return not kind.stores_at_once or _is_own(kind, "retract")


def kind_of(spec: Spec) -> type[Sink]:
    """The kind of sink of a specification."""
    return SINKS[name_in(spec)]


def sinks_of(
    specs: Sequence[Spec], job: str, tables: Mapping[str, Table], dead_letters: str | None
) -> tuple[Sink, ...]:
    """The sinks of a job, each of which holds every table; dead letters are in one place that can be read.

    Args:
        dead_letters: a folder for dead letters alone; None: the first sink that can be read holds them, and so does
            the first sink of all.
    """
    kinds = [kind_of(spec) for spec in specs]
    readable = next((index for index, kind in enumerate(kinds) if kind.reads_back), 0)
    hold_letters = (0, readable) if dead_letters is None else ()
    sinks: list[Sink] = []
    for index, (kind, spec) in enumerate(zip(kinds, specs, strict=True)):
        held = {name: table for name, table in tables.items() if name != DEAD_LETTERS or index in hold_letters}
        sinks.append(kind.of(spec, job, held))
    if dead_letters is not None:
        sinks.append(ParquetSink.of_one(dead_letters, job, tables[DEAD_LETTERS]))
    return tuple(sinks)


def in_folder(path: str) -> Any:
    """A sink on this machine for temporary tables."""
    return ParquetSink.spec.model_validate({"parquet": {"path": path}})

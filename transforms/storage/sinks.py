"""The kinds of sinks: the only place that names them all. A new kind is registered here, and nothing else changes."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from transforms.specification import OneOf, Spec
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
        ValueError: if its name is another kind's.
    """
    if SINKS.setdefault(kind.kind, kind) is not kind:
        raise ValueError(f"a sink named {kind.kind} is registered already")


def kind_of(spec: Spec) -> type[Sink]:
    """The kind of sink of a specification."""
    return SINKS[next(iter(type(spec).model_fields))]


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

"""From a document to a job: checks its fields against each other, and makes its paths absolute."""

import unicodedata
from collections.abc import Iterator
from typing import Final

from pydantic import ValidationError

from dataflow.job.document import Document
from dataflow.job.paths import mistaken
from dataflow.job.problem import Problem
from dataflow.job.refusal import Salvage, problems, without_refused
from dataflow.job.spec import Aggregation, JobSpec
from transforms.collection import sources
from transforms.location import resolved
from transforms.storage.sinks import SINKS, kind_of, retracts, stores_live

RESERVED_TABLES: Final = ("dead_letters", "ledger")
MOST_LIVE: Final = 62
"""The most aggregations in a live job: each record has a bit for each that it is late for."""


def validate(document: Document) -> JobSpec:
    """The job that a document describes, its paths made absolute.

    Raises:
        JobFileError: with every problem that can be found without data.
    """
    try:
        spec = JobSpec.model_validate(document.content)
    except ValidationError as error:
        raise document.error(problems(error, document, JobSpec)) from None
    found = list(contradictions(spec))
    if found:
        raise document.error(found)
    return resolve(spec, document.folder)


def salvage(document: Document) -> tuple[JobSpec, Salvage] | None:
    """The job without its wrong fields, so that the rest can be checked; None: too little is left."""
    rest = Salvage(document.content)
    try:
        return JobSpec.model_validate(document.content), rest
    except ValidationError as error:
        rest = without_refused(document.content, error)
    try:
        return JobSpec.model_validate(rest.content), rest
    except ValidationError:
        return None


def resolve(spec: JobSpec, folder: str) -> JobSpec:
    """The job with every output path relative to `folder` made absolute; source paths stay as written."""

    def absolute(path: str | None) -> str | None:
        return path if path is None else resolved(path, folder)

    sinks = tuple(kind_of(sink).resolved(sink, folder) for sink in spec.sinks)
    return spec.model_copy(
        update={
            "source": sources.kind_of(spec.source).resolved(spec.source, folder),
            "sinks": sinks,
            "dead_letters": spec.dead_letters.model_copy(update={"path": absolute(spec.dead_letters.path)}),
            "report": absolute(spec.report),
            "state": absolute(spec.state or f".streamgauge/{spec.job}"),
        }
    )


def contradictions(spec: JobSpec) -> Iterator[Problem]:
    """Contradictions between fields."""
    source = sources.kind_of(spec.source)
    if spec.record.columns is None and not source.brings_types(spec.source):
        yield Problem(("record", "columns"), f"is required: {source.form(spec.source)} does not bring its own types")
    if spec.is_endless and len(spec.aggregations) > MOST_LIVE:
        yield Problem(("aggregations",), f"must be at most {MOST_LIVE} in a live job, are {len(spec.aggregations)}")
    yield from _alike_tables(spec)
    yield from _unfit_retention(spec)
    if not any(kind_of(sink).reads_back for sink in spec.sinks):
        readable = [name for name, kind in SINKS.items() if kind.reads_back]
        sentence = f"must have one that can be read back ({', '.join(readable)}), for reports, verify and replay"
        yield Problem(("sinks",), sentence)
    for index, sink in enumerate(spec.sinks if spec.is_endless else ()):
        if not stores_live(kind_of(sink)):
            yield Problem(("sinks", index), f"must store the rows of live jobs, which {kind_of(sink).kind} does not")
        grows = any(each.window.grows and each.allowed_lateness for each in spec.aggregations)
        if grows and not retracts(kind_of(sink)):
            sentence = f"must be able to retract rows of windows that grow, which {kind_of(sink).kind} is not"
            yield Problem(("sinks", index), sentence)
    yield from mistaken(spec)


def _alike_tables(spec: JobSpec) -> Iterator[Problem]:
    """Tables whose names a database, a file system or a reader would take for the same."""
    taken = {name: (name, "a table of every job") for name in RESERVED_TABLES}
    for index, aggregation in enumerate(spec.aggregations):
        place = ("aggregations", index, "name")
        for table in _tables_of_one(aggregation):
            other, owner = taken.setdefault(folded(table), (table, f"a table of aggregations[{index}]"))
            if owner == f"a table of aggregations[{index}]":
                continue
            if other == table:
                yield Problem(place, f"the table {table} is {owner} already")
            else:
                sentence = f"the table {table} differs from {other}, {owner}, only in case or in composed characters"
                yield Problem(place, sentence)
        if "\0" in aggregation.name or aggregation.name in (".", ".."):
            yield Problem(place, "must be a name")


def _unfit_retention(spec: JobSpec) -> Iterator[Problem]:
    if spec.retention and not spec.is_endless:
        kind = sources.kind_of(spec.source).kind
        yield Problem(("retention",), f"is for live jobs; a job that reads {kind} makes its tables again in each run")
        return
    tables = [*_tables_of(spec), *RESERVED_TABLES]
    for table, duration in spec.retention.items():
        if table not in tables:
            yield Problem(("retention", table), f"is not a table of this job, which has {', '.join(tables)}")
        elif not duration:
            yield Problem(("retention", table), "must be longer than 0s")


def _tables_of(spec: JobSpec) -> list[str]:
    return [table for aggregation in spec.aggregations for table in _tables_of_one(aggregation)]


def _tables_of_one(aggregation: Aggregation) -> list[str]:
    return [aggregation.name, *([f"{aggregation.name}_models"] if aggregation.models else [])]


def folded(name: str) -> str:
    """The same text for names that differ only in case or in how their characters are composed.

    >>> folded("Caf\u00e9") == folded("CAFE\u0301")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())

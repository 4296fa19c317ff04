"""From a document to a job: what its fields say of each other, and its paths made absolute."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from pydantic import ValidationError

from dataflow.job.document import Document
from dataflow.job.paths import mistaken
from dataflow.job.problem import Place, Problem
from dataflow.job.refusal import Salvage, problems, without_refused
from dataflow.job.spec import Aggregation, JobSpec, SourceSpec
from transforms.location import resolved
from transforms.storage.kafka.spec import KafkaSinkSpec
from transforms.storage.spec import ParquetSinkSpec, ParquetTarget, SinkSpec, SqlSinkSpec, SqlTarget
from transforms.storage.sql.database import in_schema
from transforms.storage.sql.fit import unusable, unusable_schema
from transforms.systems.kafka import KafkaCluster

RESERVED_TABLES: Final = ("dead_letters", "ledger")
MOST_LIVE: Final = 62
"""Aggregations that a record can be late for: a bit each."""


def validate(document: Document) -> JobSpec:
    """The job that a document describes, its paths made absolute.

    Raises:
        JobFileError: with every problem that shows without looking at data.
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
    """What is left of a job without the fields that are wrong, for a look at the rest of it; None: too little."""
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
    """The job with every output path relative to `folder` made absolute; source paths keep their names."""

    def absolute(path: str | None) -> str | None:
        return path if path is None else resolved(path, folder)

    sinks: list[SinkSpec] = []
    for sink in spec.sinks:
        if isinstance(sink, ParquetSinkSpec):
            sinks.append(ParquetSinkSpec(parquet=ParquetTarget(path=resolved(sink.parquet.path, folder))))
        elif isinstance(sink, KafkaSinkSpec):
            sinks.append(sink)
        else:
            sinks.append(SqlSinkSpec(sql=SqlTarget(url=_whole_url(sink.sql, folder))))
    log = spec.source.log
    source = spec.source if log is None else SourceSpec(log=log.model_copy(update={"path": absolute(log.path)}))
    return spec.model_copy(
        update={
            "source": source,
            "sinks": tuple(sinks),
            "dead_letters": spec.dead_letters.model_copy(update={"path": absolute(spec.dead_letters.path)}),
            "report": absolute(spec.report),
            "state": absolute(spec.state or f".streamgauge/{spec.job}"),
        }
    )


def _whole_url(target: SqlTarget, folder: str) -> str:
    """A database's url with its schema; one that is refused stays as it is."""
    url, schema = _absolute_sqlite(target.url, folder), target.schema_name
    if schema is None or unusable(url) is not None or unusable_schema(url, schema) is not None:
        return url
    return in_schema(url, schema)


def _absolute_sqlite(url: str, folder: str) -> str:
    match = re.fullmatch(r"(sqlite(?:\+\w+)?:///)([^/:?][^?]*)(\?.*)?", url)
    return f"{match[1]}{resolved(match[2], folder)}{match[3] or ''}" if match else url


def contradictions(spec: JobSpec) -> Iterator[Problem]:
    """What single fields cannot know of each other."""
    if spec.record.columns is None and spec.format != "parquet":
        yield Problem(("record", "columns"), f"is required for {spec.format}; only Parquet brings its own types")
    if spec.is_endless and len(spec.aggregations) > MOST_LIVE:
        yield Problem(("aggregations",), f"must be at most {MOST_LIVE} in a live job, are {len(spec.aggregations)}")
    yield from _alike_tables(spec)
    yield from _unfit_retention(spec)
    if all(isinstance(sink, KafkaSinkSpec) for sink in spec.sinks):
        sentence = "must have a parquet or sql sink beside kafka: reports, verify and replay read tables back"
        yield Problem(("sinks",), sentence)
    for index, sink in enumerate(spec.sinks):
        if isinstance(sink, KafkaSinkSpec):
            yield from _unfit_topics(spec, index, sink)
    yield from mistaken(spec)


def _alike_tables(spec: JobSpec) -> Iterator[Problem]:
    """Tables of one name, as a database, a file system or a person takes names."""
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
                sentence = (
                    f"the table {table} differs from {other}, {owner}, in nothing but case or composed characters"
                )
                yield Problem(place, sentence)
        if "\0" in aggregation.name or aggregation.name in (".", ".."):
            yield Problem(place, "must be a name")


def _unfit_retention(spec: JobSpec) -> Iterator[Problem]:
    if spec.retention and not spec.is_endless:
        yield Problem(("retention",), "is of live jobs; a job that reads files makes its tables again each time")
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
    """What is the same for names that differ in nothing but case or in how their characters are composed.

    >>> folded("Caf\u00e9") == folded("CAFE\u0301")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _unfit_topics(spec: JobSpec, index: int, sink: KafkaSinkSpec) -> Iterator[Problem]:
    place: Place = ("sinks", index, "kafka", "topic")
    brokers = broker_addresses(sink.kafka)
    for other in range(index):
        kafka = getattr(spec.sinks[other], "kafka", None)
        if kafka is not None and kafka.topic == sink.kafka.topic and brokers & broker_addresses(kafka):
            yield Problem(place, f"{sink.kafka.topic} is the topic of sinks[{other}] already")
    source = spec.source.kafka
    for table in (*_tables_of(spec), *RESERVED_TABLES):
        try:
            topic = sink.kafka.topic_of(table)
        except ValueError as error:
            yield Problem(place, str(error))
            continue
        if source is not None and topic == source.topic and brokers & broker_addresses(source):
            yield Problem(place, f"the table {table} would be sent to {topic}, which is the topic that the job reads")


def broker_addresses(cluster: KafkaCluster) -> set[str]:
    """The brokers of a cluster, one by one."""
    return {address.strip().lower() for address in cluster.brokers.split(",")}

"""The job: every stage's specification, composed, and checked against each other."""

import os
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import ByteSize, Field, ValidationError, model_validator

from dataflow.document import Document, Problem
from dataflow.refusal import Rest, problems, without_refused
from transforms.aggregation.spec import AggregationSpec
from transforms.collection.kafka_spec import KafkaSpec
from transforms.collection.spec import FilesSpec, LogSpec, RecordSpec
from transforms.model.spec import LinearRegressionSpec
from transforms.preprocessing.spec import StepSpec
from transforms.specification import Duration, Spec, not_in_this_version
from transforms.storage.kafka_spec import KafkaSinkSpec
from transforms.storage.spec import (
    DeadLettersSpec,
    ParquetSinkSpec,
    ParquetTarget,
    SinkSpec,
    SqlSinkSpec,
    SqlTarget,
)
from transforms.storage.sql.database import parsed
from transforms.storage.sql.error import SqlSinkError
from transforms.watermark import WatermarkSpec

RESERVED_TABLES: Final = ("dead_letters", "ledger")
MOST_LIVE: Final = 62
"""Aggregations that a record can be late for: a bit each."""

_LIVE = "this version reads `files`, `log` and `kafka`"


class SourceSpec(Spec):
    """Where records come from: exactly one kind."""

    files: FilesSpec | None = None
    log: LogSpec | None = None
    kafka: KafkaSpec | None = None
    pubsub: Annotated[dict[str, Any] | None, not_in_this_version("pubsub", _LIVE)] = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "SourceSpec":
        if sum(kind is not None for kind in (self.files, self.log, self.kafka)) != 1:
            raise ValueError("source must have exactly one kind: `files`, `log` or `kafka`")
        return self


class Aggregation(AggregationSpec):
    """Statistics and models for every key and window."""

    models: dict[str, LinearRegressionSpec] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _something_to_do(self) -> "Aggregation":
        if not self.statistics and not self.models:
            raise ValueError("must have `statistics` or `models`")
        return self


SHARDS: Final = 8
LIVE_SHARDS: Final = 2


class ExecutionSpec(Spec):
    """How the work is cut; never what comes out.

    `shards`: ways in which the keys of an aggregation are divided; by default 8, and 2 in a live job. `range`: bytes
    of text read at a time.
    `batch_rows`: the most rows of a batch; by default what a range holds. `threads`: blocks that a worker parses
    at once; by default as many as it has cores. `checkpoint`: how long a live job goes on between two checkpoints.
    """

    shards: int | None = Field(default=None, ge=1, le=4096)
    range: ByteSize = Field(default=ByteSize(8 << 20), ge=1, le=1 << 30)
    batch_rows: int | None = Field(default=None, ge=1)
    threads: int | None = Field(default=None, ge=1, le=256)
    checkpoint: Duration = timedelta(seconds=10)

    @property
    def bounded_shards(self) -> int:
        """The shards of a run with an end."""
        return self.shards or SHARDS

    @property
    def live_shards(self) -> int:
        """The shards of a live job, and of a bounded run that goes on from its checkpoint or makes one."""
        return self.shards or LIVE_SHARDS


class JobSpec(Spec):
    """A job file."""

    job: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    source: SourceSpec
    record: RecordSpec
    preprocess: tuple[StepSpec, ...] = ()
    aggregations: tuple[Aggregation, ...] = Field(min_length=1)
    watermark: WatermarkSpec = WatermarkSpec()
    sinks: tuple[SinkSpec, ...] = Field(min_length=1)
    dead_letters: DeadLettersSpec = DeadLettersSpec()
    report: str | None = None
    state: str | None = None
    execution: ExecutionSpec = ExecutionSpec()

    @property
    def files(self) -> FilesSpec:
        """The files of a job that reads files."""
        if self.source.files is None:
            raise AssertionError("this job does not read files")
        return self.source.files

    @property
    def is_endless(self) -> bool:
        """Whether its source has no end, so that it can run live and records can be late."""
        return self.source.files is None

    @property
    def format(self) -> str:
        """What a record of the source is."""
        return self.source.files.format if self.source.files is not None else "jsonl"


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


def salvage(document: Document) -> tuple[JobSpec, Rest] | None:
    """What is left of a job without the fields that are wrong, for a look at the rest of it; None: too little."""
    rest = Rest(document.content)
    try:
        return resolve(JobSpec.model_validate(document.content), document.folder), rest
    except ValidationError as error:
        rest = without_refused(document.content, error)
    try:
        return resolve(JobSpec.model_validate(rest.content), document.folder), rest
    except ValidationError:
        return None


def resolve(spec: JobSpec, folder: str) -> JobSpec:
    """The job with every output path relative to `folder` made absolute; source paths keep their names."""

    def absolute(path: str | None) -> str | None:
        return path if path is None or "://" in path else os.path.normpath(os.path.join(folder, path))

    sinks: list[ParquetSinkSpec | SqlSinkSpec | KafkaSinkSpec] = []
    for sink in spec.sinks:
        if isinstance(sink, ParquetSinkSpec):
            sinks.append(ParquetSinkSpec(parquet=ParquetTarget(path=str(absolute(sink.parquet.path)))))
        elif isinstance(sink, KafkaSinkSpec):
            sinks.append(sink)
        else:
            sinks.append(SqlSinkSpec(sql=SqlTarget(url=_absolute_sqlite(sink.sql.url, folder))))
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


def _absolute_sqlite(url: str, folder: str) -> str:
    match = re.fullmatch(r"(sqlite(?:\+\w+)?:///)([^/:?][^?]*)(\?.*)?", url)
    return f"{match[1]}{os.path.normpath(os.path.join(folder, match[2]))}{match[3] or ''}" if match else url


def contradictions(spec: JobSpec) -> Iterator[Problem]:
    """What single fields cannot know of each other."""
    if spec.record.columns is None and spec.format != "parquet":
        yield Problem(("record", "columns"), f"is required for {spec.format}; only Parquet brings its own types")
    if spec.is_endless and len(spec.aggregations) > MOST_LIVE:
        yield Problem(("aggregations",), f"must be at most {MOST_LIVE} in a live job, are {len(spec.aggregations)}")
    taken: dict[str, str] = dict.fromkeys(RESERVED_TABLES, "a table of every job")
    for index, aggregation in enumerate(spec.aggregations):
        tables = [aggregation.name, *([f"{aggregation.name}_models"] if aggregation.models else [])]
        for table in tables:
            if table in taken:
                yield Problem(("aggregations", index, "name"), f"the table {table} is {taken[table]} already")
            taken[table] = f"a table of aggregations[{index}]"
        if "\0" in aggregation.name or aggregation.name in (".", ".."):
            yield Problem(("aggregations", index, "name"), "must be a name")
    if all(isinstance(sink, KafkaSinkSpec) for sink in spec.sinks):
        sentence = "must have a parquet or sql sink beside kafka: reports, verify and replay read tables back"
        yield Problem(("sinks",), sentence)
    for index, sink in enumerate(spec.sinks):
        if isinstance(sink, KafkaSinkSpec):
            yield from _unfit_topics(spec, index, sink)
        if sink in spec.sinks[:index]:
            yield Problem(("sinks", index), "is there twice")
        if isinstance(sink, SqlSinkSpec):
            try:
                parsed(sink.sql.url)
            except SqlSinkError as error:
                yield Problem(("sinks", index, "sql", "url"), str(error))


def _unfit_topics(spec: JobSpec, index: int, sink: KafkaSinkSpec) -> Iterator[Problem]:
    models = [f"{aggregation.name}_models" for aggregation in spec.aggregations if aggregation.models]
    for table in (*(aggregation.name for aggregation in spec.aggregations), *models, *RESERVED_TABLES):
        try:
            sink.kafka.topic_of(table)
        except ValueError as error:
            yield Problem(("sinks", index, "kafka", "topic"), str(error))


def schema() -> dict[str, Any]:
    """The JSON schema of the job file."""
    published = JobSpec.model_json_schema()
    published["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    published["title"] = "Streamgauge job"
    return published

"""The job: every stage's specification, composed, and checked against each other."""

import difflib
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Final, get_args

from pydantic import BaseModel, BeforeValidator, ByteSize, Field, ValidationError, model_validator

from dataflow.document import Document, Problem
from dataflow.yaml_text import Place
from transforms.aggregation.spec import AggregationSpec
from transforms.collection.spec import FilesSpec, RecordSpec
from transforms.model.spec import LinearRegressionSpec
from transforms.preprocessing.spec import STEPS, StepSpec
from transforms.specification import Duration, Spec, not_in_this_version
from transforms.storage.spec import (
    SINKS,
    DeadLettersSpec,
    ParquetSinkSpec,
    ParquetTarget,
    SinkSpec,
    SqlSinkSpec,
    SqlTarget,
)

RESERVED_TABLES: Final = ("dead_letters", "ledger")
_LIVE = "this version reads `files`"


class SourceSpec(Spec):
    """Where records come from: exactly one kind."""

    files: FilesSpec | None = None
    log: Annotated[dict[str, Any] | None, not_in_this_version("log", _LIVE)] = None
    kafka: Annotated[dict[str, Any] | None, not_in_this_version("kafka", _LIVE)] = None
    pubsub: Annotated[dict[str, Any] | None, not_in_this_version("pubsub", _LIVE)] = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "SourceSpec":
        if self.files is None:
            raise ValueError("source must have exactly one kind: `files`")
        return self


class Aggregation(AggregationSpec):
    """Statistics and models for every key and window."""

    models: dict[str, LinearRegressionSpec] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _something_to_do(self) -> "Aggregation":
        if not self.statistics and not self.models:
            raise ValueError("must have `statistics` or `models`")
        return self


def _never(value: Any) -> Any:
    return None if value == "never" else value


class WatermarkSpec(Spec):
    """How a live source knows that event time has passed; files have no order, so batch runs do not ask."""

    out_of_orderness: Duration = timedelta(seconds=5)
    idle_after: Annotated[Duration | None, BeforeValidator(_never)] = timedelta(seconds=30)


class ExecutionSpec(Spec):
    """How the work is cut; never what comes out.

    `shards`: ways in which an aggregation's keys are divided. `range`: bytes of text read at a time.
    `batch_rows`: the most rows of a batch; by default what a range holds. `threads`: blocks that a worker parses
    at once; by default as many as it has cores.
    """

    shards: int = Field(default=8, ge=1, le=4096)
    range: ByteSize = Field(default=ByteSize(16 << 20), ge=1, le=1 << 30)
    batch_rows: int | None = Field(default=None, ge=1)
    threads: int | None = Field(default=None, ge=1, le=256)


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
        """The files of a bounded job."""
        if self.source.files is None:
            raise AssertionError("a job was validated without a source")
        return self.source.files


def validate(document: Document) -> JobSpec:
    """The job that a document describes, its paths made absolute.

    Raises:
        JobFileError: with every problem that shows without looking at data.
    """
    try:
        spec = JobSpec.model_validate(document.content)
    except ValidationError as error:
        raise document.error(_problems(error, document)) from None
    problems = list(_contradictions(spec))
    if problems:
        raise document.error(problems)
    return resolve(spec, document.folder)


def resolve(spec: JobSpec, folder: str) -> JobSpec:
    """The job with every output path relative to `folder` made absolute; source paths keep their names."""

    def absolute(path: str | None) -> str | None:
        return path if path is None or "://" in path else os.path.normpath(os.path.join(folder, path))

    sinks: list[ParquetSinkSpec | SqlSinkSpec] = []
    for sink in spec.sinks:
        if isinstance(sink, ParquetSinkSpec):
            sinks.append(ParquetSinkSpec(parquet=ParquetTarget(path=str(absolute(sink.parquet.path)))))
        else:
            sinks.append(SqlSinkSpec(sql=SqlTarget(url=_absolute_sqlite(sink.sql.url, folder))))
    return spec.model_copy(
        update={
            "sinks": tuple(sinks),
            "dead_letters": spec.dead_letters.model_copy(update={"path": absolute(spec.dead_letters.path)}),
            "report": absolute(spec.report),
            "state": absolute(spec.state or f".streamgauge/{spec.job}"),
        }
    )


def _absolute_sqlite(url: str, folder: str) -> str:
    match = re.fullmatch(r"(sqlite(?:\+\w+)?:///)([^/:?][^?]*)(\?.*)?", url)
    return f"{match[1]}{os.path.normpath(os.path.join(folder, match[2]))}{match[3] or ''}" if match else url


def _contradictions(spec: JobSpec) -> Iterator[Problem]:
    """What single fields cannot know of each other."""
    if spec.record.columns is None and spec.files.format != "parquet":
        yield Problem(("record", "columns"), f"is required for {spec.files.format}; only Parquet brings its own types")
    taken: dict[str, str] = dict.fromkeys(RESERVED_TABLES, "a table of every job")
    for index, aggregation in enumerate(spec.aggregations):
        tables = [aggregation.name, *([f"{aggregation.name}_models"] if aggregation.models else [])]
        for table in tables:
            if table in taken:
                yield Problem(("aggregations", index, "name"), f"the table {table} is {taken[table]} already")
            taken[table] = f"a table of aggregations[{index}]"
        if "\0" in aggregation.name or aggregation.name in (".", ".."):
            yield Problem(("aggregations", index, "name"), "must be a name")
    for index, sink in enumerate(spec.sinks):
        if sink in spec.sinks[:index]:
            yield Problem(("sinks", index), "is there twice")


def _problems(error: ValidationError, document: Document) -> Iterator[Problem]:
    for item in error.errors():
        if item["type"] == "too_short" and len(_written(item, document)) >= item["ctx"]["min_length"]:
            continue  # items that are wrong themselves were not counted
        place = _walkable(item["loc"], document.content)
        yield Problem(place, _sentence(item, place, document))


def _written(item: Any, document: Document) -> Any:
    value = document.value(_walkable(item["loc"], document.content))
    return value if isinstance(value, list | dict) else ()


def _walkable(loc: tuple[Any, ...], content: Any) -> Place:
    """The place in the document of a pydantic location, which also names union members and validators."""
    place: list[str | int] = []
    for index, part in enumerate(loc):
        if (isinstance(content, dict) and part in content) or (
            isinstance(content, list) and isinstance(part, int) and part < len(content)
        ):
            content = content[part]
        elif isinstance(content, dict) and index == len(loc) - 1 and part not in ("[key]",):
            pass  # a field that is missing: its place is where it should stand
        else:
            continue
        place.append(part)
    return tuple(place)


def _sentence(item: Any, place: Place, document: Document) -> str:
    kind, value = item["type"], document.value(place)
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        known = sorted(_known_fields(item["loc"][:-1]))
        nearest = difflib.get_close_matches(str(place[-1]), known, 1, 0.5)
        hint = f"did you mean `{nearest[0]}`?" if nearest else f"there are {', '.join(known)}"
        return f"is not a known field; {hint}"
    if kind in ("unknown_step", "unknown_sink"):
        known = list(STEPS if kind == "unknown_step" else SINKS)
        named = next(iter(value), "") if isinstance(value, dict) else value
        nearest = difflib.get_close_matches(str(named), known, 1, 0.5)
        return item["msg"] + (f"; did you mean `{nearest[0]}`?" if nearest else "") + f", is {_shown(named)}"
    message = item["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:] if message.startswith(("Input", "String", "List", "Tuple")) else message
    message = message.replace("input should", "must").replace("string should", "must").replace("list should", "must")
    if ", is " in message or isinstance(value, dict | list) or value is None:
        return message
    return f"{message}, is {_shown(value)}"


def _shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _known_fields(loc: tuple[Any, ...]) -> set[str]:
    """The fields of the specification at a location."""
    models: set[Any] = {JobSpec}
    for part in loc:
        following: set[Any] = set()
        for model in models:
            if isinstance(part, str) and part in model.model_fields:
                following |= set(_models_in(model.model_fields[part].annotation))
        models = following or models
    return {name for model in models for name in model.model_fields}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        if argument is not annotation and not isinstance(argument, str):
            yield from _models_in(argument)


def schema() -> dict[str, Any]:
    """The JSON schema of the job file."""
    published = JobSpec.model_json_schema()
    published["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    published["title"] = "Streamgauge job"
    return published

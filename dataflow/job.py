"""The planned job: a job file bound to its columns, steps, summaries and tables; everything but the data itself.

Planning finds every problem that can be found before a record is read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from dataflow.document import Document, JobFileError, Problem
from dataflow.placement import misplaced
from dataflow.spec import Aggregation, JobSpec, contradictions, salvage, validate
from transforms import dead_letter, ledger
from transforms.aggregation.measure import column_measures, distinct_measures
from transforms.aggregation.summary import Summary
from transforms.aggregation.timeline import Output, StatisticsOutput
from transforms.batch import ARROW
from transforms.collection.files import FileRange, SourceError, list_files, list_ranges, parquet_schema
from transforms.collection.log import Extent, LogError, LogReader
from transforms.collection.parquet_rows import column_of
from transforms.collection.parsed import Schema
from transforms.collection.source_error import UNREADABLE, reason
from transforms.collection.spec import Column, LogSpec
from transforms.model.learn import MODEL, ModelsOutput, RegressionMeasure, model_columns
from transforms.model.learn import problems as model_problems
from transforms.preprocessing import spec as steps
from transforms.preprocessing.expressions import ExpressionError, columns_of
from transforms.preprocessing.steps import Step, StepError, plan_step
from transforms.specification import ColumnType
from transforms.storage.kafka_spec import KafkaSinkSpec
from transforms.storage.parquet import folder_name
from transforms.storage.publish import DEAD_LETTERS, LEDGER, Target
from transforms.storage.spec import ParquetSinkSpec
from transforms.storage.staging import Table
from transforms.storage.topics import TopicSink


@dataclass(frozen=True)
class PlannedAggregation:
    """An aggregation with its summary and the tables it fills."""

    spec: Aggregation
    summary: Summary
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Job:
    """A job that can be built into a pipeline."""

    spec: JobSpec
    folder: str
    schema: Schema
    steps: tuple[Step, ...]
    columns: Mapping[str, ColumnType]
    aggregations: tuple[PlannedAggregation, ...]

    @cached_property
    def tables(self) -> dict[str, Table]:
        """Every output table, in the order of the job file, dead letters and ledger last."""
        tables: dict[str, Table] = {}
        for aggregation in self.aggregations:
            for output in aggregation.outputs:
                key = ("window_start", "window_end", *aggregation.spec.key)
                key += (MODEL,) if isinstance(output, ModelsOutput) else ()
                tables[output.table] = Table(output.table, key, output.schema)
        tables[DEAD_LETTERS] = Table(DEAD_LETTERS, dead_letter.KEY, dead_letter.SCHEMA)
        tables[LEDGER] = Table(LEDGER, ledger.KEY, ledger.SCHEMA)
        return tables

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """Where each table is stored: every sink holds every table, dead letters live in one place."""
        targets = []
        stored = [sink for sink in self.spec.sinks if not isinstance(sink, KafkaSinkSpec)]
        for index, sink in enumerate(stored):
            for name in self.tables:
                if name == DEAD_LETTERS and (index or self.spec.dead_letters.path):
                    continue
                if isinstance(sink, ParquetSinkSpec):
                    targets.append(Target(name, folder=f"{sink.parquet.path}/{folder_name(name)}"))
                else:
                    targets.append(Target(name, url=sink.sql.url))
        if self.spec.dead_letters.path:
            targets.append(Target(DEAD_LETTERS, folder=self.spec.dead_letters.path))
        return tuple(targets)

    @cached_property
    def topics(self) -> tuple[TopicSink, ...]:
        """The topics that tables are sent to; dead letters are sent where no other place is named for them."""
        letters = [] if self.spec.dead_letters.path else [DEAD_LETTERS]
        return tuple(
            TopicSink(
                sink.kafka, tuple(name for name in self.tables if name != DEAD_LETTERS or (letters and not index))
            )
            for index, sink in enumerate(self.spec.sinks)
            if isinstance(sink, KafkaSinkSpec)
        )

    @property
    def state(self) -> str:
        """The job's folder for what outlives a run."""
        return str(self.spec.state)

    def ranges(self) -> list[FileRange]:
        """What there is to read of files.

        Raises:
            SourceError: if something cannot be read.
        """
        ranges = list_ranges(self.spec.files, self.folder, int(self.spec.execution.range))
        for part in ranges:
            if self.spec.files.format == "csv":
                self._refuse_missing(part)
            if self.spec.record.columns is not None:
                self._refuse_unknown(part)
        return ranges

    def log_extent(self) -> Extent:
        """What the log that the job reads holds now.

        Raises:
            SourceError: if there is none.
        """
        try:
            reader = LogReader(self.log.path)
        except LogError as error:
            raise SourceError(str(error)) from None
        try:
            return reader.extent()
        finally:
            reader.close()

    @property
    def log(self) -> LogSpec:
        """The log of a job that reads one."""
        if self.spec.source.log is None:
            raise AssertionError("this job does not read a log")
        return self.spec.source.log

    def _refuse_missing(self, part: FileRange) -> None:
        for name, column in self.schema.columns.items():
            if name not in part.header and not column.nullable:
                there = ", ".join(part.header)
                raise SourceError(f"record.columns.{name}: {part.source} has no column {name}; there are {there}")

    def _refuse_unknown(self, part: FileRange) -> None:
        unknown = [name for name in part.header if name not in self.schema.columns]
        if self.schema.strict and unknown:
            raise SourceError(
                f"record.unknown_fields: every record of {part.source} has {unknown[0]}, which is not in columns"
            )


def bind(document: Document) -> Job:
    """The job that a document describes, bound to its columns.

    Raises:
        JobFileError: with everything that is wrong with it.
        SourceError: if types must come from Parquet files and these cannot be read.
    """
    try:
        spec = validate(document)
    except JobFileError as error:
        raise document.error([*error.problems, *_further_problems(document)]) from None
    return plan(spec, document)


def _further_problems(document: Document) -> Iterator[Problem]:
    """What is wrong with the rest of a job that has fields which are wrong."""
    salvaged = salvage(document)
    if salvaged is None:
        return
    spec, rest = salvaged
    yield from map(rest.original, contradictions(spec))
    if rest.knows_columns:
        try:
            plan(spec, document)
        except JobFileError as error:
            yield from map(rest.original, error.problems)
        except SourceError:
            pass  # it is told when the job file is right


def plan(spec: JobSpec, document: Document) -> Job:
    """Binds a validated job to its columns.

    Raises:
        JobFileError: with everything that does not fit.
        SourceError: if types must come from Parquet files and these cannot be read.
    """
    columns = _columns(spec, document)
    schema = Schema(
        columns, spec.record.event_time, spec.record.unknown_fields == "dead_letter", int(spec.record.max_line)
    )
    problems: list[Problem] = []
    types: Mapping[str, ColumnType] = {name: column.type for name, column in columns.items()}
    folded: dict[str, str] = {}
    for name in columns:
        if folded.setdefault(name.casefold(), name) != name:
            sentence = f"differs from {folded[name.casefold()]} in nothing but case, which SQL does not see"
            problems.append(Problem(("record", "columns", name), sentence))
    planned: list[Step] = []
    for index, step in enumerate(spec.preprocess):
        try:
            planned.append(plan_step(step, types))
            types = planned[-1].columns
        except StepError as error:
            problems.append(Problem(("preprocess", index, *error.place), str(error)))
            if isinstance(step, steps.DeriveSpec | steps.SplitSpec | steps.ApplySpec):
                # What is seen behind this step is unknown: problems from here on may be none.
                raise document.error(problems) from None
    for index, aggregation in enumerate(spec.aggregations):
        for place, sentence in aggregation.problems(dict(types)):
            problems.append(Problem(("aggregations", index, *place), sentence))
        for place, sentence in model_problems(aggregation.models, types):
            problems.append(Problem(("aggregations", index, "models", *place), sentence))
        for name in model_columns(aggregation.models) & set(aggregation.key):
            sentence = f"the table {aggregation.name}_models would have two columns named {name}"
            problems.append(Problem(("aggregations", index, "key", aggregation.key.index(name)), sentence))
    if problems:
        raise document.error(problems)
    aggregations = tuple(plan_aggregation(aggregation, types) for aggregation in spec.aggregations)
    job = Job(spec, document.folder, schema, tuple(planned), types, aggregations)
    problems = list(misplaced(spec, job.tables, job.targets))
    if problems:
        raise document.error(problems)
    return job


def plan_aggregation(spec: Aggregation, columns: Mapping[str, ColumnType]) -> PlannedAggregation:
    """The summary and the outputs of an aggregation over `columns`."""
    figures = column_measures(spec, columns)
    models = tuple(RegressionMeasure(name, model) for name, model in spec.models.items())
    key = {name: ARROW[columns[name]] for name in spec.key}
    summary = Summary(key, spec.window, distinct_measures([*figures.values(), *models]))
    outputs: list[Output] = [StatisticsOutput(spec, summary, figures)]
    if models:
        outputs.append(ModelsOutput(spec, summary, models))
    return PlannedAggregation(spec, summary, tuple(outputs))


def _columns(spec: JobSpec, document: Document) -> Mapping[str, Column]:
    """The columns to read: those the job file names, or those of the Parquet files that it needs."""
    if spec.format != "parquet":
        return spec.record.columns or {}
    path, source = list_files(spec.files, document.folder)[0]
    try:
        found = parquet_schema(path)
    except UNREADABLE as error:
        raise SourceError(f"{source} cannot be read as parquet: {reason(error)}") from error
    if spec.record.columns is not None:
        names = [
            name for name, column in spec.record.columns.items() if name not in found.names and not column.nullable
        ]
        if names:
            sentence = f"{source} has no column {names[0]}; there are {', '.join(found.names)}"
            raise document.error([Problem(("record", "columns", names[0]), sentence)])
        unknown = [name for name in found.names if name not in spec.record.columns]
        if unknown and spec.record.unknown_fields == "dead_letter":
            sentence = f"every record of {source} has {unknown[0]}, which is not in `columns`"
            raise document.error([Problem(("record", "unknown_fields"), sentence)])
        return spec.record.columns
    needed = set(_needed(spec))
    columns: dict[str, Column] = {}
    for field in found:
        column = column_of(field)
        if column is not None and (
            field.name in needed or any(isinstance(s, steps.ApplySpec) for s in spec.preprocess)
        ):
            columns[field.name] = column
    return _with_event_time(columns, spec, document, source, found)


def _with_event_time(
    columns: dict[str, Column], spec: JobSpec, document: Document, source: str, found: pa.Schema
) -> dict[str, Column]:
    time = spec.record.event_time
    column = columns.get(time.column)
    place = ("record", "event_time", "column")
    if column is None:
        sentence = f"{source} has no column {time.column} that could be a time; there are {', '.join(found.names)}"
        raise document.error([Problem(place, sentence)])
    if time.unit is None and column.type == "string":
        column = Column(type="timestamp")
    if (time.unit is None) != (column.type == "timestamp"):
        what = "needs a `unit`" if time.unit is None else "has its own unit"
        raise document.error([Problem(place, f"{time.column} is {column.type} in {source}, which {what}")])
    return {**columns, time.column: column.model_copy(update={"nullable": False})}


def _needed(spec: JobSpec) -> Iterator[str]:
    """Every column that the job reads, event time included; names that steps make are among them."""
    yield spec.record.event_time.column
    for step in spec.preprocess:
        yield from _read_by(step)
    for aggregation in spec.aggregations:
        yield from aggregation.key
        yield from aggregation.statistics
        for model in aggregation.models.values():
            yield from (model.target, *model.features)


def _read_by(step: Any) -> Iterator[str]:
    try:
        match step:
            case steps.TrimSpec():
                yield from step.trim
            case steps.DropNullsSpec():
                yield from step.drop_nulls
            case steps.FillSpec():
                yield from step.fill
            case steps.ClipSpec():
                yield from step.clip
            case steps.DeriveSpec():
                for sql in step.derive.values():
                    yield from columns_of(sql)
            case steps.FilterSpec():
                yield from columns_of(step.filter)
            case steps.PseudonymiseSpec():
                yield from step.pseudonymise.columns
            case steps.SplitSpec():
                yield from step.split.by
    except ExpressionError:
        return  # planning the step says what is wrong with it

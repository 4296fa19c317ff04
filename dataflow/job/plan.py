"""The planned job: a job file bound to its columns, steps, summaries and tables; everything but the data itself.

Planning finds every problem that can be found before a record is read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from dataflow.errors import JobFileError
from dataflow.job import plugins
from dataflow.job.columns import columns_of_records
from dataflow.job.digest import digest
from dataflow.job.document import Document
from dataflow.job.placement import misplaced, written_over
from dataflow.job.problem import Problem
from dataflow.job.spec import Aggregation, JobSpec
from dataflow.job.validation import contradictions, resolve, salvage, validate
from transforms.aggregation.summary import Summary
from transforms.aggregation.timeline import Output
from transforms.collection.parsing.parsed import Schema
from transforms.collection.source import Source, Work
from transforms.collection.sources import source_of
from transforms.errors import SourceError
from transforms.model.aggregation import bound, misfits
from transforms.model.learn import MODEL, ModelsOutput
from transforms.preprocessing import spec as steps
from transforms.preprocessing.steps import Step, StepError, plan_step
from transforms.process.threads import cores
from transforms.record import dead_letter, ledger
from transforms.refusal import dotted
from transforms.specification import ColumnType
from transforms.storage.checkpoint.folder import MANIFEST
from transforms.storage.sink import Sink
from transforms.storage.sinks import sinks_of
from transforms.storage.tables import DEAD_LETTERS, LEDGER, Table


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
    def sinks(self) -> tuple[Sink, ...]:
        """The sinks of the tables, in the order of the job file."""
        return sinks_of(self.spec.sinks, self.spec.job, self.tables, self.spec.dead_letters.path)

    @property
    def state(self) -> str:
        """The job's folder for what outlives a run."""
        return str(self.spec.state)

    @cached_property
    def source(self) -> Source:
        """Where its records come from."""
        execution = self.spec.execution
        work = Work(
            job=self.spec.job,
            reader=f"{self.spec.job}-{digest(self.state)[:8]}",
            folder=self.folder,
            state=self.state,
            manifest=f"{self.state}/{MANIFEST}",
            record=self.spec.record,
            schema=self.schema,
            watermark=self.spec.watermark,
            range_bytes=int(execution.range),
            batch_rows=execution.batch_rows,
            threads=execution.threads or cores(),
            keeps_payload=any(step.reason for step in self.steps),
        )
        return source_of(self.spec.source, work)

    def refuse_overwriting(self) -> None:
        """Checks that the job would not write over a file that it reads.

        Raises:
            SourceError: for the first file that it would.
        """
        for read in self.source.inputs():
            if (why := written_over(self.spec, self.sinks, read.path)) is not None:
                raise SourceError(f"{dotted(('source', self.source.kind, *read.field))}: {read.name} {why}")


def bind(document: Document) -> Job:
    """The job that a document describes, bound to its columns.

    Raises:
        JobFileError: with everything that is wrong with it.
        SourceError: if types must come from the source and it cannot be read.
    """
    if missing := list(plugins.load(document.content)):
        raise document.error(missing)
    try:
        spec = validate(document)
    except JobFileError as error:
        raise document.error([*error.problems, *_further_problems(document)]) from None
    return plan(spec, document)


def _further_problems(document: Document) -> Iterator[Problem]:
    """The problems in the rest of a job, after some of its fields were found wrong."""
    salvaged = salvage(document)
    if salvaged is None:
        return
    spec, rest = salvaged
    yield from map(rest.original, contradictions(spec))
    if rest.knows_columns:
        try:
            plan(resolve(spec, document.folder), document)
        except JobFileError as error:
            yield from map(rest.original, error.problems)
        except SourceError:
            pass  # reported once the rest of the job file is valid


def plan(spec: JobSpec, document: Document) -> Job:
    """Binds a validated job to its columns.

    Raises:
        JobFileError: with everything that does not fit.
        SourceError: if types must come from the source and it cannot be read.
    """
    columns = columns_of_records(spec, document)
    schema = Schema(
        columns, spec.record.event_time, spec.record.unknown_fields == "dead_letter", int(spec.record.max_line)
    )
    problems: list[Problem] = []
    types: Mapping[str, ColumnType] = {name: column.type for name, column in columns.items()}
    folded: dict[str, str] = {}
    for name in columns:
        if folded.setdefault(name.casefold(), name) != name:
            sentence = f"differs from {folded[name.casefold()]} only in case, which SQL ignores"
            problems.append(Problem(("record", "columns", name), sentence))
    planned: list[Step] = []
    for index, step in enumerate(spec.preprocess):
        try:
            planned.append(plan_step(step, types))
            types = planned[-1].columns
        except StepError as error:
            problems.append(Problem(("preprocess", index, *error.place), str(error)))
            if isinstance(step, steps.DeriveSpec | steps.SplitSpec | steps.ApplySpec):
                # The columns after this step are unknown, so later problems may not be real.
                raise document.error(problems) from None
    for index, aggregation in enumerate(spec.aggregations):
        for place, sentence in misfits(aggregation, types):
            problems.append(Problem(("aggregations", index, *place), sentence))
    if problems:
        raise document.error(problems)
    aggregations = tuple(plan_aggregation(aggregation, types) for aggregation in spec.aggregations)
    job = Job(spec, document.folder, schema, tuple(planned), types, aggregations)
    problems = list(misplaced(spec, job.tables, job.sinks, document.name))
    if problems:
        raise document.error(problems)
    return job


def plan_aggregation(spec: Aggregation, columns: Mapping[str, ColumnType]) -> PlannedAggregation:
    """The summary and the outputs of an aggregation over `columns`."""
    return PlannedAggregation(spec, *bound(spec, columns))

"""The columns that a job reads, from the job file or from a source that brings its types."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from dataflow.job.document import Document
from dataflow.job.problem import Problem
from dataflow.job.spec import JobSpec
from transforms.collection.parsing.parquet_rows import column_of
from transforms.collection.sources import kind_of
from transforms.collection.spec import Column
from transforms.model.learn import columns_read
from transforms.preprocessing import spec as steps
from transforms.preprocessing.expressions import ExpressionError, columns_of
from transforms.refusal import near


def columns_of_records(spec: JobSpec, document: Document) -> Mapping[str, Column]:
    """The columns to read: those that the job file names, or those of the source that it needs.

    Raises:
        JobFileError: if a source that brings its types lacks a column that is needed.
        SourceError: if it cannot be read.
    """
    kind = kind_of(spec.source)
    if not kind.brings_types(spec.source):
        return spec.record.columns or {}
    source, found = kind.types(spec.source, document.folder)
    if spec.record.columns is not None:
        names = [
            name for name, column in spec.record.columns.items() if name not in found.names and not column.nullable
        ]
        if names:
            raise document.error(
                Problem(("record", "columns", name), f"{source} has no column {name}; {near(name, found.names)}")
                for name in names
            )
        unknown = [name for name in found.names if name not in spec.record.columns]
        if unknown and spec.record.unknown_fields == "dead_letter":
            sentence = f"every record of {source} has {unknown[0]}, which is not in `columns`"
            raise document.error([Problem(("record", "unknown_fields"), sentence)])
        return spec.record.columns
    needed = set(_needed(spec))
    made = {name for step in spec.preprocess if isinstance(step, steps.DeriveSpec) for name in step.derive}
    problems = [
        Problem(("record",), f"{field.name} is {field.type} in {source}, which no type of a column can hold")
        for field in found
        if field.name in needed - made and column_of(field) is None
    ]
    if problems:
        raise document.error(problems)
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
    column = time.typed(column)
    if (time.unit is None) != (column.type == "timestamp"):
        what = "needs a `unit`" if time.unit is None else "has its own unit"
        raise document.error([Problem(place, f"{time.column} is {column.type} in {source}, which {what}")])
    return {**columns, time.column: column}


def _needed(spec: JobSpec) -> Iterator[str]:
    """The names of every column that the job uses, event time and the names that steps make included."""
    yield spec.record.event_time.column
    for step in spec.preprocess:
        yield from _read_by(step)
    for aggregation in spec.aggregations:
        yield from aggregation.key
        yield from aggregation.statistics
        yield from columns_read(aggregation.models)


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
        return  # planning the step reports what is wrong with it

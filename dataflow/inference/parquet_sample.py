"""Samples of Parquet files: their schema, their statistics and their first records."""

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataflow.errors import InferenceError
from dataflow.inference.data_file import DataFile, open_seekable
from dataflow.inference.sample import (
    SAMPLED_RECORDS,
    LeftOut,
    Sample,
    SampledColumn,
    SamplePart,
    sample_evenly,
    why_unusable,
)
from transforms.specification import ColumnType

_Bounds = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class _Piece:
    """One file's part of a column."""

    type: ColumnType
    nullable: bool
    cells: Sequence[Any]
    bounds: _Bounds
    note: str


@dataclass(frozen=True, slots=True)
class _Look:
    """The facts of one file: its number of records, the first of them, and its metadata."""

    records: int
    sampled: int
    pieces: dict[str, _Piece]
    left_out: dict[str, LeftOut]


def sample_parquet(files: Sequence[DataFile]) -> Sample:
    """Samples Parquet files: types from the schema, nulls and bounds from the statistics, the rest from records.

    Raises:
        InferenceError: if a file is damaged, or no file has a record.
    """
    chosen = [files[place] for place in sample_evenly(len(files))]
    looks = [_look(file, SAMPLED_RECORDS // len(chosen)) for file in chosen]
    looks = [look for look in looks if look.records]
    if not looks:
        raise InferenceError(f"{files[0].path} holds no record")
    every_file_seen = len(chosen) == len(files)
    left_out = {name: column for look in looks for name, column in look.left_out.items()}
    columns: list[SampledColumn] = []
    taken: set[str] = set()
    for name in dict.fromkeys(name for look in looks for name in look.pieces):
        if name in left_out:
            continue
        reason = why_unusable(name, taken)
        column = None if reason else _column(name, looks, every_file_seen)
        if column is not None:
            columns.append(column)
            taken.add(name.casefold())
        else:
            left_out[name] = LeftOut(name, reason or "its type differs between the files")
    parts = [SamplePart(look.sampled, look.records / look.sampled) for look in looks]
    whole = every_file_seen and all(look.sampled == look.records for look in looks)
    return Sample(parts, columns, list(left_out.values()), whole=whole)


def _column(name: str, looks: Sequence[_Look], every_file_seen: bool) -> SampledColumn | None:
    """Joins the files' parts of a column; None if their types have nothing in common."""
    pieces = [look.pieces[name] for look in looks if name in look.pieces]
    types = {piece.type for piece in pieces}
    if len(types) > 1 and types != {"int64", "float64"}:
        return None
    in_all = every_file_seen and len(pieces) == len(looks)
    cells: list[Any] = []
    for look in looks:
        cells += look.pieces[name].cells if name in look.pieces else [None] * look.sampled
    bounds = [piece.bounds for piece in pieces if piece.bounds is not None]
    return SampledColumn(
        name,
        "float64" if len(types) > 1 else pieces[0].type,
        nullable=not in_all or any(piece.nullable for piece in pieces),
        cells=cells,
        bounds=(min(low for low, _ in bounds), max(high for _, high in bounds))
        if in_all and len(bounds) == len(pieces)
        else None,
        note=pieces[0].note,
    )


def _look(file: DataFile, limit: int) -> _Look:
    try:
        with closing(open_seekable(file)) as stream, closing(pq.ParquetFile(stream)) as parquet:
            return _look_into(parquet, limit)
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        raise InferenceError(f"{file.path} cannot be read as Parquet: it is damaged or cut short") from None


def _look_into(parquet: Any, limit: int) -> _Look:
    schema = parquet.schema_arrow
    left_out: dict[str, LeftOut] = {}
    types: dict[str, tuple[ColumnType, str]] = {}
    for field in schema:
        meaning, note = _meaning(field.type)
        if schema.names.count(field.name) > 1:
            left_out[field.name] = LeftOut(field.name, "the schema names it more than once")
        elif meaning is None:
            left_out[field.name] = LeftOut(field.name, note)
        else:
            types[field.name] = (meaning, note)
    table = _first_records(parquet, list(types), limit)
    facts = _statistics(parquet.metadata)
    pieces: dict[str, _Piece] = {}
    for name, (meaning, note) in types.items():
        field = schema.field(name)
        never_null, low, high = facts.get(name, (False, None, None))
        # NaN is null to a job, and neither the schema nor the statistics say whether there is one.
        nullable = meaning == "float64" or (field.nullable and not never_null)
        bounds = _bounds(field.type, meaning, low, high)
        pieces[name] = _Piece(meaning, nullable, _cells(table.column(name), meaning), bounds, note)
    return _Look(parquet.metadata.num_rows, table.num_rows, pieces, left_out)


def _first_records(parquet: Any, names: Sequence[str], limit: int) -> Any:
    batches: list[Any] = []
    rows = 0
    for batch in parquet.iter_batches(batch_size=limit, columns=list(names)):
        batches.append(batch.slice(0, limit - rows))
        rows += batches[-1].num_rows
        if rows >= limit:
            break
    if batches:
        return pa.Table.from_batches(batches)
    return pa.table({name: pa.array([], parquet.schema_arrow.field(name).type) for name in names})


def _meaning(kind: Any) -> tuple[ColumnType | None, str]:
    """The column type for an Arrow type, with a note; or None and the reason for which a job cannot read it."""
    if pa.types.is_dictionary(kind):
        return _meaning(kind.value_type)
    if pa.types.is_timestamp(kind):
        return "timestamp", "nanoseconds are cut to microseconds" if kind.unit == "ns" else ""
    if pa.types.is_date(kind):
        return "timestamp", "a date, read as its midnight"
    if pa.types.is_boolean(kind):
        return "bool", ""
    if pa.types.is_integer(kind):
        return "int64", "a value above 9223372036854775807 is out_of_range" if kind == pa.uint64() else ""
    if pa.types.is_floating(kind):
        return "float64", ""
    if pa.types.is_decimal(kind):
        exact = kind.scale == 0 and kind.precision <= 18
        return "int64" if exact else "float64", f"a {kind} in the file"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "string", ""
    if pa.types.is_null(kind):
        return None, "it holds nothing but nulls"
    if pa.types.is_nested(kind):
        return None, "it holds objects or arrays"
    return None, f"a job has no type for its {kind}"


def _cells(values: Any, meaning: ColumnType) -> list[Any]:
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _cells(values.cast(kind.value_type), meaning)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        zone = kind.tz if pa.types.is_timestamp(kind) else None
        micros: list[Any] = values.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64()).to_pylist()
        return micros
    if meaning == "string":
        # A record whose text is not UTF-8 becomes a dead letter of the job, and must not fail this sampling.
        binary = values.cast(pa.large_binary()).to_pylist()
        return [None if cell is None else cell.decode(errors="replace") for cell in binary]
    if meaning == "float64":
        numbers = [None if cell is None else float(cell) for cell in values.to_pylist()]
        return [None if cell is None or math.isnan(cell) else cell for cell in numbers]
    if pa.types.is_decimal(kind):
        return [None if cell is None else int(cell) for cell in values.to_pylist()]
    cells: list[Any] = values.to_pylist()
    return cells


def _statistics(metadata: Any) -> dict[str, tuple[bool, Any, Any]]:
    """For each column: whether all row groups say that it has no null, and its bounds if all of them give some."""
    facts: dict[str, tuple[bool, Any, Any]] = {}
    for place in range(metadata.num_row_groups):
        group = metadata.row_group(place)
        for leaf in range(group.num_columns):
            chunk = group.column(leaf)
            statistics = chunk.statistics
            never_null = statistics is not None and statistics.has_null_count and statistics.null_count == 0
            low, high = _least_and_greatest(chunk, statistics)
            if place and chunk.path_in_schema in facts:
                before, least, greatest = facts[chunk.path_in_schema]
                never_null = never_null and before
                known = low is not None and least is not None
                low, high = (min(low, least), max(high, greatest)) if known else (None, None)
            facts[chunk.path_in_schema] = (never_null, low, high)
    return facts


def _least_and_greatest(chunk: Any, statistics: Any) -> tuple[Any, Any]:
    if statistics is None or not statistics.has_min_max or chunk.physical_type not in ("INT32", "INT64"):
        return None, None
    try:
        return statistics.min, statistics.max
    except (ValueError, OverflowError):  # a date or time that Python cannot hold
        return None, None


def _bounds(kind: Any, meaning: ColumnType, low: Any, high: Any) -> _Bounds:
    """The bounds in the form of `cells`; None unless they are times or whole numbers."""
    if low is None or meaning not in ("timestamp", "int64"):
        return None
    try:
        least, greatest = _cells(pa.array([low, high], kind), meaning)
    except (pa.ArrowException, ArithmeticError, ValueError, TypeError):  # a date that Python cannot hold
        return None
    return least, greatest

"""Samples of text files: their records, and the types of their columns."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from dataflow.errors import InferenceError
from dataflow.inference.data_file import DataFile, Excerpt, read_excerpt
from dataflow.inference.kind import Kind, kind_of_csv, kind_of_json, settle
from dataflow.inference.record_reader import SampledRecords, read_csv, read_json_lines
from dataflow.inference.sample import (
    SAMPLED_BYTES,
    SAMPLED_RECORDS,
    LeftOut,
    Sample,
    SampledColumn,
    SamplePart,
    sample_evenly,
    why_unusable,
)

_MOST_FIELDS: Final = 2_000
"""Objects whose names are data (such as a field per user) would otherwise yield a column for each."""


def sample_json_lines(files: Sequence[DataFile]) -> Sample:
    """Samples files with one JSON object per line.

    Raises:
        InferenceError: if there is no record, or most lines are not records.
    """
    return _sample(files, read_json_lines, kind_of_json, "a JSON object each: JSON Lines has one per line")


def sample_csv(files: Sequence[DataFile]) -> Sample:
    """Samples comma-separated files whose first line names the columns.

    Raises:
        InferenceError: if there is no header, another separator, or no record, or most lines do not fit the header.
    """
    return _sample(files, read_csv, kind_of_csv, "UTF-8 text with as many fields as its header has")


def _sample(
    files: Sequence[DataFile],
    read: Callable[[DataFile, Excerpt, int], SampledRecords],
    kind_of: Callable[[Any], Kind],
    expected: str,
) -> Sample:
    chosen = [files[place] for place in sample_evenly(len(files))]
    parts: list[SamplePart] = []
    rows: list[dict[str, Any]] = []
    left_out: dict[str, LeftOut] = {}
    bad, whole = 0, len(chosen) == len(files)
    for file in chosen:
        excerpt = read_excerpt(file, SAMPLED_BYTES // len(chosen))
        records = read(file, excerpt, SAMPLED_RECORDS // len(chosen))
        if records.bad > len(records.rows):
            raise InferenceError(f"most lines of {file.path} are not {expected}")
        whole = whole and excerpt.whole and records.read_share == 1
        bad += records.bad
        rows += records.rows
        parts.append(SamplePart(len(records.rows), excerpt.scale / max(records.read_share, 1e-9)))
    if not rows:
        raise InferenceError(f"{files[0].path} holds no record")
    columns = _columns(rows, left_out, kind_of)
    return Sample(parts, columns, list(left_out.values()), bad, whole)


def _columns(
    rows: Sequence[dict[str, Any]], left_out: dict[str, LeftOut], kind_of: Callable[[Any], Kind]
) -> list[SampledColumn]:
    """The columns that a job can use; the others are added to `left_out`."""
    columns: list[SampledColumn] = []
    taken: set[str] = set()
    for name, values in _gather(rows).items():
        if name in left_out:
            continue
        reason = why_unusable(name, taken)
        column = None if reason else _column(name, values, len(rows), kind_of)
        if isinstance(column, SampledColumn):
            columns.append(column)
            taken.add(name.casefold())
        else:
            left_out[name] = LeftOut(name, reason or column or "")
    return columns


def _gather(rows: Sequence[dict[str, Any]]) -> dict[str, dict[int, Any]]:
    """The non-null values of each field, by the number of their record; cheap for sparse fields."""
    gathered: dict[str, dict[int, Any]] = {}
    for place, row in enumerate(rows):
        for name, value in row.items():
            values = gathered.get(name)
            if values is None:
                if len(gathered) >= _MOST_FIELDS:
                    continue
                values = gathered[name] = {}
            if value is not None:
                values[place] = value
    return gathered


def _column(name: str, values: dict[int, Any], records: int, kind_of: Callable[[Any], Kind]) -> SampledColumn | str:
    """The column of these values, or why there is none."""
    kinds = {place: kind_of(value) for place, value in values.items()}
    seen = Counter(kinds.values())
    if seen[Kind.NULL] == len(values):
        return "the sample has no value of it"
    verdict = settle(seen)
    if verdict.type is None:
        return "it holds objects or arrays"
    cells: list[Any] = [None] * records
    for place, kind in kinds.items():
        if kind not in (Kind.NULL, Kind.NESTED):
            cells[place] = values[place]
    return SampledColumn(
        name,
        verdict.type,
        nullable=True,  # a sample cannot prove that no null follows
        cells=cells,
        misfits=verdict.misfits,
        behind_markers=verdict.behind_markers,
        markers=sorted({values[place] for place, kind in kinds.items() if kind is Kind.MARKER}),
    )

"""Reads the first records of a text file: JSON Lines, or CSV with a header."""

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dataflow.errors import InferenceError
from dataflow.inference.column_names import spoken
from dataflow.inference.data_file import UTF_8_MARK, DataFile, Excerpt
from dataflow.inference.kind import Kind, kind_of_csv
from transforms.specification import repeated

LONGEST_LINE: Final = 1_048_576
"""The default of a job's `max_line`."""

_SMALLEST_EPOCH: Final = 631_152_000
"""1990 in seconds: a number this large is an event time or an identifier, but not the name of a column."""


@dataclass(slots=True)
class SampledRecords:
    """The readable records at the beginning of one file, and how many lines were not records.

    `read_share` is the share of the excerpt that was used until `limit` records were reached.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    bad: int = 0
    read_share: float = 1.0


def read_json_lines(file: DataFile, excerpt: Excerpt, limit: int) -> SampledRecords:
    """Reads one JSON object per line; any other line, even an empty one, is bad."""
    return _read(excerpt, _lines(file, excerpt), limit, _json_object)


def _json_object(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def read_csv(file: DataFile, excerpt: Excerpt, limit: int) -> SampledRecords:
    """Reads comma-separated fields, a record per line; the first line names the columns.

    Raises:
        InferenceError: if the first line is not a header, or its separator is not a comma.
    """
    first, *lines = _lines(file, excerpt) or [b""]
    header = _fields(first)
    if not header:
        raise InferenceError(f"{file.path} has no header in UTF-8: its first line must name the columns")
    _check_header(file, header, first.decode())

    def named_fields(line: bytes) -> dict[str, Any] | None:
        fields = _fields(line)
        return dict(zip(header, fields, strict=True)) if fields and len(fields) == len(header) else None

    return _read(excerpt, lines, limit, named_fields)


def _lines(file: DataFile, excerpt: Excerpt) -> list[bytes]:
    """The lines that are complete in the excerpt."""
    lines = excerpt.data.removeprefix(UTF_8_MARK).split(b"\n")
    if not excerpt.whole and len(lines) == 1:
        raise InferenceError(f"{file.path} has a first line longer than the part of the file that is read")
    if not excerpt.whole or not lines[-1]:
        lines.pop()  # incomplete in the excerpt, or empty after the last newline
    return lines


def _read(
    excerpt: Excerpt, lines: Sequence[bytes], limit: int, parse: Callable[[bytes], dict[str, Any] | None]
) -> SampledRecords:
    records = SampledRecords()
    used = 0
    for line in lines[:limit]:
        used += len(line) + 1
        row = parse(line) if len(line) <= LONGEST_LINE else None
        if row is None:
            records.bad += 1
        else:
            records.rows.append(row)
    if len(lines) > limit:
        records.read_share = used / len(excerpt.data)
    return records


def _fields(line: bytes) -> list[str] | None:
    """The fields of a CSV line; a quoted field must end on its line."""
    try:
        text = line.decode().removesuffix("\r")
        return next(csv.reader([text], strict=True), None) if text.count('"') % 2 == 0 else None
    except (UnicodeDecodeError, csv.Error):
        return None


def _check_header(file: DataFile, header: Sequence[str], line: str) -> None:
    bare = re.sub(r'"[^"]*"', "", line)
    for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")):
        if bare.count(separator) > bare.count(","):
            raise InferenceError(f"{file.path} seems to be separated by {name}: CSV is separated by commas here")
    kinds = [kind_of_csv(name.strip()) for name in header]
    numbers = sum(kind in (Kind.INTEGER, Kind.WIDE_INTEGER, Kind.FRACTION, Kind.BEYOND) for kind in kinds)
    if numbers * 2 >= len(header) or any(
        _is_data(name.strip(), kind) for name, kind in zip(header, kinds, strict=True)
    ):
        raise InferenceError(
            f"{file.path} has no recognisable header: its first line must name the columns, but it looks like a record"
        )
    if doubled := repeated(header):
        raise InferenceError(f"{file.path} has a header that names {spoken(doubled[0])} twice: give each column a name")


def _is_data(name: str, kind: Kind) -> bool:
    """Whether a field is certainly not a column's name; a whole number such as the year 1990 may be one."""
    if kind in (Kind.BOOL, Kind.TIME, Kind.DAY, Kind.FRACTION, Kind.PADDED):
        return True
    return kind in (Kind.INTEGER, Kind.WIDE_INTEGER) and not 0 <= int(name) < _SMALLEST_EPOCH

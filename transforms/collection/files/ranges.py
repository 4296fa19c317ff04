"""Cuts the files of a job into ranges that are read in parallel.

A text file is cut into byte ranges; a record belongs to the range in which its line begins. A compressed file is one
range. Parquet is cut into row groups; empty ones are left out.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.collection.files.opening import is_url, open_file, open_raw, packing_of, unpacked
from transforms.collection.files.paths import list_files
from transforms.collection.files.spec import FilesSpec
from transforms.collection.files.stamp import Stamp, check_named, check_opened, stamp_of
from transforms.collection.parsing.csv_lines import header_of
from transforms.collection.source_error import UNREADABLE, reason
from transforms.errors import SourceError
from transforms.specification import repeated

_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class FileRange:
    """A part of a file: bytes of its (decompressed) text, or rows of Parquet; `end` None: to the end.

    Args:
        stamp: the file's stamp when it was listed; the file that is read must match it.
        opens: whether a record begins at `start`; only for the first range of a text is this known beforehand.
        header: the names of the columns, for CSV and Parquet.
    """

    path: str
    source: str
    ordinal: int
    start: int
    end: int | None
    stamp: Stamp
    opens: bool = False
    row_group: int = -1
    header: tuple[str, ...] = ()


def list_ranges(spec: FilesSpec, base: str, range_bytes: int) -> list[FileRange]:
    """Every range of every file; a file without a record has none.

    Raises:
        SourceError: if a file cannot be opened or is not of the format.
    """
    ranges: list[FileRange] = []
    for ordinal, (path, source) in enumerate(list_files(spec, base)):
        try:
            if spec.format == "parquet":
                ranges += _row_groups(path, source, ordinal)
            else:
                ranges += _byte_ranges(path, source, ordinal, spec.format, range_bytes)
        except UNREADABLE as error:
            raise SourceError(f"{source} cannot be read as {spec.format}: {reason(error)}") from error
    return ranges


def parquet_schema(path: str) -> pa.Schema:
    """The Arrow schema of a Parquet file."""
    with open_file(path) as file:
        return pq.read_schema(file)


def header_in(path: str, format_: str) -> tuple[str, ...] | None:
    """The names of the columns of a Parquet or CSV file; None for a CSV file with only blank lines.

    Raises:
        OSError, ValueError, pa.ArrowException: if it cannot be read.
    """
    if format_ == "parquet":
        return tuple(parquet_schema(path).names)
    return _csv_header(path, _first_line(path))


@contextmanager
def open_part(part: FileRange) -> Iterator[IO[bytes]]:
    """Opens the file of a range like `open_listed`; files named by a URL also need `check_urls` afterwards."""
    with open_listed(part.path, part.source, part.stamp) as file:
        yield file


@contextmanager
def open_listed(path: str, source: str, listed: Stamp) -> Iterator[IO[bytes]]:
    """Opens a file, decompressed, and checks on exit that a local file is still the one that was listed.

    A file named by a URL is checked only if reading it fails: a check takes time, and one after many ranges is enough.

    Raises:
        SourceError: if the file is damaged, cut short, changed, or removed, at opening or during reading.
    """
    try:
        with open_raw(path) as raw, unpacked(raw, path) as file:
            yield file
            if not is_url(path):
                check_opened(path, source, listed, raw)
    except UNREADABLE as error:
        with suppress(OSError):
            check_named(path, source, listed)
        raise SourceError(f"{source} cannot be read to its end: {reason(error)}") from error


def check_urls(parts: list[FileRange]) -> None:
    """Checks every file that ranges name by a URL again, after they were read.

    Raises:
        SourceError: if one of them is not the file that was listed, or is gone.
    """
    for part in {part.path: part for part in parts if is_url(part.path)}.values():
        try:
            check_named(part.path, part.source, part.stamp)
        except OSError as error:
            raise SourceError(f"{part.source} changed while it was read: {reason(error)}") from error


def _byte_ranges(path: str, source: str, ordinal: int, format_: str, range_bytes: int) -> list[FileRange]:
    is_packed = packing_of(path) is not None
    stamp = stamp_of(path, may_grow=not is_packed)
    first = _first_line(path)
    begin = len(_BOM) if first.startswith(_BOM) else 0
    header: tuple[str, ...] = ()
    if format_ == "csv":
        names = _csv_header(path, first)
        if names is None:
            return []  # no header, and no record that needs one
        header, begin = names, len(first)
    if is_packed:
        return [FileRange(path, source, ordinal, begin, None, stamp, opens=True, header=header)]
    if stamp.size is None:
        raise ValueError("its server does not say how long it is")
    cuts = [begin, *range(begin + range_bytes, stamp.size, range_bytes), stamp.size]
    bounds = [(a, b) for a, b in pairwise(cuts) if a < b]
    return [FileRange(path, source, ordinal, a, b, stamp, opens=a == begin, header=header) for a, b in bounds]


def _row_groups(path: str, source: str, ordinal: int) -> list[FileRange]:
    stamp = stamp_of(path)
    with open_file(path) as file:
        metadata = pq.read_metadata(file)
    names = metadata.schema.to_arrow_schema().names
    if doubled := repeated(names):
        raise ValueError(f"it has two columns named {doubled[0]!r}")
    ranges, row = [], 0
    for index in range(metadata.num_row_groups):
        rows = metadata.row_group(index).num_rows
        if rows:
            ranges.append(
                FileRange(path, source, ordinal, row, row + rows, stamp, row_group=index, header=tuple(names))
            )
        row += rows
    if row != metadata.num_rows:
        raise ValueError(f"its footer says {metadata.num_rows:,} rows, and its row groups {row:,}")
    return ranges


def _csv_header(path: str, first: bytes) -> tuple[str, ...] | None:
    """The names in a CSV file's first non-blank line; None if all lines are blank."""
    if not first.removeprefix(_BOM).strip() and _is_blank(path):
        return None
    return header_of(first)


def _first_line(path: str, limit: int = 1 << 20) -> bytes:
    """The first line of a file with its newline, or as much of it as `limit` allows."""
    line = b""
    with open_file(path) as file:
        while b"\n" not in line and len(line) < limit:
            chunk = file.read(1 << 16)
            if not chunk:
                return line
            line += chunk
    return line[: line.find(b"\n") + 1] if b"\n" in line else line


def _is_blank(path: str) -> bool:
    """Whether a text holds nothing but white space and perhaps a byte order mark."""
    with open_file(path) as file:
        chunk = file.read(1 << 16).removeprefix(_BOM)
        while chunk and not chunk.strip():
            chunk = file.read(1 << 16)
    return not chunk

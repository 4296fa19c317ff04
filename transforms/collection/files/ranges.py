"""Files: what a job reads of them, cut into ranges that can be read side by side.

A text file is cut into byte ranges; a record belongs to the range in which its line begins. A compressed file
is one range. Parquet is cut into row groups, of which those without rows are left out.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.collection.files.opening import is_url, open_file, open_raw, packing_of, unpacked
from transforms.collection.files.paths import list_files as list_files  # whoever reads files finds it here
from transforms.collection.files.stamp import Stamp, check_named, check_opened, stamp_of
from transforms.collection.parsing.csv_lines import header_of
from transforms.collection.source_error import UNREADABLE, reason
from transforms.collection.spec import FilesSpec
from transforms.errors import SourceError as SourceError

_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class FileRange:
    """A stretch of a file: bytes of its (decompressed) text, or rows of Parquet; `end` None: to the end.

    Args:
        stamp: what the file was when it was listed; what is read must be of that file.
        opens: whether a record begins at `start`, which only the first range of a text knows beforehand.
        header: the names of the columns, of CSV and Parquet.
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
    """Every range of every file; one without a record has none.

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
    """The names of the columns of a Parquet or CSV file; None: it is a CSV without a line that says anything.

    Raises:
        OSError, ValueError, pa.ArrowException: if it cannot be read.
    """
    if format_ == "parquet":
        return tuple(parquet_schema(path).names)
    return _csv_header(path, _first_line(path))


@contextmanager
def open_part(part: FileRange) -> Iterator[IO[bytes]]:
    """Opens the file of a range as `open_listed` does; of what a URL names, `check_urls` does the rest."""
    with open_listed(part.path, part.source, part.stamp) as file:
        yield file


@contextmanager
def open_listed(path: str, source: str, listed: Stamp) -> Iterator[IO[bytes]]:
    """Opens a file, decompressed; when it is left, a local one must still be what was listed.

    What a URL names is asked for again only if reading it fails: that takes time, and once for many ranges is enough.

    Raises:
        SourceError: if the file is damaged, cut short, changed, or gone, then or while it is read.
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
    """Looks again at every file that ranges name by a URL, after they were read.

    Raises:
        SourceError: if one of them is not what was listed, or is gone.
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
            return []  # no header, and no record that misses it
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
    doubled = [name for name in names if names.count(name) > 1]
    if doubled:
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
    """The names in a CSV's first line; None: no line of it says anything."""
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
    """Whether a text has nothing but white space, a byte order mark aside."""
    with open_file(path) as file:
        chunk = file.read(1 << 16).removeprefix(_BOM)
        while chunk and not chunk.strip():
            chunk = file.read(1 << 16)
    return not chunk

"""Files: which ones a job reads, cut into ranges that can be read side by side.

A text file is cut into byte ranges; a record belongs to the range in which its line begins. A compressed file
is one range. Parquet is cut into row groups. Local paths and fsspec URLs are read alike.
"""

import glob
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from transforms.collection.csv_lines import header_of
from transforms.collection.spec import FilesSpec

COMPRESSIONS = (".gz", ".zst")
_UNREADABLE = (OSError, EOFError, zlib.error, zstandard.ZstdError)
"""What a damaged file is met with."""


class SourceError(Exception):
    """A source that cannot be read: no such file, an empty glob, no permission, not the format."""


@dataclass(frozen=True, slots=True)
class FileRange:
    """A stretch of a file: bytes of its (decompressed) text, or rows of Parquet; `end` None: to the end.

    Args:
        opens: whether a record begins at `start`, which only the first range of a text knows beforehand.
        header: the names of the columns, of CSV and Parquet.
    """

    path: str
    source: str
    ordinal: int
    start: int
    end: int | None
    opens: bool = False
    row_group: int = -1
    header: tuple[str, ...] = ()


def list_files(spec: FilesSpec, base: str) -> list[tuple[str, str]]:
    """(path, source) of every file, in the order they arrived: that of `paths`, and of names within a glob.

    Raises:
        SourceError: if a file or a glob's match is not there, or where it would be cannot be reached.
    """
    found: dict[str, str] = {}
    for path in spec.paths:
        try:
            matches = _expand(path, base)
        except (OSError, ValueError, ImportError) as error:
            raise SourceError(f"source.files.paths: {path} cannot be looked for: {reason(error)}") from error
        if not matches:
            what = "no file matches" if _is_glob(path) else "there is no file"
            raise SourceError(f"source.files.paths: {what} {path}" + ("" if _is_url(path) else f" (looked in {base})"))
        for match, source in matches:
            found.setdefault(source, match)
    return [(path, source) for source, path in found.items()]


def list_ranges(spec: FilesSpec, base: str, range_bytes: int) -> list[FileRange]:
    """Every range of every file.

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
        except (*_UNREADABLE, ValueError, pa.ArrowException) as error:
            raise SourceError(f"{source} cannot be read as {spec.format}: {reason(error)}") from error
    return ranges


def parquet_schema(path: str) -> pa.Schema:
    """The Arrow schema of a Parquet file."""
    with open_file(path) as file:
        return pq.read_schema(file)


@contextmanager
def open_file(path: str) -> Iterator[IO[bytes]]:
    """Opens a local path or URL, decompressed by the end of its name."""
    with fsspec.open(path, "rb") as raw:
        if path.endswith(".gz"):
            with gzip.GzipFile(fileobj=raw) as file:
                yield file  # type: ignore[misc]  # GzipFile is an IO[bytes] in all but name
        elif path.endswith(".zst"):
            with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as file:
                yield io.BufferedReader(file)  # what is read from the stream itself may be short, and no line
        else:
            yield raw


@contextmanager
def open_part(part: FileRange) -> Iterator[IO[bytes]]:
    """Opens the file of a range, decompressed.

    Raises:
        SourceError: if the file is damaged, or gone, then or while it is read.
    """
    try:
        with open_file(part.path) as file:
            yield file
    except _UNREADABLE as error:
        raise SourceError(f"{part.source} cannot be read to its end: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _byte_ranges(path: str, source: str, ordinal: int, format_: str, range_bytes: int) -> list[FileRange]:
    with open_file(path) as file:
        first = _first_line(file)
    begin = 3 if first.startswith(b"\xef\xbb\xbf") else 0
    header: tuple[str, ...] = ()
    if format_ == "csv":
        header = header_of(first)
        begin = len(first)
    if path.endswith(COMPRESSIONS):
        return [FileRange(path, source, ordinal, begin, None, opens=True, header=header)]
    size = _size(path)
    cuts = [begin, *range(begin + range_bytes, size, range_bytes), size]
    bounds = [(a, b) for a, b in pairwise(cuts) if a < b]
    return [FileRange(path, source, ordinal, a, b, opens=a == begin, header=header) for a, b in bounds]


def _row_groups(path: str, source: str, ordinal: int) -> list[FileRange]:
    with open_file(path) as file:
        metadata = pq.read_metadata(file)
    names = metadata.schema.to_arrow_schema().names
    doubled = [name for name in names if names.count(name) > 1]
    if doubled:
        raise ValueError(f"it has two columns named {doubled[0]!r}")
    ranges, row = [], 0
    for index in range(metadata.num_row_groups):
        rows = metadata.row_group(index).num_rows
        ranges.append(FileRange(path, source, ordinal, row, row + rows, row_group=index, header=tuple(names)))
        row += rows
    return ranges


def _first_line(file: Any, limit: int = 1 << 20) -> bytes:
    """The first line with its newline, or as much of it as `limit` allows."""
    line = b""
    while b"\n" not in line and len(line) < limit:
        chunk = file.read(1 << 16)
        if not chunk:
            return line
        line += chunk
    return line[: line.find(b"\n") + 1] if b"\n" in line else line


def _size(path: str) -> int:
    filesystem, inside = fsspec.core.url_to_fs(path)
    return int(filesystem.size(inside))


def _expand(path: str, base: str) -> list[tuple[str, str]]:
    if _is_url(path):
        filesystem, inside = fsspec.core.url_to_fs(path)
        names = sorted(filesystem.glob(inside)) if _is_glob(path) else [inside] * filesystem.exists(inside)
        return [(filesystem.unstrip_protocol(name),) * 2 for name in names]
    absolute = os.path.join(base, path)
    exact = Path(absolute)
    names = [absolute] if exact.is_file() or not _is_glob(path) else sorted(glob.glob(absolute, recursive=True))
    return [(name, os.path.relpath(name, base)) for name in names if os.path.isfile(name)]


def _is_url(path: str) -> bool:
    return "://" in path


def _is_glob(path: str) -> bool:
    return any(character in path for character in "*?[")

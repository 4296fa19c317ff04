"""Opens files: yields their decompressed bytes, complete or with an error; the name's ending gives the compression."""

import gzip
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

import fsspec
import pyarrow as pa

_PACKINGS: Final = {".gz": "gzip", ".zst": "zstd"}


def packing_of(path: str) -> str | None:
    """How a file is compressed, by the ending of its name in any case; None if it is not."""
    return _PACKINGS.get(os.path.splitext(path)[1].lower())


def bare_name(path: str) -> str:
    """The name in lower case, without the ending for its compression.

    >>> bare_name("in/A.JSONL.GZ")
    'in/a.jsonl'
    """
    return (os.path.splitext(path)[0] if packing_of(path) else path).lower()


def is_url(path: str) -> bool:
    """Whether fsspec opens a path; all others name local files, whatever characters they contain."""
    return "://" in path


@contextmanager
def open_raw(path: str) -> Iterator[IO[bytes]]:
    """Opens a local path or URL without decompression."""
    with fsspec.open(path, "rb") if is_url(path) else open(path, "rb") as raw:
        yield raw


@contextmanager
def unpacked(raw: IO[bytes], path: str) -> Iterator[IO[bytes]]:
    """The decompressed content of an opened file.

    Raises:
        EOFError: if the compressed data ends before its last member or frame does; raised when that end is read.
        OSError, zlib.error: if it is damaged.
    """
    packing = packing_of(path)
    if packing is None:
        yield raw
        return
    try:
        with _stream(raw, packing) as file:
            yield file
            if not raw.tell():
                raise EOFError
    except (EOFError, pa.ArrowException, OSError) as error:
        if isinstance(error, EOFError) or "Truncated compressed stream" in str(error):
            raise EOFError(f"its {packing} data is cut short: its last member or frame is incomplete") from error
        raise


@contextmanager
def open_file(path: str) -> Iterator[IO[bytes]]:
    """Opens a local path or URL, decompressed; raises the errors of `unpacked`."""
    with open_raw(path) as raw, unpacked(raw, path) as file:
        yield file


def _stream(raw: IO[bytes], packing: str) -> Any:
    if packing == "gzip":
        return gzip.GzipFile(fileobj=raw)
    # Arrow's reader distinguishes an incomplete frame from the end of the data; zstandard's does not.
    stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), packing)
    return io.BufferedReader(stream)  # a read from the stream itself may return less than a line

"""The input files: their places, their compression, and their format."""

import json
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, Literal

import pyarrow as pa

from dataflow.errors import InferenceError
from dataflow.inference.sample import is_encodable
from transforms.collection.files.opening import bare_name, packing_of
from transforms.collection.files.paths import local_matches

Format = Literal["parquet", "jsonl", "csv"]

_FORMATS: Final[dict[str, Format]] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
}
_PACKINGS: Final = {"gzip": (".gz", b"\x1f\x8b"), "zstd": (".zst", b"\x28\xb5\x2f\xfd")}
"""Kinds of compression: the ending of the name, and the first bytes."""
_PARQUET_MAGIC: Final = b"PAR1"
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
UTF_8_MARK: Final = b"\xef\xbb\xbf"
_GLANCE: Final = 65_536
MOST_UNPACKED_BYTES: Final = 256_000_000
"""A compressed Parquet file is read from its end, so it must first be unpacked completely."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file that exists and is not empty."""

    path: str
    compression: str | None
    format: Format


@dataclass(frozen=True, slots=True)
class DataFiles:
    """The files of one source: as the job file lists them, and individually."""

    entries: Sequence[str]
    files: Sequence[DataFile]
    format: Format


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The beginning of a file, unpacked; `scale` is the size of the file divided by that of the part read."""

    data: bytes
    whole: bool
    scale: float


def find(paths: Sequence[str]) -> DataFiles:
    """Finds the files that `paths` name, each a file or a pattern such as `data/*.csv`.

    Raises:
        InferenceError: no file, not a file, every file empty, a packing that contradicts the name, or formats
            that are unknown or differ.
    """
    if not paths:
        raise InferenceError("name at least one file")
    entries: dict[str, None] = {}
    found: dict[str, None] = {}
    for path in paths:
        entry, matches = _resolve(path)
        entries[entry] = None
        found.update(dict.fromkeys(matches))
    empty = [path for path in found if not os.path.getsize(path)]
    if len(empty) == len(found):
        raise InferenceError(f"{empty[0]} is empty")
    files = [_identify(path) for path in found if path not in empty]
    for file in files[1:]:
        if file.format != files[0].format:
            raise InferenceError(
                f"a source reads one format, but {files[0].path} is {files[0].format} and {file.path} is {file.format}"
            )
    packed = [path for path in empty if packing_of(path)]
    if packed or (
        empty and files[0].format == "parquet"
    ):  # an empty text is a valid file, while other formats need at least their end
        what = f"{packing_of(packed[0])} data" if packed else "Parquet"
        raise InferenceError(f"{(packed or empty)[0]} is empty, so it is not {what}: leave it out")
    return DataFiles(list(entries), files, files[0].format)


def read_excerpt(file: DataFile, limit: int) -> Excerpt:
    """Reads at most `limit` bytes of a file's content."""
    try:
        with closing(pa.OSFile(file.path, "rb")) as raw, closing(_unpacked(raw, file.compression)) as stream:
            data = _read(stream, limit)
            whole = not _read(stream, 1)
            scale = 1.0 if whole else max(1.0, raw.size() / max(raw.tell(), 1))
            return Excerpt(data, whole, scale)
    except OSError as error:
        raise _unreadable(file.path, file.compression, error) from None


def open_seekable(file: DataFile) -> Any:
    """Opens a file for reading at any place, as Parquet requires; a compressed file is unpacked in memory."""
    if file.compression is None:
        return pa.OSFile(file.path, "rb")
    excerpt = read_excerpt(file, MOST_UNPACKED_BYTES)
    if not excerpt.whole:
        raise InferenceError(
            f"{file.path} unpacks to more than {MOST_UNPACKED_BYTES // 1_000_000} MB:"
            " use a file that is not compressed as a whole (Parquet compresses internally)"
        )
    return pa.BufferReader(excerpt.data)


def _resolve(path: str) -> tuple[str, list[str]]:
    """A path as the job file names it, and its files."""
    if "://" in path:
        raise InferenceError(f"{path} is not a local file: use a local copy, and then put its address into `paths`")
    if not is_encodable(path):
        raise InferenceError(f"{path!r} cannot be in a job file: its name is not UTF-8")
    if "${" in path:
        raise InferenceError(f"{path} cannot be in a job file: '${{' begins the name of a variable there")
    path = os.path.normpath(path) if path else path
    if os.path.isfile(path):
        return path, [path]
    if os.path.isdir(path):
        raise InferenceError(f"{path} is a directory: name the files in it, for instance '{os.path.join(path, '*')}'")
    try:
        matches = local_matches(path)
    except OSError as error:
        raise InferenceError(f"{path!r} cannot be searched for: {error.filename}: {error.strerror}") from None
    if not matches:
        raise InferenceError(f"{path!r}: there is no such file")
    return path, matches


def _identify(path: str) -> DataFile:
    compression = packing_of(path)
    try:
        with open(path, "rb") as raw:
            head = raw.read(4)
    except OSError as error:
        raise _unreadable(path, None, error) from None
    for packing, (ending, magic) in _PACKINGS.items():
        if head.startswith(magic) and compression != packing:
            raise InferenceError(f"{path} holds {packing} data: rename it to end in {ending}, so that it is unpacked")
        if compression == packing and not head.startswith(magic):
            raise InferenceError(f"{path} ends in {ending} but does not hold {packing} data")
    named = _FORMATS.get(os.path.splitext(bare_name(path))[1])
    file = DataFile(path, compression, named or "csv")
    seen = _format_of(path, read_excerpt(file, _GLANCE).data, named)
    if named is not None and seen != named:
        raise InferenceError(f"{path} is named like {named} but holds {seen}")
    return DataFile(path, compression, seen)


def _format_of(path: str, head: bytes, named: Format | None) -> Format:
    """The format that a file's beginning shows; if that is in doubt, the format of its name."""
    if head.startswith(_PARQUET_MAGIC):
        return "parquet"
    if named == "parquet":
        raise InferenceError(f"{path} is not a Parquet file: it does not begin with PAR1")
    if head.startswith(_UTF_16):
        raise InferenceError(f"{path} is UTF-16 text: convert it to UTF-8")
    if b"\0" in head:
        raise InferenceError(f"{path} holds neither Parquet nor text: its format is unknown")
    first = head.removeprefix(UTF_8_MARK).lstrip().split(b"\n", 1)[0].strip()
    if not named and first.startswith((b"[", b"{")) and not _is_object(first):
        raise InferenceError(f"{path} looks like one JSON document: write one JSON object per line (JSON Lines)")
    if _is_object(first):
        return "jsonl"
    if not named and not any(separator in first for separator in b",;\t|"):
        raise InferenceError(f"{path} is neither Parquet, nor one JSON object per line, nor CSV: its format is unknown")
    return named or "csv"


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _unpacked(raw: Any, compression: str | None) -> Any:
    return raw if compression is None else pa.CompressedInputStream(raw, compression)


def _read(stream: Any, limit: int) -> bytes:
    """Reads until `limit` or the end; a single read of a compressed stream may return less."""
    chunks: list[bytes] = []
    while limit > 0 and (chunk := stream.read(limit)):
        chunks.append(chunk)
        limit -= len(chunk)
    return b"".join(chunks)


def _unreadable(path: str, compression: str | None, error: OSError) -> InferenceError:
    if compression is not None:
        return InferenceError(f"{path} cannot be unpacked: its {compression} data is damaged or cut short")
    return InferenceError(f"{path} cannot be read: {error.strerror or 'the system refuses it'}")

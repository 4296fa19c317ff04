"""Rows of files as the lines to send: text unchanged, Parquet as JSON; and when each row happened."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.collection.files.opening import bare_name, is_url, packing_of
from transforms.collection.files.ranges import open_listed
from transforms.collection.files.stamp import check_named, stamp_of
from transforms.collection.parsing.csv_lines import header_of
from transforms.collection.source_error import reason
from transforms.collection.spec import LONGEST_LINE
from transforms.errors import SourceError
from transforms.record.payload import as_json
from transforms.time.text import read_time_text

BLOCK_BYTES: Final = 1 << 17
BLOCK_ROWS: Final = 4096
_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a file; `header` names the fields of CSV, and is empty for JSON.

    Args:
        unended: the file whose last line, alone in this block, has no newline yet.
    """

    data: bytes
    count: int
    header: tuple[str, ...] = ()
    unended: str | None = None

    def lines(self) -> list[bytes]:
        """The lines, each with its newline."""
        return [line + b"\n" for line in self.data.split(b"\n")[:-1]]

    def after(self, count: int) -> "Block":
        """The block without its first lines."""
        rest = self.lines()[count:]
        return replace(self, data=b"".join(rest), count=len(rest))


@dataclass(frozen=True, slots=True)
class TimeField:
    """Where a row has its time: ISO 8601, or a number in a `unit`."""

    column: str
    unit: str | None = None

    def of(self, block: Block) -> npt.NDArray[np.float64]:
        """The time of each line in seconds since the epoch; NaN where it cannot be read."""
        return np.array([self._seconds(self._fields(line, block).get(self.column)) for line in block.lines()])

    def shifted(self, block: Block, seconds: float) -> Block:
        """The same rows at later times; a line whose event time cannot be read is unchanged."""
        return replace(block, data=b"".join(self._later(line, block, seconds) for line in block.lines()))

    def _fields(self, line: bytes, block: Block) -> dict[str, Any]:
        try:
            if block.header:
                return dict(zip(block.header, _values(line), strict=False))
            fields = json.loads(line)
        except (ValueError, RecursionError, csv.Error):
            return {}
        return fields if isinstance(fields, dict) else {}

    def _seconds(self, value: Any) -> float:
        try:
            if self.unit is not None:
                return float(value) / _PER_SECOND[self.unit]
            return (_moment(value) - _EPOCH).total_seconds()
        except (TypeError, ValueError, OverflowError):
            return np.nan

    def _later(self, line: bytes, block: Block, seconds: float) -> bytes:
        fields = self._fields(line, block)
        value = fields.get(self.column)
        if np.isnan(self._seconds(value)):
            return line
        fields[self.column] = self._moved(value, seconds)
        if not block.header:
            return json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(fields.values())
        return text.getvalue().encode("utf-8", "surrogateescape")

    def _moved(self, value: Any, seconds: float) -> Any:
        if self.unit is None:
            moved = _moment(value) + timedelta(seconds=seconds)
            return moved.isoformat().replace("+00:00", "Z")
        shift = round(seconds * _PER_SECOND[self.unit])
        return str(int(value) + shift) if isinstance(value, str) else value + shift


def read_blocks(path: str) -> Iterator[Block]:
    """The rows of a file, by the ending of its name: `.parquet`, `.csv` or lines; `.gz` and `.zst` are decompressed.

    Raises:
        SourceError: if it cannot be read to its end, or was replaced meanwhile.
    """
    name = bare_name(path)
    is_parquet = name.endswith(".parquet")
    try:
        stamp = stamp_of(path, may_grow=not is_parquet and packing_of(path) is None)
    except (OSError, ValueError, ImportError) as error:
        raise SourceError(f"{path} cannot be read: {reason(error)}") from error
    with open_listed(path, path, stamp) as file:
        yield from _parquet_blocks(file) if is_parquet else _text_blocks(file, path, header=name.endswith(".csv"))
    if is_url(path):
        check_named(path, path, stamp)


def json_lines(rows: pa.RecordBatch) -> bytes:
    """Rows as JSON objects, one per line: the same as `as_json` for each row, made a column at a time.

    >>> json_lines(pa.record_batch({"a": [1, None], "b": ["x", "y"]}))
    b'{"a": 1, "b": "x"}\\n{"a": null, "b": "y"}\\n'
    """
    if not rows.num_columns:
        return b"{}\n" * rows.num_rows
    parts: list[Any] = []
    for index, (name, column) in enumerate(zip(rows.schema.names, rows.columns, strict=True)):
        parts += [f"{', ' if index else '{'}{json.dumps(name, ensure_ascii=False)}: ", _texts(column)]
    lines = pc.binary_join_element_wise(*parts, "}\n", "")
    return b"".join(lines.cast(pa.binary()).to_pylist())


def _texts(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return pc.fill_null(column.cast(pa.string()), "null")
    if pa.types.is_floating(kind):
        finite = pc.is_finite(column)
        if pc.all(pc.or_kleene(finite, pc.is_nan(column)), min_count=0).as_py():
            return pc.fill_null(pc.if_else(finite, column, None).cast(pa.string()), "null")
    try:
        encoded = column.dictionary_encode()
    except pa.ArrowNotImplementedError:
        return pa.array(_values_as_json(column), pa.string())
    return pc.fill_null(pa.array(_values_as_json(encoded.dictionary), pa.string()).take(encoded.indices), "null")


def _values_as_json(values: pa.Array) -> list[str]:
    rows = pa.RecordBatch.from_arrays([values], ["v"])
    return [as_json(rows, row).decode("utf-8")[len('{"v": ') : -1] for row in range(len(values))]


def _parquet_blocks(file: IO[bytes]) -> Iterator[Block]:
    for rows in pq.ParquetFile(file).iter_batches(batch_size=BLOCK_ROWS):
        yield Block(json_lines(rows), rows.num_rows)


def _text_blocks(file: IO[bytes], path: str, *, header: bool) -> Iterator[Block]:
    rest = b""
    names: tuple[str, ...] = ()
    data = file.read(BLOCK_BYTES).removeprefix(_BOM)
    while data:
        cut = data.rfind(b"\n") + 1
        block, rest = (rest + data[:cut], data[cut:]) if cut else (b"", rest + data)
        if len(rest) > LONGEST_LINE:
            raise ValueError(f"a line has more than {LONGEST_LINE:,} bytes")
        if header and block:
            first, _, block = block.partition(b"\n")
            names, header = header_of(first), False
        if block:
            yield Block(block, block.count(b"\n"), names)
        data = file.read(BLOCK_BYTES)
    if rest and not header:
        yield Block(rest + b"\n", 1, names, unended=path)


def _values(line: bytes) -> list[str]:
    return next(csv.reader([line.decode("utf-8", "surrogateescape").rstrip("\r\n")]), [])


def _moment(value: str) -> datetime:
    time = read_time_text(value)
    if time is None:
        raise ValueError(value)
    return _EPOCH + timedelta(microseconds=time.micros)

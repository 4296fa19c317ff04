"""CSV: comma-separated, with a header line and quotes as in RFC 4180; a record is one line.

Arrow splits a block into texts; the value rules turn texts into columns. An empty value, quoted or not, is null for
every type but string. A line is malformed if its number of fields differs from the header's, if it has a quote where
RFC 4180 allows none (inside an unquoted value, or before text after the closing one), if its quotes do not close on
it, or if it has a carriage return outside quotes: Arrow would read those in its own way, or across lines. A line is
also malformed if it lies inside quotes that an earlier line opened.
"""

import csv
import io
from codecs import BOM_UTF8
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from transforms.collection.parsing.csv_quotes import joined, quoted_lines
from transforms.collection.parsing.lines import Lines
from transforms.collection.parsing.parsed import Schema, as_event_time
from transforms.collection.parsing.values import Refusals, from_text
from transforms.specification import repeated

_RETURN, _NEWLINE = b"\r\n"


def header_of(line: bytes) -> tuple[str, ...]:
    """The column names of a header line.

    Raises:
        ValueError: if it is not UTF-8, not CSV, or names a column twice.
    """
    try:
        text = line.decode("utf-8").removeprefix("\ufeff").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("its header line is not UTF-8") from None
    names = _fields(text)
    if names is None or not text:
        raise ValueError("its first line is not a CSV header")
    if doubled := repeated(names):
        raise ValueError(f"its header names {doubled[0]!r} twice")
    return tuple(names)


def parse_csv(
    lines: Lines, schema: Schema, refused: Refusals, header: Sequence[str], *, alone: bool = False
) -> dict[str, pa.Array]:
    """The columns of every line; lines that are not records are added to `refused` and null in every column.

    Args:
        lines: consecutive lines of a file, which begin and end with a record.
        alone: whether the lines are instead independent of each other.
    """
    _refuse_unquotable(lines, refused, alone=alone)
    keep = np.ones(len(lines), bool)
    keep[list(refused)] = False
    rows = np.flatnonzero(keep)
    texts = _cut(lines, rows, header, schema, refused)
    keep[list(refused)] = False
    places = pa.array(np.cumsum(keep) - 1, mask=~keep)
    rows = np.flatnonzero(keep)
    columns = {}
    for name, column in schema.columns.items():
        values = texts[name]
        if column.type != "string":
            values = pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)
        converted = from_text(values, column.type, name, schema.event_time.time_zone)
        for index, why in converted.refused.items():
            refused.setdefault(int(rows[index]), as_event_time(why, name, schema))
        columns[name] = converted.values.take(places)
    return columns


def _refuse_unquotable(lines: Lines, refused: Refusals, *, alone: bool) -> None:
    """Refuses lines that Arrow would not read as they stand; Arrow makes one row of each of the others."""
    octets, starts = lines.octets, lines.offsets[:-1]
    quotes, first, odd, astray = quoted_lines(octets, starts)
    if not alone:
        suspects = np.union1d(np.flatnonzero(odd), astray) if len(quotes) else astray
        places = np.array(list(joined(lines.data, lines.offsets, suspects)), starts.dtype).reshape(-1, 2)
        for first_row, end_row in np.searchsorted(starts, places).tolist():
            for row in range(first_row + 1, end_row):
                refused.setdefault(row, ("malformed", "the line lies inside a quoted value that begins before it"))
    for row in np.flatnonzero(odd).tolist():
        refused.setdefault(row, ("malformed", "a quoted value does not end on its line"))
    for row in astray.tolist():
        refused.setdefault(row, ("malformed", "a quote is inside a value, or text follows a quoted one"))
    returns = np.flatnonzero(octets[:-1] == _RETURN)
    returns = returns[octets[returns + 1] != _NEWLINE]
    rows = np.searchsorted(starts, returns, side="right") - 1
    quoted = (np.searchsorted(quotes, returns) - first[rows]) % 2 == 1
    for row in np.unique(rows[~quoted]).tolist():
        refused.setdefault(row, ("malformed", "a carriage return is outside quotes"))


def _cut(
    lines: Lines, rows: npt.NDArray[np.intp], header: Sequence[str], schema: Schema, refused: Refusals
) -> dict[str, pa.Array]:
    """The wanted fields of `rows` as texts; rows with a wrong number of fields are refused and left out."""
    if len(rows) == len(lines):
        block = lines.data[: len(lines.octets)]
    else:
        block = b"".join(lines.data[lines.offsets[row] : lines.offsets[row + 1]] for row in rows.tolist())
    if block.startswith(BOM_UTF8):
        block = BOM_UTF8 + block  # Arrow drops one at the start of its input, here not a file's start

    def skip(row: arrow_csv.InvalidRow) -> str:
        refused[int(rows[row.number - 1])] = (
            "malformed",
            f"the line has {row.actual_columns} fields; the header names {len(header)}",
        )
        return "skip"

    wanted = [name for name in schema.columns if name in header]
    if not len(rows):
        return {name: pa.array([], pa.string()) for name in schema.columns}
    table = arrow_csv.read_csv(
        pa.BufferReader(block),
        arrow_csv.ReadOptions(use_threads=False, block_size=max(len(block) + 1, 1 << 16), column_names=list(header)),
        arrow_csv.ParseOptions(invalid_row_handler=skip, ignore_empty_lines=False),
        arrow_csv.ConvertOptions(
            include_columns=wanted,
            column_types=dict.fromkeys(wanted, pa.string()),
            strings_can_be_null=False,
            check_utf8=False,
        ),
    )
    return {name: _column(table, name) for name in schema.columns}


def _column(table: pa.Table, name: str) -> pa.Array:
    if name not in table.schema.names:
        return pa.nulls(table.num_rows, pa.string())
    return table[name].combine_chunks()


def _fields(line: str) -> list[str] | None:
    try:
        records = list(csv.reader(io.StringIO(line, newline=""), strict=True))
    except csv.Error:
        return None
    return records[0] if len(records) == 1 else None

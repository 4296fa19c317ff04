"""CSV: comma separated, a header line, quotes as in RFC 4180; a record is one line.

Arrow splits a block into texts; the value rules turn texts into columns. An empty value, quoted or not, is null
for every type but string. A line whose quotes do not close on it, or with another number of fields than the
header, is malformed. Blocks that Arrow cuts differently from their lines are cut by Python's reader.
"""

import csv
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from transforms.collection.json_lines import as_event_time
from transforms.collection.lines import Lines
from transforms.collection.parsed import Schema
from transforms.collection.values import Refusals, from_text

_QUOTE = ord('"')


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
        raise ValueError("its first line is no CSV header")
    doubled = [name for name in names if names.count(name) > 1]
    if doubled:
        raise ValueError(f"its header names {doubled[0]!r} twice")
    return tuple(names)


def parse_csv(lines: Lines, schema: Schema, refused: Refusals, header: Sequence[str]) -> dict[str, pa.Array]:
    """The columns of every line; lines that are no record are added to `refused` and null in every column."""
    _refuse_open_quotes(lines, refused)
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


def _refuse_open_quotes(lines: Lines, refused: Refusals) -> None:
    quotes = lines.octets == _QUOTE
    if quotes.any():
        odd = np.add.reduceat(quotes, lines.offsets[:-1], dtype=np.int64) % 2 == 1
        for row in np.flatnonzero(odd).tolist():
            refused.setdefault(row, ("malformed", "a quoted field does not end on its line"))


def _cut(
    lines: Lines, rows: npt.NDArray[np.intp], header: Sequence[str], schema: Schema, refused: Refusals
) -> dict[str, pa.Array]:
    """The wanted fields of `rows` as texts; rows with another number of fields are refused and left out."""
    if len(rows) == len(lines):
        block = lines.data[: len(lines.octets)]
    else:
        block = b"".join(lines.data[lines.offsets[row] : lines.offsets[row + 1]] for row in rows.tolist())
    wrong: list[int] = []

    def skip(row: arrow_csv.InvalidRow) -> str:
        wrong.append(row.number - 1)
        refused[int(rows[row.number - 1])] = _count(row.actual_columns, len(header))
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
    if table.num_rows + len(wrong) != len(rows):
        for index in wrong:
            refused.pop(int(rows[index]), None)
        return _cut_one_by_one(lines, rows, header, schema, refused)
    return {name: _column(table, name) for name in schema.columns}


def _column(table: pa.Table, name: str) -> pa.Array:
    if name not in table.schema.names:
        return pa.nulls(table.num_rows, pa.string())
    return table[name].combine_chunks()


def _cut_one_by_one(
    lines: Lines, rows: npt.NDArray[np.intp], header: Sequence[str], schema: Schema, refused: Refusals
) -> dict[str, pa.Array]:
    places = {name: header.index(name) for name in schema.columns if name in header}
    texts: dict[str, list[str | None]] = {name: [] for name in schema.columns}
    for row in rows.tolist():
        fields = _fields(lines.payload(row).decode("utf-8").removesuffix("\r"))
        if fields is None or len(fields) != len(header):
            refused[row] = _count(None if fields is None else len(fields), len(header))
            continue
        for name in texts:
            texts[name].append(fields[places[name]] if name in places else None)
    return {name: pa.array(values, pa.string()) for name, values in texts.items()}


def _fields(line: str) -> list[str] | None:
    try:
        records = list(csv.reader(io.StringIO(line, newline=""), strict=True))
    except csv.Error:
        return None
    return records[0] if len(records) == 1 else None


def _count(found: int | None, wanted: int) -> tuple[str, str]:
    if found is None:
        return "malformed", "not CSV: its quotes cannot be read"
    return "malformed", f"the line has {found} fields; the header names {wanted}"

"""JSON lines: compiled code reads them into columns, and the value rules judge what it leaves open."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.arrays import Longs
from transforms.batch import ARROW, filled
from transforms.collection.compiled.columns import (
    BOOL,
    FLOAT64,
    INT64,
    PENDING,
    REMEMBERED,
    SPARE,
    STRING,
    TIMESTAMP,
    Columns,
    Notes,
    Wanted,
)
from transforms.collection.compiled.records import read_records
from transforms.collection.compiled.verdicts import SKIPPED
from transforms.collection.json_refusals import in_words
from transforms.collection.lines import Lines
from transforms.collection.parsed import Rows, Schema, as_event_time
from transforms.collection.scratch import room
from transforms.collection.values import Refusals, event_time_bounds, from_texts
from transforms.engine import query
from transforms.event_time import EARLIEST, LATEST
from transforms.specification import ColumnType

_KINDS: Final = {
    "string": STRING,
    "int64": INT64,
    "float64": FLOAT64,
    "bool": BOOL,
    "timestamp": TIMESTAMP,
}
_SHORTEST_FIELD: Final = len('"":0,')


def read_columns(lines: Lines, schema: Schema, refused: Refusals) -> Rows:
    """The columns of the lines that are records; see `json_lines.parse_json`."""
    data = lines.data if lines.ends_in_newline else lines.data + b"\n"
    verdicts = np.zeros(len(lines), np.uint8)
    verdicts[list(refused)] = SKIPPED
    wanted = _wanted(schema)
    columns, notes = _columns(wanted, lines), _notes(wanted, lines)
    rows = read_records(np.frombuffer(data, np.uint8), lines.offsets, verdicts, wanted, columns, notes)
    bad = np.flatnonzero(verdicts > SKIPPED)
    faults = notes.faults[: len(bad)].tolist()
    refused.update(in_words(bad.tolist(), verdicts[bad].tolist(), faults, lines, schema))
    kept = columns.lines[:rows]
    pending = list(_pending(notes, schema))
    kinds = {name: column.type for name, column in schema.columns.items()}
    for row, why in _judge([one for one in pending if kinds[one.name] != "string"], schema, columns).items():
        refused[int(kept[row])] = why
    values = {name: _array(columns, rows, place, wanted, kind) for place, (name, kind) in enumerate(kinds.items())}
    for one in pending:
        if kinds[one.name] == "string":
            values[one.name] = _patched(values[one.name], one.rows, _as_engine_writes(one.texts))
    return Rows(values, None if rows == len(lines) else kept)


class _Pending(NamedTuple):
    """Texts of a column that the value rules must judge, and their rows."""

    name: str
    place: int
    rows: Longs
    texts: pa.Array


def _wanted(schema: Schema) -> Wanted:
    names = [name.encode() for name in schema.columns]
    kinds = np.array([_KINDS[column.type] for column in schema.columns.values()], np.int64)
    bounds = np.array([_bounds(name, schema) for name in schema.columns], np.int64).reshape(-1, 2)
    return Wanted(
        names=np.frombuffer(b"".join(names), np.uint8),
        name_ends=np.cumsum([len(name) for name in names], dtype=np.int64),
        kinds=kinds,
        is_required=np.array([not column.nullable for column in schema.columns.values()]),
        text_rows=np.cumsum(kinds == STRING) - 1,
        is_strict=schema.strict,
        in_utc=schema.event_time.time_zone == "UTC",
        least=bounds[:, 0],
        most=bounds[:, 1],
    )


def _bounds(name: str, schema: Schema) -> tuple[int, int]:
    """The least and the greatest number that a column of integers or times may have."""
    if schema.columns[name].type == "timestamp":
        return EARLIEST, LATEST - 1
    if name == schema.event_time.column and schema.event_time.unit is not None:
        begin, end = event_time_bounds(schema.event_time.unit)
        return begin, end - 1
    bounds = np.iinfo(np.int64)
    return bounds.min, bounds.max


def _columns(wanted: Wanted, lines: Lines) -> Columns:
    """Room for the columns. `texts` is copied out and used again; the others become the batch."""
    rows, octets = len(lines), len(lines.octets)
    texts = int(np.count_nonzero(wanted.kinds == STRING))
    numbers = np.empty((len(wanted.kinds), rows), np.int64)
    return Columns(
        lines=np.empty(rows, np.int32),
        numbers=numbers,
        floats=numbers.view(np.float64),
        texts=room("texts", (texts, octets), np.uint8),
        text_ends=np.zeros((texts, rows + 1), np.int32),
        used=np.zeros(texts, np.int64),
        is_null=np.zeros((len(wanted.kinds), rows), np.bool_),
        may_have_nulls=np.zeros(len(wanted.kinds), np.bool_),
    )


def _notes(wanted: Wanted, lines: Lines) -> Notes:
    rows, octets, columns = len(lines), len(lines.octets), len(wanted.kinds)
    return Notes(
        pending=room("pending", (min(rows * columns, octets // _SHORTEST_FIELD + 1), 3), np.int64),
        spare=room("spare", (octets,), np.uint8),
        counts=np.zeros(2, np.int64),
        faults=room("faults", (rows, 3), np.int64),
        known=np.zeros((REMEMBERED, 3), np.int64),
        seen_in=np.full(columns, -1),
        nesting=room("nesting", (lines.lengths.max(initial=0),), np.uint8),
    )


def _pending(notes: Notes, schema: Schema) -> Iterator[_Pending]:
    """The texts that compiled code leaves to the value rules."""
    count = notes.counts[PENDING]
    if not count:
        return
    rows, places, ends = notes.pending[:count].T
    offsets = pa.py_buffer(np.concatenate([[0], ends]).astype(np.int32))
    texts = pa.StringArray.from_buffers(count, offsets, pa.py_buffer(notes.spare[: notes.counts[SPARE]]))
    for place, name in enumerate(schema.columns):
        mine = places == place
        if mine.any():
            yield _Pending(name, place, rows[mine], texts.filter(pa.array(mine)))


def _judge(pending: Sequence[_Pending], schema: Schema, columns: Columns) -> Refusals:
    """Makes values of pending texts, by the rules for texts of every format, or says why they are none."""
    kinds = {name: column.type for name, column in schema.columns.items()}
    converted = from_texts({one.name: one.texts for one in pending}, kinds, schema.event_time.time_zone)
    refused: Refusals = {}
    for one in pending:
        values = converted[one.name].values
        if kinds[one.name] == "float64":
            columns.floats[one.place, one.rows] = filled(values)
        else:
            columns.numbers[one.place, one.rows] = filled(values.cast(pa.int64()))
        for index, why in converted[one.name].refused.items():
            refused.setdefault(int(one.rows[index]), as_event_time(why, one.name, schema))
    return refused


def _array(columns: Columns, rows: int, place: int, wanted: Wanted, kind: ColumnType) -> pa.Array:
    """A column as Arrow has it; numbers and times are not copied where nothing is null."""
    has_nulls = columns.may_have_nulls[place] and not wanted.is_required[place]
    is_null = columns.is_null[place, :rows] if has_nulls else None
    if kind == "string":
        text_row = wanted.text_rows[place]
        octets = pa.py_buffer(columns.texts[text_row, : columns.used[text_row]].copy())
        validity = None if is_null is None else pa.py_buffer(np.packbits(~is_null, bitorder="little"))
        return pa.StringArray.from_buffers(rows, pa.py_buffer(columns.text_ends[text_row]), octets, validity)
    numbers = columns.floats[place, :rows] if kind == "float64" else columns.numbers[place, :rows]
    if kind == "bool":
        return pa.array(numbers.astype(np.bool_), mask=is_null)
    return pa.array(numbers, mask=is_null).view(ARROW[kind])


def _as_engine_writes(numbers: pa.Array) -> pa.Array:
    """Numbers for a text column in the form the engine gives them, so that 1.50 is one text in every format."""
    shortest = """SELECT json_transform_strict('{"n":' || t || '}', '{"n":"VARCHAR"}').n AS n FROM texts"""
    return query(shortest, {"texts": pa.table({"t": numbers})})["n"]


def _patched(values: pa.Array, rows: Longs, wanted: pa.Array) -> pa.Array:
    """The column with other values in a few rows."""
    mask = np.zeros(len(values), np.bool_)
    mask[rows] = True
    return pc.replace_with_mask(values, pa.array(mask), wanted)

"""JSON lines: compiled code reads them into columns, and the value rules judge what it leaves undecided."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.collection.parsing.compiled.columns import (
    BOOL,
    FLOAT64,
    INT64,
    PENDING,
    STRING,
    TIMESTAMP,
    USED,
    Columns,
    Notes,
    Wanted,
)
from transforms.collection.parsing.compiled.names import fill_slots
from transforms.collection.parsing.compiled.records import read_records
from transforms.collection.parsing.compiled.texts import gather_texts
from transforms.collection.parsing.compiled.verdicts import SKIPPED
from transforms.collection.parsing.json_refusals import in_words
from transforms.collection.parsing.lines import Lines
from transforms.collection.parsing.parsed import Rows, Schema, as_event_time
from transforms.collection.parsing.scratch import room
from transforms.collection.parsing.values import Refusals, event_time_bounds, from_text
from transforms.process.engine import query
from transforms.record.arrays import Ints, Longs, Octets
from transforms.record.batch import ARROW, filled
from transforms.specification import ColumnType
from transforms.time.event_time import EARLIEST, LATEST

_KINDS: Final = {
    "string": STRING,
    "int64": INT64,
    "float64": FLOAT64,
    "bool": BOOL,
    "timestamp": TIMESTAMP,
}
_SHORTEST_FIELD: Final = len('"":0,')
_OTHER_FIELDS: Final = 256
"""Fields of a record, in addition to twice the number of columns, that are recognised by their place in it."""
_ENTRIES: Final = 1 << 25
"""The most numbers per portion: lines of a few bytes would otherwise need many times the memory of their block."""


def read_columns(lines: Lines, schema: Schema, refused: Refusals) -> Rows:
    """The columns of the lines that are records; see `json_lines.parse_json`."""
    data = lines.data if lines.ends_in_newline else lines.data + b"\n"
    octets, starts = np.frombuffer(data, np.uint8), lines.offsets
    verdicts = np.zeros(len(lines), np.uint8)
    verdicts[list(refused)] = SKIPPED
    rows = max(1, min(len(lines) - len(refused), _ENTRIES // len(schema.columns)))
    wanted = _wanted(schema)
    notes = _notes(wanted, lines, rows)
    parts: list[Rows] = []
    line = 0
    while line < len(lines) or not parts:
        columns = _columns(wanted, rows)
        line, count = read_records(octets, starts, line, verdicts, wanted, columns, notes)
        parts.append(_portion(columns, count, wanted, notes, schema, refused))
        notes.counts[USED] = notes.counts[PENDING] = 0
    bad = np.flatnonzero(verdicts > SKIPPED)
    faults = notes.faults[: len(bad)].tolist()
    refused.update(in_words(bad.tolist(), verdicts[bad].tolist(), faults, lines, schema))
    values = {name: _joined([part.values[name] for part in parts]) for name in schema.columns}
    places = np.concatenate([part.places for part in parts])
    return Rows(values, None if len(places) == len(lines) else places)


def _joined(parts: Sequence[pa.Array]) -> pa.Array:
    return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)


def _portion(columns: Columns, rows: int, wanted: Wanted, notes: Notes, schema: Schema, refused: Refusals) -> Rows:
    """The rows that were read, with pending values judged; rows with an invalid value are added to `refused`."""
    places = columns.lines[:rows]
    kinds = {name: column.type for name, column in schema.columns.items()}
    pending = list(_pending(notes, schema))
    numbers = [one for one in pending if kinds[one.name] != "string"]
    for row, why in _judge(numbers, schema, columns).items():
        refused[int(places[row])] = why
    values = {
        name: _array(columns, rows, place, wanted, notes, kind) for place, (name, kind) in enumerate(kinds.items())
    }
    written = [one for one in pending if kinds[one.name] == "string"]
    for one, texts in zip(written, _as_engine_writes([one.texts for one in written]), strict=True):
        values[one.name] = _patched(values[one.name], one.rows, texts)
    return Rows(values, places)


class _Pending(NamedTuple):
    """Texts of a column that the value rules must judge, and their rows."""

    name: str
    place: int
    rows: Longs
    texts: pa.Array


def _wanted(schema: Schema) -> Wanted:
    names = [name.encode() for name in schema.columns]
    kinds = np.array([_KINDS[column.type] for column in schema.columns.values()], np.int64)
    least, most = np.array([_bounds(name, schema) for name in schema.columns], np.int64).reshape(-1, 2).T.copy()
    octets = np.frombuffer(b"".join(names), np.uint8)
    name_ends = np.cumsum([len(name) for name in names], dtype=np.int64)
    slots = np.full(1 << (2 * len(names)).bit_length(), -1)
    fill_slots(octets, name_ends, slots)
    is_text = kinds == STRING
    return Wanted(
        names=octets,
        name_ends=name_ends,
        slots=slots,
        kinds=kinds,
        is_required=np.array([not column.nullable for column in schema.columns.values()]),
        text_rows=np.where(is_text, np.cumsum(is_text) - 1, -1),
        least=least,
        most=most,
        is_strict=schema.strict,
        in_utc=schema.event_time.time_zone == "UTC",
    )


def _bounds(name: str, schema: Schema) -> tuple[int, int]:
    """The least and the greatest number allowed in a column of integers or times."""
    if schema.columns[name].type == "timestamp":
        return EARLIEST, LATEST - 1
    if name == schema.event_time.column and schema.event_time.unit is not None:
        begin, end = event_time_bounds(schema.event_time.unit)
        return begin, end - 1
    bounds = np.iinfo(np.int64)
    return bounds.min, bounds.max


def _columns(wanted: Wanted, rows: int) -> Columns:
    """Memory for the columns; `numbers` becomes the batch's."""
    texts = int(np.count_nonzero(wanted.text_rows >= 0))
    numbers = np.empty((len(wanted.kinds), rows), np.int64)
    return Columns(
        lines=np.empty(rows, np.int32),
        numbers=numbers,
        floats=numbers.view(np.float64),
        text_begins=room("text begins", (texts, rows), np.int32),
        text_ends=room("text ends", (texts, rows), np.int32),
        is_null=np.zeros((len(wanted.kinds), rows), np.bool_),
        may_have_nulls=np.zeros(len(wanted.kinds), np.bool_),
    )


def _notes(wanted: Wanted, lines: Lines, rows: int) -> Notes:
    octets, columns = len(lines.octets), len(wanted.kinds)
    return Notes(
        texts=room("texts", (octets,), np.uint8),
        pending=room("pending", (min(rows * columns, octets // _SHORTEST_FIELD + 1), 4), np.int64),
        faults=room("faults", (len(lines), 3), np.int64),
        counts=np.zeros(3, np.int64),
        known=np.zeros((2 * columns + _OTHER_FIELDS, 3), np.int64),
        seen_in=np.full(columns, -1),
        nesting=room("nesting", (lines.lengths.max(initial=0),), np.uint8),
    )


def _pending(notes: Notes, schema: Schema) -> Iterator[_Pending]:
    """The texts that compiled code leaves to the value rules."""
    count = notes.counts[PENDING]
    if not count:
        return
    rows, places, *bounds = notes.pending[:count].T
    begins, ends = (bound.astype(np.int32) for bound in bounds)
    order = np.argsort(places, kind="stable")
    of_column = np.split(order, np.cumsum(np.bincount(places, minlength=len(schema.columns)))[:-1])
    for place, (name, mine) in enumerate(zip(schema.columns, of_column, strict=True)):
        if len(mine):
            yield _Pending(name, place, rows[mine], _texts(notes.texts, begins[mine], ends[mine]))


def _texts(octets: Octets, begins: Ints, ends: Ints, validity: pa.Buffer | None = None) -> pa.StringArray:
    """The texts between these places."""
    offsets = np.zeros(len(begins) + 1, np.int32)
    np.cumsum(ends - begins, out=offsets[1:])
    if len(begins) and (begins[1:] == ends[:-1]).all():
        data = octets[begins[0] : ends[-1]].copy()
    else:
        data = np.empty(offsets[-1], np.uint8)
        gather_texts(octets, begins, offsets[1:], data)
    return pa.StringArray.from_buffers(len(begins), pa.py_buffer(offsets), pa.py_buffer(data), validity)


def _judge(pending: Sequence[_Pending], schema: Schema, columns: Columns) -> Refusals:
    """Converts pending texts by the value rules for every format; returns the refusals of the others."""
    refused: Refusals = {}
    for one in pending:
        kind = schema.columns[one.name].type
        converted = from_text(one.texts, kind, one.name, schema.event_time.time_zone)
        if kind == "float64":
            columns.floats[one.place, one.rows] = filled(converted.values)
        else:
            columns.numbers[one.place, one.rows] = filled(converted.values.cast(pa.int64()))
        for index, why in converted.refused.items():
            refused.setdefault(int(one.rows[index]), as_event_time(why, one.name, schema))
    return refused


def _array(columns: Columns, rows: int, place: int, wanted: Wanted, notes: Notes, kind: ColumnType) -> pa.Array:
    """A column as an Arrow array; numbers and times without nulls are not copied."""
    has_nulls = columns.may_have_nulls[place] and not wanted.is_required[place]
    is_null = columns.is_null[place, :rows] if has_nulls else None
    if kind == "string":
        text_row = wanted.text_rows[place]
        validity = None if is_null is None else pa.py_buffer(np.packbits(~is_null, bitorder="little"))
        begins, ends = columns.text_begins[text_row, :rows], columns.text_ends[text_row, :rows]
        return _texts(notes.texts, begins, ends, validity)
    numbers = columns.floats[place, :rows] if kind == "float64" else columns.numbers[place, :rows]
    if kind == "bool":
        return pa.array(numbers.astype(np.bool_), mask=is_null)
    return pa.array(numbers, mask=is_null).view(ARROW[kind])


def _as_engine_writes(numbers: Sequence[pa.Array]) -> list[pa.Array]:
    """Numbers for text columns in the engine's form, so that 1.50 becomes the same text in every format."""
    if not numbers:
        return []
    shortest = """SELECT json_transform_strict('{"n":' || t || '}', '{"n":"VARCHAR"}').n AS n FROM texts"""
    written = query(shortest, {"texts": pa.table({"t": _joined(numbers)})})["n"]
    ends = np.cumsum([len(mine) for mine in numbers])
    return [written[end - len(mine) : end] for mine, end in zip(numbers, ends.tolist(), strict=True)]


def _patched(values: pa.Array, rows: Longs, wanted: pa.Array) -> pa.Array:
    """The column with the values of a few rows replaced."""
    mask = np.zeros(len(values), np.bool_)
    mask[rows] = True
    return pc.replace_with_mask(values, pa.array(mask), wanted)

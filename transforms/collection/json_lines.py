"""JSON lines: one query parses a block; the few lines it is unsure of are read one by one.

The engine's strict transform turns a line into typed columns at 200 ns a row, or into null. What it lets
through that the value rules do not, shows in the result: 1.7 in a column of integers, an infinity, text that
begins with a brace, a comma before the closing brace. Those lines, and those that became null, are suspects,
read again by Python's parser, whose numbers stay text until the value rules have judged them.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.collection.lines import Lines
from transforms.collection.parsed import Schema
from transforms.collection.values import EXACT, Refusals, from_text, refusal, whole
from transforms.dead_letter import shown
from transforms.engine import query

Bools = npt.NDArray[np.bool_]

_SHAPE: Final = {"string": "VARCHAR", "int64": "DOUBLE", "float64": "DOUBLE", "bool": "VARCHAR", "timestamp": "VARCHAR"}
_WIDE: Final = "DECIMAL(38, 18)"
"""Holds every int64 exactly, and a fraction beside it: for blocks with integers that float64 would round."""

_ODD_STARTS: Final = np.frombuffer(b'{[iInN-"', np.uint8)
_NOT_FINITE: Final = pa.array(["inf", "-inf", "infinity", "-infinity", "nan", "-nan", "Infinity", "-Infinity", "NaN"])


def parse_json(lines: Lines, schema: Schema, refused: Refusals) -> dict[str, pa.Array]:
    """The columns of every line; lines that are no record are added to `refused` and null in every column.

    A name that an object has twice counts with its last value, as in JavaScript and Python.

    Args:
        refused: lines that are refused already and must not be looked at, such as invalid UTF-8.
    """
    readable = _readable(lines, refused)
    columns, suspect = _parse_block(readable, schema)
    suspect |= _trailing_commas(lines)
    suspect[list(refused)] = False
    rows = np.flatnonzero(suspect)
    if len(rows):
        patched, bad = _parse_one_by_one([lines.payload(row) for row in rows.tolist()], schema)
        for index, why in bad.items():
            refused[int(rows[index])] = why
        mask = pa.array(suspect)
        columns = {name: pc.replace_with_mask(columns[name], mask, patched[name]) for name in columns}
    return columns


def _readable(lines: Lines, refused: Refusals) -> pa.Array:
    """The lines as text, null where they are refused: the engine must not see bytes that are no UTF-8."""
    if not refused:
        return lines.text
    keep = np.ones(len(lines), bool)
    keep[list(refused)] = False
    places = np.cumsum(keep) - 1
    return lines.text.filter(pa.array(keep)).take(pa.array(places, mask=~keep))


def _parse_block(text: pa.Array, schema: Schema) -> tuple[dict[str, pa.Array], Bools]:
    """The columns of a block of lines, and which lines must be looked at again."""
    integers = [name for name, column in schema.columns.items() if column.type == "int64"]
    records, parsed = _transform(text, schema, _SHAPE["int64"])
    if any(_exceeds(parsed[name]) for name in integers):
        records, parsed = _transform(text, schema, _WIDE)
    suspect = _flags(records.is_null())
    if schema.strict:
        keys = query("SELECT len(json_keys(t)) AS n FROM texts", {"texts": pa.table({"t": text.filter(~suspect)})})
        suspect[np.flatnonzero(~suspect)[_flags(pc.not_equal(keys["n"], len(schema.columns)))]] = True
    columns = {}
    for name, column in schema.columns.items():
        values = parsed[name]
        valid = ~suspect if not values.null_count else ~suspect & _flags(values.is_valid())
        if column.type == "float64":
            suspect |= valid & ~np.isfinite(values.fill_null(0.0).to_numpy())
        elif column.type == "int64":
            values, unsure = _integers(values, valid)
            suspect |= unsure
        else:
            suspect |= valid & _odd_texts(values)
            if column.type != "string":
                values = _typed(values.filter(pa.array(valid)), valid, name, schema, suspect)
        columns[name] = values
    return columns, suspect


def _transform(text: pa.Array, schema: Schema, integer: str) -> tuple[pa.Array, dict[str, pa.Array]]:
    shape = {name: integer if c.type == "int64" else _SHAPE[c.type] for name, c in schema.columns.items()}
    literal = json.dumps(shape, ensure_ascii=False).replace("'", "''")
    sql = f"SELECT try(json_transform_strict(t, '{literal}')) AS r FROM texts"
    records = query(sql, {"texts": pa.table({"t": text})})["r"]
    fields = records.flatten() if records.null_count else [records.field(i) for i in range(records.type.num_fields)]
    return records, dict(zip(schema.columns, fields, strict=True))


def _exceeds(values: pa.Array) -> bool:
    bounds = pc.min_max(values)
    return any(bound.is_valid and abs(bound.as_py()) >= EXACT for bound in bounds.values())


def _integers(values: pa.Array, valid: Bools) -> tuple[pa.Array, Bools]:
    """A column read as DOUBLE or _WIDE as int64, null where that would lose something, and where it would."""
    if pa.types.is_floating(values.type):
        floats = values.fill_null(0.0).to_numpy(zero_copy_only=False)
        good = whole(floats, valid)
        return pa.array(np.where(good, floats, 0.0).astype(np.int64), mask=~(good & valid)), valid & ~good
    result = query(
        """SELECT CASE WHEN d = trunc(d) AND d BETWEEN -9223372036854775808 AND 9223372036854775807
                       THEN d::BIGINT END AS v FROM decimals""",
        {"decimals": pa.table({"d": values})},
    )["v"]
    return result, valid & _flags(result.is_null())


def _odd_texts(values: pa.Array) -> Bools:
    """Texts that may not be what was written: objects, arrays, NaN and infinities; U+0000 by its escape."""
    offsets = np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + len(values) + 1]
    data = values.buffers()[2]
    odd = np.zeros(len(values), bool)
    if data is None or not data.size:
        return odd
    characters = np.frombuffer(data, np.uint8)
    starts = np.minimum(offsets[:-1], len(characters) - 1)
    firsts = np.isin(characters[starts], _ODD_STARTS) & (offsets[1:] > offsets[:-1])
    rows = np.flatnonzero(firsts)
    if len(rows):
        texts = values.take(pa.array(rows))
        nested = pc.or_(pc.starts_with(texts, "{"), pc.starts_with(texts, "["))
        odd[rows] = _flags(pc.or_(nested, pc.is_in(texts, _NOT_FINITE)))
    zeros = np.flatnonzero(characters == 0)
    if len(zeros):
        odd[np.searchsorted(offsets, zeros, side="right") - 1] = True
    return odd


def _typed(texts: pa.Array, valid: Bools, name: str, schema: Schema, suspect: Bools) -> pa.Array:
    """Texts of the valid rows as the column's type; those that cannot become one are marked as suspect."""
    converted = from_text(texts, schema.columns[name].type, name, schema.event_time.time_zone)
    rows = np.flatnonzero(valid)
    suspect[rows[list(converted.refused)]] = True
    places = np.cumsum(valid) - 1
    return converted.values.take(pa.array(places, mask=~valid))


def _trailing_commas(lines: Lines) -> Bools:
    """Lines that may have a comma before their closing brace, which the engine lets pass and JSON does not."""
    data, ends = lines.octets, lines.offsets[1:].astype(np.int64)
    if not len(data):
        return np.zeros(0, bool)
    newline = data[ends - 1] == 10
    brace = ends - 1 - newline
    plain = (brace >= 1) & (data[np.maximum(brace, 0)] == ord("}"))
    before = data[np.maximum(brace - 1, 0)]
    suspect: Bools = plain & (before == ord(","))
    unsure = ~plain | (before <= 32)
    rows = np.flatnonzero(unsure)
    if len(rows):
        spaced = [lines.payload(row).rstrip().removesuffix(b"}").rstrip().endswith(b",") for row in rows.tolist()]
        suspect[rows] = spaced
    return suspect


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


_DECODER: Final = json.JSONDecoder(parse_int=_Number, parse_float=_Number, parse_constant=_Number)
_Texts = dict[str, list[str | None]]


def _parse_one_by_one(payloads: Sequence[bytes], schema: Schema) -> tuple[dict[str, pa.Array], Refusals]:
    """The columns of a few lines, by Python's parser and the value rules, and which of them are no records."""
    texts: _Texts = {name: [None] * len(payloads) for name in schema.columns}
    refused: Refusals = {}
    numbers: list[tuple[str, int, str]] = []
    for row, payload in enumerate(payloads):
        try:
            record = _DECODER.decode(payload.decode("utf-8").strip(" \t\r\n"))
        except RecursionError:
            refused[row] = ("malformed", "not JSON that can be read: nested too deeply")
            continue
        except ValueError as error:
            refused[row] = ("malformed", f"not JSON: {error}")
            continue
        why = _take_fields(record, row, schema, texts, numbers)
        if why is not None:
            refused[row] = why
    for (name, row, _), text in zip(numbers, _as_engine_writes([number for *_, number in numbers]), strict=True):
        texts[name][row] = text
    columns = {}
    for name, column in schema.columns.items():
        converted = from_text(pa.array(texts[name], pa.string()), column.type, name, schema.event_time.time_zone)
        columns[name] = converted.values
        for row, why in converted.refused.items():
            refused.setdefault(row, as_event_time(why, name, schema))
    return columns, refused


def as_event_time(why: tuple[str, str], name: str, schema: Schema) -> tuple[str, str]:
    """The refusal of a value; an event time that is no time has a reason of its own."""
    is_time = name == schema.event_time.column and schema.columns[name].type == "timestamp"
    return ("bad_event_time", why[1]) if is_time else why


def _take_fields(
    record: Any, row: int, schema: Schema, texts: _Texts, numbers: list[tuple[str, int, str]]
) -> tuple[str, str] | None:
    if not isinstance(record, dict):
        return "malformed", f"not a JSON object: {shown(record)}"
    if schema.strict and (unknown := next((name for name in record if name not in schema.columns), None)) is not None:
        return "unknown_field", f"record.columns does not name {shown(unknown)}"
    for name, column in schema.columns.items():
        if name not in record and not column.nullable:
            return "missing_field", f"{name} is missing, and is not {column.type}?"
        value = record.get(name)
        if isinstance(value, dict | list):
            return (
                "wrong_type",
                f"{name}: {'an object' if isinstance(value, dict) else 'an array'} is not {column.type}",
            )
        if isinstance(value, _Number):
            if column.type == "string":
                if value in ("NaN", "Infinity", "-Infinity") or np.isinf(float(value)):
                    return refusal(name, "float64", value, out_of_range=True)
                numbers.append((name, row, value))
            texts[name][row] = str(value)
        elif isinstance(value, bool):
            texts[name][row] = "true" if value else "false"
        elif value is not None:
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                return "malformed", f"{name}: {shown(value)} holds half a surrogate pair"
            texts[name][row] = value
    return None


def _as_engine_writes(numbers: Sequence[str]) -> list[str]:
    """Numbers for a text column in the form the engine gives them, so that 1.50 is one text on every path."""
    if not numbers:
        return []
    wrapped = pa.table({"t": [f'{{"n":{number}}}' for number in numbers]})
    written = query("""SELECT json_transform_strict(t, '{"n":"VARCHAR"}').n AS n FROM texts""", {"texts": wrapped})
    texts: list[str] = written["n"].to_pylist()
    return texts


def _flags(values: pa.Array) -> Bools:
    flags: Bools = values.to_numpy(zero_copy_only=False).copy()
    return flags

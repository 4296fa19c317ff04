"""JSON lines: one query parses a block; the few lines it is unsure of are read one by one.

The engine's strict transform turns lines into typed columns at 190 ns a row, or fails on the first line that is
no complete record; its lenient one turns what it cannot read into null, and then absent fields are told from
failed ones by asking for their types. What either lets through that the value rules do not, shows in the result:
1.7 in a column of integers, an infinity, text that begins with a brace, a comma before the closing brace. All
such lines are suspects, read again by Python's parser, whose numbers stay text until the value rules judge them.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

import duckdb
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

    Of a name that an object has twice, the first counts.

    Args:
        refused: lines that are refused already and must not be looked at, such as invalid UTF-8.
    """
    framed, suspect = _frames(lines)
    columns, unsure = _parse_block(_readable(lines, refused), framed, schema)
    suspect |= unsure
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


def _parse_block(text: pa.Array, framed: Bools, schema: Schema) -> tuple[dict[str, pa.Array], Bools]:
    """The columns of a block of lines, and which lines must be looked at again."""
    parsed, suspect = _fields(text, framed, schema, _SHAPE["int64"])
    if schema.strict:
        keys = query("SELECT len(json_keys(t)) AS n FROM texts", {"texts": pa.table({"t": text.filter(~suspect)})})
        suspect[np.flatnonzero(~suspect)[_flags(pc.not_equal(keys["n"], len(schema.columns)))]] = True
    large, exact = _large_integers(text, framed, schema, parsed)
    columns = {}
    for name, column in schema.columns.items():
        values = parsed[name]
        valid = ~suspect if not values.null_count else ~suspect & _flags(values.is_valid())
        if column.type == "float64":
            suspect |= valid & ~np.isfinite(values.fill_null(0.0).to_numpy())
        elif column.type == "int64":
            values, unsure = _integers(values, valid)
            if name in exact:
                values = pc.replace_with_mask(values, pa.array(large), exact[name])
                unsure[large] = _flags(exact[name].is_null())
            suspect |= unsure & valid
        else:
            suspect |= valid & _odd_texts(values)
            if column.type != "string":
                values = _typed(values.filter(pa.array(valid)), valid, name, schema, suspect)
        columns[name] = values
    return columns, suspect


def _fields(text: pa.Array, framed: Bools, schema: Schema, integer: str) -> tuple[dict[str, pa.Array], Bools]:
    """The fields of every line as the engine reads them, and the lines that it could not read."""
    shape = {name: integer if c.type == "int64" else _SHAPE[c.type] for name, c in schema.columns.items()}
    literal = json.dumps(shape, ensure_ascii=False).replace("'", "''")
    try:
        # Every line of nearly every block is a record with all its fields: one strict pass, and no error to catch.
        records = _transform(f"json_transform_strict(t, '{literal}')", text)
        return _children(records, schema), _flags(records.is_null())
    except duckdb.Error:
        text = text if framed.all() else pc.if_else(pa.array(framed), text, pa.scalar(None, pa.string()))
    try:
        records = _transform(f"json_transform(t, '{literal}')", text)
    except duckdb.Error:
        records = _transform(f"CASE WHEN json_valid(t) THEN json_transform(t, '{literal}') END", text)
    suspect = _flags(records.is_null())
    fields = _children(records, schema)
    suspect |= _failed_casts(text, fields, suspect, schema)
    return fields, suspect


def _failed_casts(text: pa.Array, fields: dict[str, pa.Array], unread: Bools, schema: Schema) -> Bools:
    """Lines with a field that is null though something was written there, or that must not be null."""
    failed = np.zeros(len(text), bool)
    doubtful = np.zeros(len(text), bool)
    optional = [name for name, column in schema.columns.items() if column.nullable and fields[name].null_count]
    for name, column in schema.columns.items():
        if not column.nullable and fields[name].null_count:
            failed |= _flags(fields[name].is_null())
    for name in optional:
        doubtful |= _flags(fields[name].is_null())
    rows = np.flatnonzero(doubtful & ~failed & ~unread)
    if not len(rows):
        return failed
    paths = ", ".join("'/" + name.replace("~", "~0").replace("/", "~1").replace("'", "''") + "'" for name in optional)
    chosen = pa.array(rows)
    types = query(f"SELECT json_type(t, [{paths}]) AS k FROM texts", {"texts": pa.table({"t": text.take(chosen)})})["k"]
    found = types.flatten()
    for index, name in enumerate(optional):
        written = found.take(pa.array(np.arange(len(rows)) * len(optional) + index))
        something = pc.not_equal(written, "NULL").fill_null(False)
        failed[rows] |= _flags(pc.and_(something, fields[name].take(chosen).is_null()))
    return failed


def _transform(expression: str, text: pa.Array) -> pa.Array:
    return query(f"SELECT {expression} AS r FROM texts", {"texts": pa.table({"t": text})})["r"]


def _children(records: pa.Array, schema: Schema) -> dict[str, pa.Array]:
    fields = records.flatten() if records.null_count else [records.field(i) for i in range(records.type.num_fields)]
    return dict(zip(schema.columns, fields, strict=True))


def _integers(floats: pa.Array, valid: Bools) -> tuple[pa.Array, Bools]:
    """A column read as DOUBLE as int64, null where that would lose something, and where it would."""
    plain = floats.fill_null(0.0).to_numpy(zero_copy_only=False)
    good = whole(plain, valid) & valid
    return pa.array(np.where(good, plain, 0.0).astype(np.int64), mask=~good), valid & ~good


def _large_integers(
    text: pa.Array, framed: Bools, schema: Schema, parsed: dict[str, pa.Array]
) -> tuple[Bools, dict[str, pa.Array]]:
    """The lines with an integer that float64 may round, and their columns of integers read exactly.

    Only integers are taken from this reading: beside decimals the engine writes numbers for text in another form.
    """
    integers = [name for name, column in schema.columns.items() if column.type == "int64"]
    large = np.zeros(len(text), bool)
    for name in integers:
        with np.errstate(invalid="ignore"):
            large |= np.abs(parsed[name].fill_null(0.0).to_numpy(zero_copy_only=False)) >= EXACT
    rows = np.flatnonzero(large)
    if not len(rows):
        return large, {}
    fields, _ = _fields(text.take(pa.array(rows)), framed[rows], schema, _WIDE)
    whole_ones = """SELECT CASE WHEN d = trunc(d) AND d BETWEEN -9223372036854775808 AND 9223372036854775807
                           THEN d::BIGINT END AS v FROM decimals"""
    return large, {name: query(whole_ones, {"decimals": pa.table({"d": fields[name]})})["v"] for name in integers}


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


def _frames(lines: Lines) -> tuple[Bools, Bools]:
    """Lines that begin and end in braces, and lines with a comma before the last one.

    The engine lets such a comma pass, and JSON does not; a line without its braces would only slow it down.
    """
    data = lines.octets
    if not len(data):
        return np.zeros(0, bool), np.zeros(0, bool)
    last = np.maximum(lines.offsets[1:] - 2, 1)
    last -= data[last] == ord("\r")
    before = data[last - 1]
    framed = (data[last] == ord("}")) & (data[lines.offsets[:-1]] == ord("{"))
    comma = framed & (before == ord(","))
    spaced = np.flatnonzero(~framed | (before <= 32))
    for row in spaced.tolist():
        payload = lines.payload(row).strip()
        framed[row] = payload.startswith(b"{") and payload.endswith(b"}")
        comma[row] = framed[row] and payload[:-1].rstrip().endswith(b",")
    return framed, comma


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


_DECODER: Final = json.JSONDecoder(
    parse_int=_Number, parse_float=_Number, parse_constant=_Number, object_pairs_hook=_first_wins
)
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
                if value in ("NaN", "Infinity", "-Infinity"):
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

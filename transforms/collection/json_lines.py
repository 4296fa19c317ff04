"""JSON lines: one query parses a block; the few lines it is unsure of are read one by one.

The engine's strict transform turns lines into typed columns at 190 ns a row, or fails on the first line that is
no complete record; its lenient one turns what it cannot read into null, and then absent fields are told from
failed ones by reading them as text. What either lets through that the value rules do not, shows in the result:
1.7 in a column of integers, an infinity, text that begins with a brace, a comma before a closing brace. All
such lines are suspects, read again by Python's parser, whose numbers stay text until the value rules judge them.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.batch import filled
from transforms.collection.lines import Lines, Octets, pieces
from transforms.collection.parsed import Schema
from transforms.collection.values import EXACT, Refusals, from_text, refusal, whole
from transforms.dead_letter import shown
from transforms.engine import query

Bools = npt.NDArray[np.bool_]

_SHAPE: Final = {"string": "VARCHAR", "int64": "DOUBLE", "float64": "DOUBLE", "bool": "VARCHAR", "timestamp": "VARCHAR"}
_WIDE: Final = "DECIMAL(38, 18)"
"""Holds every int64 exactly, and a fraction beside it: for blocks with integers that float64 would round."""

_ODD_STARTS: Final = np.frombuffer(b'{[iInN-"', np.uint8)
_CASE: Final = 0x20
_SPACES: Final = 8
"""How much white space may stand before a closing brace until the line is looked at one by one."""

_NOT_FINITE: Final = pa.array(["inf", "-inf", "infinity", "-infinity", "nan", "-nan"])


def parse_json(lines: Lines, schema: Schema, refused: Refusals) -> dict[str, pa.Array]:
    """The columns of every line; lines that are no record are added to `refused`, and their values mean nothing.

    Of a name that an object has twice, the first counts.

    Args:
        refused: lines that are refused already and must not be looked at, such as invalid UTF-8.
    """
    columns, suspect = _parse_block(_readable(lines, refused), schema)
    suspect |= _trailing_commas(lines)
    suspect[list(refused)] = False
    rows = np.flatnonzero(suspect)
    if len(rows):
        patched, bad = _parse_one_by_one([lines.payload(row) for row in rows.tolist()], schema)
        for index, why in bad.items():
            refused[int(rows[index])] = why
        if len(bad) < len(rows):
            mask = pa.array(suspect)
            columns = {name: pc.replace_with_mask(columns[name], mask, patched[name]) for name in columns}
    return columns


def _readable(lines: Lines, refused: Refusals) -> pa.Array:
    """The lines as text, null where they are refused: the engine must not see bytes that are no UTF-8."""
    if not refused:
        return lines.text
    keep = np.ones(len(lines), bool)
    keep[list(refused)] = False
    return _only(lines.text, keep)


def _only(text: pa.Array, keep: Bools) -> pa.Array:
    """The texts, null where they are not to be kept; nothing is copied."""
    _, offsets, data = text.buffers()
    validity = pa.py_buffer(np.packbits(keep, bitorder="little"))
    return pa.StringArray.from_buffers(len(text), offsets, data, validity)


def _parse_block(text: pa.Array, schema: Schema) -> tuple[dict[str, pa.Array], Bools]:
    """The columns of a block of lines, and which lines must be looked at again."""
    parsed, suspect = _fields(text, schema, _SHAPE["int64"])
    if schema.strict:
        suspect |= _unknown_fields(text, parsed, suspect, schema)
    large = _large_integers(text, schema, parsed)
    columns = {}
    for name, column in schema.columns.items():
        values = parsed[name]
        valid = ~suspect if not values.null_count else ~suspect & _flags(values.is_valid())
        if column.type == "float64":
            suspect |= valid & ~np.isfinite(filled(values))
        elif column.type == "int64":
            values, unsure = _integers(values, valid)
            if name in large:
                rounded, exact = large[name]
                values = pc.replace_with_mask(values, pa.array(rounded), exact)
                unsure[rounded] = _flags(exact.is_null())
            suspect |= unsure & valid
        else:
            suspect |= valid & _odd_texts(values)
            if column.type != "string":
                values = _typed(values.filter(pa.array(valid)), valid, name, schema, suspect)
        columns[name] = values
    return columns, suspect


def _fields(text: pa.Array, schema: Schema, integer: str) -> tuple[dict[str, pa.Array], Bools]:
    """The fields of every line as the engine reads them, and the lines that it could not read."""
    shape = {name: integer if c.type == "int64" else _SHAPE[c.type] for name, c in schema.columns.items()}
    literal = _literal(shape)
    try:
        # Every line of nearly every block is a record with all its fields: one strict pass, and no error to catch.
        records = _transform(f"json_transform_strict(t, {literal})", text)
        return _children(records, schema), _flags(records.is_null())
    except duckdb.Error:
        text = _only(text, _framed(text) & _flags(text.is_valid()))
    try:
        records = _transform(f"json_transform(t, {literal})", text)
    except duckdb.Error:
        records = _transform(f"CASE WHEN json_valid(t) THEN json_transform(t, {literal}) END", text)
    suspect = _flags(records.is_null())
    fields = _children(records, schema)
    suspect |= _failed_casts(text, fields, suspect, schema)
    return fields, suspect


def _failed_casts(text: pa.Array, fields: dict[str, pa.Array], unread: Bools, schema: Schema) -> Bools:
    """Lines with a field that is null though something was written there, or that must not be null."""
    failed, doubtful = np.zeros((2, len(text)), bool)
    incomplete = [name for name in fields if fields[name].null_count]
    for name in incomplete:
        if not schema.columns[name].nullable:
            failed |= _flags(fields[name].is_null())
    # What is read as text is null only where nothing, or null, was written.
    optional = {name: column.type for name, column in schema.columns.items() if column.nullable}
    casts = [name for name in incomplete if _SHAPE[optional.get(name, "string")] != "VARCHAR"]
    for name in casts:
        doubtful |= _flags(fields[name].is_null())
    rows = np.flatnonzero(doubtful & ~failed & ~unread)
    if len(rows):
        chosen = pa.array(rows)
        literal = _literal(dict.fromkeys(casts, "VARCHAR"))
        written = _transform(f"json_transform(t, {literal})", text.take(chosen))
        for name in casts:
            failed[rows] |= _flags(pc.and_(written.field(name).is_valid(), fields[name].take(chosen).is_null()))
    return failed


def _unknown_fields(text: pa.Array, fields: dict[str, pa.Array], unread: Bools, schema: Schema) -> Bools:
    """Lines with a field that is none of the columns."""
    doubtful = np.zeros(len(text), bool)
    for values in fields.values():
        doubtful |= _flags(values.is_null())
    read = text.filter(pa.array(~unread))
    doubtful[~unread] |= _flags(pc.not_equal(_transform("len(json_keys(t))", read), len(fields)))
    unknown = doubtful & ~unread
    if unknown.any():
        names = ", ".join("'" + name.replace("'", "''") + "'" for name in fields)
        unknown[unknown] = ~_flags(_transform(f"list_has_all([{names}], json_keys(t))", text.filter(pa.array(unknown))))
    return unknown


def _literal(shape: dict[str, str]) -> str:
    return "'" + json.dumps(shape, ensure_ascii=False).replace("'", "''") + "'"


def _transform(expression: str, text: pa.Array) -> pa.Array:
    return query(f"SELECT {expression} AS r FROM texts", {"texts": pa.table({"t": text})})["r"]


def _children(records: pa.Array, schema: Schema) -> dict[str, pa.Array]:
    return {name: records.field(i) for i, name in enumerate(schema.columns)}


def _integers(floats: pa.Array, valid: Bools) -> tuple[pa.Array, Bools]:
    """A column read as DOUBLE as int64, null where that would lose something, and where it would."""
    plain = filled(floats)
    good = whole(plain, valid) & valid
    return pa.array(np.where(good, plain, 0.0).astype(np.int64), mask=~good), valid & ~good


def _large_integers(text: pa.Array, schema: Schema, parsed: dict[str, pa.Array]) -> dict[str, tuple[Bools, pa.Array]]:
    """By column: the lines with an integer that float64 may round, and what it is exactly, null if no int64.

    Only these are taken from this reading: beside decimals the engine writes numbers for text in another form.
    """
    large = {}
    for name in (name for name, column in schema.columns.items() if column.type == "int64"):
        with np.errstate(invalid="ignore"):
            plain = filled(parsed[name])
            if len(plain) and max(plain.max(), -plain.min()) >= EXACT:
                large[name] = np.abs(plain) >= EXACT
    if not large:
        return {}
    rows = np.flatnonzero(np.logical_or.reduce(list(large.values())))
    fields, _ = _fields(text.take(pa.array(rows)), schema, _WIDE)
    whole_ones = """SELECT CASE WHEN d = trunc(d) AND d BETWEEN -9223372036854775808 AND 9223372036854775807
                           THEN d::BIGINT END AS v FROM decimals"""
    exact = {name: query(whole_ones, {"decimals": pa.table({"d": fields[name]})})["v"] for name in large}
    return {name: (exceeds, exact[name].filter(pa.array(exceeds[rows]))) for name, exceeds in large.items()}


def _odd_texts(values: pa.Array) -> Bools:
    """Texts that may not be what was written: objects, arrays, NaN and infinities; U+0000 by its escape."""
    offsets = np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + len(values) + 1]
    data = values.buffers()[2]
    odd = np.zeros(len(values), bool)
    if not len(values) or data is None or not data.size:
        return odd
    characters = np.frombuffer(data, np.uint8)
    starts = np.minimum(offsets[:-1], len(characters) - 1)
    firsts = np.isin(characters[starts], _ODD_STARTS) & (offsets[1:] > offsets[:-1])
    rows = np.flatnonzero(firsts)
    if len(rows):
        texts = values.take(pa.array(rows))
        nested = pc.or_(pc.starts_with(texts, "{"), pc.starts_with(texts, "["))
        odd[rows] = _flags(pc.or_(nested, pc.is_in(pc.ascii_lower(texts), _NOT_FINITE)))
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


def _framed(text: pa.Array) -> Bools:
    """Lines that begin and end in braces; others are no records, and would only slow the engine down."""
    _, ends, data = text.buffers()
    offsets = np.frombuffer(ends, np.int32)[text.offset : text.offset + len(text) + 1]
    if data is None or not data.size:
        return np.zeros(len(text), bool)
    octets = np.frombuffer(data, np.uint8)
    last = np.maximum(offsets[1:] - 1, 0)
    for ending in (ord("\n"), ord("\r")):
        last -= (octets[last] == ending) & (last > 0)
    first = np.minimum(offsets[:-1], len(octets) - 1)
    framed: Bools = (octets[last] == ord("}")) & (octets[first] == ord("{")) & (offsets[1:] > offsets[:-1])
    rows = np.flatnonzero(~framed)
    for row, line in zip(rows.tolist(), text.take(pa.array(rows)).to_pylist(), strict=True):
        line = (line or "").strip()
        framed[row] = line.startswith("{") and line.endswith("}")
    return framed


def _trailing_commas(lines: Lines) -> Bools:
    """Lines that may have a comma before a closing brace or bracket, which the engine lets pass and JSON does not."""
    suspect = np.zeros(len(lines), bool)
    for start, piece in pieces(lines.octets, overlap=1):
        closes = (piece[1:] | _CASE) == ord("}")  # the bit in which } and ] differ
        commas = closes & (piece[:-1] == ord(","))
        spaces = closes & (piece[:-1] <= ord(" "))
        if commas.any() or spaces.any():
            places = start + np.flatnonzero(commas | _after_comma(lines.octets, start, spaces))
            suspect[np.searchsorted(lines.offsets, places, side="right") - 1] = True
    return suspect


def _after_comma(octets: Octets, start: int, spaces: Bools) -> Bools:
    """Of the white space before closing braces, which follows a comma, or more white space than is looked through."""
    places = np.flatnonzero(spaces)
    before = places + start
    left = octets[before]
    for _ in range(_SPACES):
        spaced = np.flatnonzero(left <= ord(" "))
        if not len(spaced):
            break
        before[spaced] = np.maximum(before[spaced] - 1, 0)
        left[spaced] = octets[before[spaced]]
    followed = spaces.copy()
    followed[places] = (left == ord(",")) | (left <= ord(" "))
    return followed


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


_DECODER: Final = json.JSONDecoder(
    parse_int=_Number, parse_float=_Number, parse_constant=_Number, object_pairs_hook=_first_wins
)
_STRINGS_AND_OTHERS: Final = re.compile(r'("(?:[^"\\]|\\.)*")|-?\b(?:nan|inf(?:inity)?)\b', re.IGNORECASE)
_Texts = dict[str, list[str | None]]


def _decoded(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except ValueError:
        # The engine knows NaN and infinities by more spellings than Python.
        respelt = _STRINGS_AND_OTHERS.sub(lambda found: found[1] or "NaN", text)
        if respelt == text:
            raise
        return _DECODER.decode(respelt)


def _parse_one_by_one(payloads: Sequence[bytes], schema: Schema) -> tuple[dict[str, pa.Array], Refusals]:
    """The columns of a few lines, by Python's parser and the value rules, and which of them are no records."""
    texts: _Texts = {name: [None] * len(payloads) for name in schema.columns}
    refused: Refusals = {}
    numbers: list[tuple[str, int, str]] = []
    for row, payload in enumerate(payloads):
        try:
            record = _decoded(payload.decode("utf-8").strip(" \t\r\n"))
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

"""JSON lines: one query parses a block; the few lines it is unsure of are read one by one.

The engine's strict transform turns lines into typed columns at 190 ns a row, or fails on the first line that is
no complete record; its lenient one turns what it cannot read into null, and then absent fields are told from
failed ones by reading them as text. What either lets through that the value rules do not, shows in the result:
1.7 in a column of integers, an infinity, text that begins with a brace, a comma before a closing brace. All
such lines are suspects, read again by Python's parser, whose numbers stay text until the value rules judge them.
"""

import json
from typing import Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.batch import filled
from transforms.collection.json_records import SPACE, in_braces, parse_one_by_one
from transforms.collection.lines import Lines, Octets, pieces
from transforms.collection.parsed import Schema
from transforms.collection.values import EXACT, Bools, Refusals, from_text, whole
from transforms.engine import query

_SHAPE: Final = {"string": "VARCHAR", "int64": "DOUBLE", "float64": "DOUBLE", "bool": "VARCHAR", "timestamp": "VARCHAR"}
_WIDE: Final = "DECIMAL(38, 18)"
"""Holds every int64 exactly, and a fraction beside it: for blocks with integers that float64 would round."""

_ODD_STARTS: Final = np.frombuffer(b'{[iInN-"', np.uint8)
_CASE: Final = 0x20
_SPACES: Final = 8
"""How much white space may stand before a closing brace until the line is looked at one by one."""

_FEW: Final = 500
"""Lines that are sooner read one by one than by another query."""

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
        patched, bad = parse_one_by_one([lines.payload(row) for row in rows.tolist()], schema)
        for index, why in bad.items():
            refused[int(rows[index])] = why
        fine = np.array([index for index in range(len(rows)) if index not in bad], np.int64)
        columns = {name: _patched(columns[name], rows[fine], patched[name].take(pa.array(fine))) for name in columns}
    return columns


def _patched(values: pa.Array, rows: npt.NDArray[np.intp], wanted: pa.Array) -> pa.Array:
    """The column with other values in a few rows; mostly these are there already."""
    if not len(rows) or values.take(pa.array(rows)).equals(wanted):
        return values
    mask = np.zeros(len(values), bool)
    mask[rows] = True
    return pc.replace_with_mask(values, pa.array(mask), wanted)


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
    large = _large_integers(text, schema, parsed, suspect)
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


def _large_integers(
    text: pa.Array, schema: Schema, parsed: dict[str, pa.Array], suspect: Bools
) -> dict[str, tuple[Bools, pa.Array]]:
    """By column: the lines with an integer that float64 may round, and what it is exactly, null if no int64.

    Only these are taken from this reading: beside decimals the engine writes numbers for text in another form.
    Where they are few, they are suspects instead.
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
    if len(rows) < _FEW:
        suspect[rows] = True
        return {}
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
    last = octets[np.maximum(offsets[1:] - 2, 0)]  # a newline ends every line but perhaps the last
    if (returns := last == ord("\r")).any():
        last = np.where(returns, octets[np.maximum(offsets[1:] - 3, 0)], last)
    framed: Bools = (last == ord("}")) & (octets[np.minimum(offsets[:-1], len(octets) - 1)] == ord("{"))
    rows = np.flatnonzero(~framed)
    for row, line in zip(rows.tolist(), text.take(pa.array(rows)).to_pylist(), strict=True):
        framed[row] = in_braces((line or "").strip(SPACE))
    return framed


def _trailing_commas(lines: Lines) -> Bools:
    """Lines that may have a comma before a closing brace or bracket, which the engine lets pass and JSON does not."""
    suspect = np.zeros(len(lines), bool)
    for start, piece in pieces(lines.octets, overlap=1):
        before = piece[:-1]
        odd = (piece[1:] | _CASE) == ord("}")  # the bit in which } and ] differ
        odd &= (before == ord(",")) | (before <= ord(" "))
        if odd.any():
            spaces = odd & (before <= ord(" "))
            places = start + np.flatnonzero((odd & ~spaces) | _after_comma(lines.octets, start, spaces))
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


def _flags(values: pa.Array) -> Bools:
    flags: Bools = values.to_numpy(zero_copy_only=False).copy()
    return flags

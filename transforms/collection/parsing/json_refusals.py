"""The reasons, in words, for which compiled code refuses a line of JSON."""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from transforms.collection.parsing.compiled import verdicts
from transforms.collection.parsing.lines import Lines
from transforms.collection.parsing.parsed import Schema, as_event_time
from transforms.collection.parsing.values import Refusals, Why, missing, outside_of_time, refusal
from transforms.collection.spec import Column
from transforms.record.dead_letter import shown

_QUOTED: Final = 400
"""Octets of an unreadable value that are examined; a detail quotes fewer."""


def in_words(
    rows: Sequence[int], found: Sequence[int], faults: Sequence[Sequence[int]], lines: Lines, schema: Schema
) -> Refusals:
    """Reason and detail of each refused line, by its verdict and its entry in `columns.Notes.faults`."""
    columns = list(schema.columns.items())
    refused: Refusals = {}
    for row, verdict, (place, begin, end) in zip(rows, found, faults, strict=True):
        if verdict == verdicts.NO_OBJECT:
            refused[row] = "malformed", f"not a JSON object: {_rest(lines, row, begin)}"
        elif verdict == verdicts.NO_JSON:
            at, rest = begin - lines.offsets.item(row), _rest(lines, row, begin)
            refused[row] = "malformed", f"not JSON at byte {at}: {rest or 'the line ends too early'}"
        elif verdict == verdicts.MISSING:
            name, column = columns[place]
            refused[row] = missing(name, column.type)
        elif verdict == verdicts.UNKNOWN:
            refused[row] = "unknown_field", f"record.columns does not name {shown(json.loads(lines.data[begin:end]))}"
        else:
            refused[row] = _value_refused(verdict, lines.data[begin:end], *columns[place], schema)
    return refused


def _rest(lines: Lines, row: int, begin: int) -> str:
    """The part of a line that cannot be read, quoted; empty if that is only its end."""
    end = min(lines.offsets.item(row + 1), begin + _QUOTED)
    rest = lines.data[begin:end].decode("utf-8", "replace").strip()
    return shown(rest) if rest else ""


def _value_refused(verdict: int, written: bytes, name: str, column: Column, schema: Schema) -> Why:
    """The reason for which a value does not fit its column."""
    if verdict == verdicts.NESTED:
        return "wrong_type", f"{name}: {'an object' if written.startswith(b'{') else 'an array'} is not {column.type}"
    value = json.loads(written) if written.startswith(b'"') else written.decode()
    if verdict == verdicts.BEYOND:
        return outside_of_time(name, int(Decimal(value)))
    if verdict == verdicts.WRONG:
        return as_event_time(refusal(name, column.type, value, out_of_range=False), name, schema)
    if verdict == verdicts.HALF_PAIR:
        return "malformed", f"{name}: {shown(value)} holds half a surrogate pair"
    if verdict == verdicts.NO_NUMBER and column.type == "string":
        return refusal(name, "float64", value, out_of_range=True)
    return refusal(name, column.type, value, out_of_range=True)

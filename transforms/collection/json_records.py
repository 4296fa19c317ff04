"""JSON records one by one: what the engine is unsure of, by Python's parser, whose numbers stay text until the
value rules judge them.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from transforms.collection.parsed import Schema, as_event_time
from transforms.collection.values import Refusals, from_texts, refusal
from transforms.dead_letter import shown
from transforms.engine import query


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


_DECODER: Final = json.JSONDecoder(
    parse_int=_Number, parse_float=_Number, parse_constant=_Number, object_pairs_hook=_first_wins
)
_STRINGS_AND_OTHERS: Final = re.compile(r'("(?:[^"\\]|\\.)*")|-?\b(?:nan|inf(?:inity)?)\b', re.IGNORECASE)
SPACE: Final = " \t\r\n"
"""What JSON takes for white space."""

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


def in_braces(text: str) -> bool:
    """Whether a text, without the white space of JSON around it, can be an object."""
    return text.startswith("{") and text.endswith("}")


def parse_one_by_one(payloads: Sequence[bytes], schema: Schema) -> tuple[dict[str, pa.Array], Refusals]:
    """The columns of a few lines, by Python's parser and the value rules, and which of them are no records."""
    texts: _Texts = {name: [None] * len(payloads) for name in schema.columns}
    refused: Refusals = {}
    numbers: list[tuple[str, int, str]] = []
    for row, payload in enumerate(payloads):
        text = payload.decode("utf-8").strip(SPACE)
        if not in_braces(text):
            refused[row] = ("malformed", f"not a JSON object: {shown(text)}")
            continue
        try:
            record = _decoded(text)
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
    kinds = {name: column.type for name, column in schema.columns.items()}
    converted = from_texts(
        {name: pa.array(values, pa.string()) for name, values in texts.items()}, kinds, schema.event_time.time_zone
    )
    for name in schema.columns:
        for row, why in converted[name].refused.items():
            refused.setdefault(row, as_event_time(why, name, schema))
    return {name: column.values for name, column in converted.items()}, refused


def _take_fields(
    record: Any, row: int, schema: Schema, texts: _Texts, numbers: list[tuple[str, int, str]]
) -> tuple[str, str] | None:
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

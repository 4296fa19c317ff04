"""The documented rules for a JSON line, once more and slowly: by Python's json and `value_rules`."""

import json
import math
import re
from typing import Any

from tests.transforms.collection.parsing.value_rules import Refused, value_of
from transforms.collection.parsing.parsed import Schema


class Token(str):
    """A number as it is written."""


def record_of(line: bytes, schema: Schema) -> tuple[dict[str, Any] | None, set[str]]:
    """The values of a good line and no reason, or None and every reason for which it may be refused."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return None, {"invalid_utf8"}
    try:
        record = json.loads(
            text.strip(" \t\r\n"),
            parse_int=Token,
            parse_float=Token,
            parse_constant=Token,
            object_pairs_hook=lambda pairs: dict(reversed(pairs)),
        )
    except ValueError:
        return None, {"malformed"}
    if not isinstance(record, dict):
        return None, {"malformed"}
    values, why = {}, set()
    if schema.strict and record.keys() - schema.columns.keys():
        why.add("unknown_field")
    for name, column in schema.columns.items():
        try:
            values[name] = _value(record.get(name), column.type)
        except Refused as refused:
            why.add(str(refused))
            continue
        if values[name] is None and not column.nullable:
            why.add("missing_field")
    return (None, why) if why else (values, set())


def _value(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if isinstance(value, dict | list):
        raise Refused("wrong_type")
    if isinstance(value, str) and not isinstance(value, Token):
        _refuse_half_characters(value)
    if kind == "string":
        return _text(value)
    if kind == "timestamp" and isinstance(value, Token | bool):
        raise Refused("wrong_type")
    return value_of(_text(value) if isinstance(value, bool) else str(value), kind)


def _refuse_half_characters(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Refused("malformed") from None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Token):
        if "N" in value or "I" in value:
            raise Refused("out_of_range")
        if re.fullmatch("-?[0-9]+", value):
            return str(int(value))
        return repr(float(value)) if math.isfinite(float(value)) else str(value)
    if "\0" in value:
        raise Refused("out_of_range")
    return str(value)

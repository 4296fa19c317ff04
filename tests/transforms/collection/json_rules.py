"""The documented rules for a JSON line, once more and slowly: by Python's json, Decimal and float."""

import json
import math
import re
from decimal import Decimal
from typing import Any

from tests.transforms.collection.outcome import instant
from transforms.collection.parsed import Schema

NUMBER = re.compile(r"[ \t\r\n]*[+-]?[0-9][0-9.]*([eE][+-]?[0-9]+)?[ \t\r\n]*")
TIMES = {
    "2013-01-01T05:00:00Z": instant("2013-01-01T05:00:00Z"),
    "2013-01-01 05:00:00.123456+02:00": instant("2013-01-01T03:00:00.123456Z"),
    "2013-01-01": instant("2013-01-01T00:00:00Z"),
}
FAR_TIMES = frozenset({"10000-01-01", "0001-01-01T00:00:00Z"})


class Token(str):
    """A number as it is written."""


class Refused(Exception):
    """A value that its column does not take, and why."""


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
    if kind == "timestamp":
        return _time(value)
    return _number(value, kind)


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


def _time(value: Any) -> Any:
    if value in FAR_TIMES and not isinstance(value, Token):
        raise Refused("out_of_range")
    if value not in TIMES:
        raise Refused("wrong_type")
    return TIMES[value]


def _number(value: Any, kind: str) -> Any:
    number = _as_float(value)
    if kind == "float64":
        if not math.isfinite(number):
            raise Refused("out_of_range")
        return number
    if kind == "bool":
        if not math.isfinite(number):
            raise Refused("out_of_range")
        if number not in (0, 1):
            raise Refused("wrong_type")
        return number == 1
    if not math.isfinite(number):
        raise Refused("out_of_range")
    if abs(number) < 2**53:
        if not number.is_integer():
            raise Refused("wrong_type")
        return int(number)
    exact = Decimal(value.strip())
    if not -(2**63) <= exact < 2**63:
        raise Refused("out_of_range")
    if exact != int(exact):
        raise Refused("wrong_type")
    return int(exact)


def _as_float(value: Any) -> float:
    if isinstance(value, bool) or str(value).lower() in ("true", "false"):
        return float(str(value).lower() == "true")
    if value.strip().lower() in ("nan", "inf", "-inf", "infinity", "-infinity") or NUMBER.fullmatch(value):
        try:
            return float(value)
        except ValueError:
            pass
    raise Refused("wrong_type")

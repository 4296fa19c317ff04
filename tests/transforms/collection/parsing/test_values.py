"""One table of values, read from JSON lines, CSV and Parquet alike."""

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.transforms.collection.outcome import TIME, column, dead, good, instant, parse, read, reasons, schema_of

WRONG: Final = "! wrong_type"
BEYOND: Final = "! out_of_range"
MIDNIGHT: Final = instant("2013-01-01T00:00:00Z")
FIVE: Final = instant("2013-01-01T05:00:00Z")
TYPES: Final = ("string", "int64", "float64", "bool", "timestamp")


@dataclass(frozen=True)
class Case:
    """A value as each format writes it, and what it becomes in a column of each of TYPES; None: cannot be written."""

    json: str | None
    csv: str | None
    parquet: pa.Array | None
    becomes: tuple[Any, Any, Any, Any, Any]


def number(text: str, *becomes: Any, parquet: Any = None) -> Case:
    values = None if parquet is None else parquet if isinstance(parquet, pa.Array) else pa.array([parquet])
    return Case(text, text, values, becomes)


def text(value: str, *becomes: Any) -> Case:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("\0", "\\u0000")
    return Case(f'"{quoted}"', '"' + value.replace('"', '""') + '"', pa.array([value]), (value, *becomes))


CASES: Final = {
    "5": number("5", "5", 5, 5.0, WRONG, WRONG, parquet=5),
    "1": number("1", "1", 1, 1.0, True, WRONG, parquet=1),
    "0": number("0", "0", 0, 0.0, False, WRONG, parquet=0),
    "-7": number("-7", "-7", -7, -7.0, WRONG, WRONG, parquet=-7),
    "1.0": number("1.0", "1.0", 1, 1.0, True, WRONG, parquet=1.0),
    "0.0": number("0.0", "0.0", 0, 0.0, False, WRONG, parquet=0.0),
    "1.7": number("1.7", "1.7", WRONG, 1.7, WRONG, WRONG, parquet=1.7),
    "1e-07": number("1e-07", "1e-07", WRONG, 1e-7, WRONG, WRONG, parquet=1e-7),
    "1e+16": number("1e+16", "1e+16", 10**16, 1e16, WRONG, WRONG, parquet=1e16),
    "1e+30": number("1e+30", "1e+30", BEYOND, 1e30, WRONG, WRONG, parquet=1e30),
    "1e999": number("1e999", "1e999", BEYOND, BEYOND, BEYOND, WRONG),
    "2^53+1": number(*["9007199254740993"] * 2, 2**53 + 1, 2.0**53, WRONG, WRONG, parquet=2**53 + 1),
    "greatest": number(*[str(2**63 - 1)] * 2, 2**63 - 1, 2.0**63, WRONG, WRONG, parquet=2**63 - 1),
    "least": number(*[str(-(2**63))] * 2, -(2**63), -(2.0**63), WRONG, WRONG, parquet=-(2**63)),
    "2^63": number(*[str(2**63)] * 2, BEYOND, 2.0**63, WRONG, WRONG, parquet=pa.array([2**63], pa.uint64())),
    "-2^63-1": number(*[str(-(2**63) - 1)] * 2, BEYOND, -(2.0**63), WRONG, WRONG),
    "true": number("true", "true", 1, 1.0, True, WRONG, parquet=True),
    "false": number("false", "false", 0, 0.0, False, WRONG, parquet=False),
    "NaN": Case("NaN", None, None, (BEYOND, BEYOND, BEYOND, BEYOND, WRONG)),
    "NaN in Parquet": Case(None, None, pa.array([float("nan")]), (None, None, None, None, None)),
    "Infinity": Case("Infinity", None, pa.array([float("inf")]), (BEYOND, BEYOND, BEYOND, BEYOND, WRONG)),
    "-Infinity": Case("-Infinity", None, pa.array([float("-inf")]), (BEYOND, BEYOND, BEYOND, BEYOND, WRONG)),
    "null": Case("null", None, pa.nulls(1), (None, None, None, None, None)),
    "empty in CSV": Case(None, "", None, ("", None, None, None, None)),
    "quoted empty in CSV": Case(None, '""', None, ("", None, None, None, None)),
    "text ''": Case('""', None, pa.array([""]), ("", WRONG, WRONG, WRONG, WRONG)),
    "text 12": text("12", 12, 12.0, WRONG, WRONG),
    "text 1.0": text("1.0", 1, 1.0, True, WRONG),
    "text 1.7": text("1.7", WRONG, 1.7, WRONG, WRONG),
    "text 1e3": text("1e3", 1000, 1000.0, WRONG, WRONG),
    "text 1e999": text("1e999", BEYOND, BEYOND, BEYOND, WRONG),
    "text 2^53+1": text("9007199254740993", 2**53 + 1, 2.0**53, WRONG, WRONG),
    "text true": text("true", 1, 1.0, True, WRONG),
    "text FALSE": text("FALSE", 0, 0.0, False, WRONG),
    "text yes": text("yes", WRONG, WRONG, WRONG, WRONG),
    "text soon": text("soon", WRONG, WRONG, WRONG, WRONG),
    "text NaN": text("NaN", BEYOND, BEYOND, BEYOND, WRONG),
    "text -inf": text("-inf", BEYOND, BEYOND, BEYOND, WRONG),
    "text 12x": text("12x", WRONG, WRONG, WRONG, WRONG),
    "text 0x10": text("0x10", WRONG, WRONG, WRONG, WRONG),
    "fullwidth digits": text("１２", WRONG, WRONG, WRONG, WRONG),
    "quotes and commas": text('a "b", c', WRONG, WRONG, WRONG, WRONG),
    "braces in a text": text('{"a":1}', WRONG, WRONG, WRONG, WRONG),
    "brackets in a text": text("[1,2]", WRONG, WRONG, WRONG, WRONG),
    "unicode": text("é😀\u2028", WRONG, WRONG, WRONG, WRONG),
    "zulu": text("2013-01-01T05:00:00Z", WRONG, WRONG, WRONG, FIVE),
    "offset": text("2013-01-01T07:30:00+02:30", WRONG, WRONG, WRONG, FIVE),
    "naive": text("2013-01-01 05:00:00", WRONG, WRONG, WRONG, FIVE),
    "date": text("2013-01-01", WRONG, WRONG, WRONG, MIDNIGHT),
    "part of a microsecond": text(
        "2013-01-01T04:59:59.9999999Z", WRONG, WRONG, WRONG, instant("2013-01-01T04:59:59.999999Z")
    ),
    "impossible date": text("2013-02-30", WRONG, WRONG, WRONG, WRONG),
    "year 10000": text("10000-01-01", WRONG, WRONG, WRONG, WRONG),
    "year 9999": text("9999-01-01", WRONG, WRONG, WRONG, BEYOND),
    "year 1": text("0001-12-31", WRONG, WRONG, WRONG, BEYOND),
    "a time's word": text("now", WRONG, WRONG, WRONG, WRONG),
    "object": Case('{"a":1}', None, pa.array([{"a": 1}]), (WRONG,) * 5),
    "array": Case("[1]", None, pa.array([[1]]), (WRONG,) * 5),
    "U+0000": Case(r'"a\u0000b"', "a\0b", pa.array(["a\0b"]), (BEYOND, WRONG, WRONG, WRONG, WRONG)),
    "U+0000 alone": Case(r'"\u0000"', "\0", pa.array(["\0"]), (BEYOND, WRONG, WRONG, WRONG, WRONG)),
}


@pytest.mark.parametrize("kind", TYPES)
def test_json_lines_follow_the_table(kind: str) -> None:
    cases = {name: case for name, case in CASES.items() if case.json is not None}
    data = "".join(f'{{"ts":{row},"v":{case.json}}}\n' for row, case in enumerate(cases.values()))
    parsed = parse(data.encode(), schema_of({TIME: "int64", "v": f"{kind}?"}))
    assert _by_case(cases, parsed, kind) == _expected(cases, kind)


@pytest.mark.parametrize("kind", TYPES)
def test_csv_follows_the_table(kind: str) -> None:
    cases = {name: case for name, case in CASES.items() if case.csv is not None}
    data = "".join(f"{row},{case.csv}\n" for row, case in enumerate(cases.values()))
    parsed = parse(data.encode(), schema_of({TIME: "int64", "v": f"{kind}?"}), (TIME, "v"))
    assert _by_case(cases, parsed, kind) == _expected(cases, kind)


@pytest.mark.parametrize("kind", TYPES)
def test_parquet_follows_the_table(kind: str, tmp_path: Path) -> None:
    schema = schema_of({TIME: "int64", "v": f"{kind}?"})
    cases = {name: case for name, case in CASES.items() if case.parquet is not None}
    found: dict[str, Any] = {}
    for name, case in cases.items():
        pq.write_table(pa.table({TIME: pa.array([0]), "v": case.parquet}), tmp_path / "one.parquet")
        found |= _by_case({name: case}, read(tmp_path / "one.parquet", schema), kind)
    assert found == _expected(cases, kind)


def _by_case(cases: dict[str, Case], parsed: Any, kind: str) -> dict[str, Any]:
    values = dict(zip(column(parsed, TIME), (_plain(value) for value in column(parsed, "v")), strict=True))
    refused = list(reasons(parsed).values())
    return {
        name: values.get(row, f"! {refused.pop(0)}" if row not in values else None) for row, name in enumerate(cases)
    }


def _expected(cases: dict[str, Case], kind: str) -> dict[str, Any]:
    return {name: case.becomes[TYPES.index(kind)] for name, case in cases.items()}


def _plain(value: Any) -> Any:
    return value.astimezone(timezone.utc) if isinstance(value, datetime) else value


def test_zero_and_one_are_of_the_type_of_their_column() -> None:
    parsed = parse(b'{"ts":1,"i":true,"f":false,"s":1,"b":1}\n', schema_of({TIME: "int64", "i": "int64", "b": "bool"}))
    assert [type(value) for value in good(parsed)[0].values()] == [int, int, bool]


@pytest.mark.parametrize("value", ["", ',"v":null'])
def test_absent_or_null_is_a_missing_field_where_there_is_no_question_mark(value: str) -> None:
    line = f'{{"ts":1{value}}}\n'.encode()
    assert dead(parse(line, schema_of({TIME: "int64", "v": "string"}))) == {0: ("missing_field", line.strip())}
    assert good(parse(line, schema_of({TIME: "int64", "v": "string?"}))) == {0: {"ts": 1, "v": None}}


def test_a_time_that_cannot_be_read_is_a_bad_event_time_only_where_it_is_the_event_time() -> None:
    schema = schema_of({TIME: "timestamp", "other": "timestamp?"}, unit=None)
    lines = ['{"ts":"soon"}', '{"ts":"2013-01-01","other":"soon"}', '{"ts":"10000-01-01"}', '{"ts":7}', '{"ts":{}}']
    found = list(reasons(parse("\n".join(lines).encode(), schema)).values())
    assert found == ["bad_event_time", "wrong_type", "bad_event_time", "bad_event_time", "wrong_type"]


def test_the_details_name_the_column_and_the_value() -> None:
    parsed = parse(b'{"ts":"soon"}\n{"ts":1e999}\n', schema_of({TIME: "int64"}))
    assert parsed.dead["detail"].to_pylist() == ["ts: 'soon' is not an int64", "ts: '1e999' is beyond an int64"]

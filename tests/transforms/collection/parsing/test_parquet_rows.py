"""Parquet: every physical type, converted by the value rules; what no column holds is a dead letter, not a crash."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.transforms.collection.outcome import TIME, column, count, dead, good, instant, read, reasons, schema_of
from transforms.collection.parsing.parquet_rows import column_of, from_arrow
from transforms.record.payload import as_json

FIVE = instant("2013-01-01T05:00:00Z")
BROKEN = pa.StringArray.from_buffers(4, pa.py_buffer(np.array([0, 1, 3, 3, 4], np.int32)), pa.py_buffer(b"a\xff\xfeb"))
"""Strings of which the second is no UTF-8."""


def convert(values: pa.Array, kind: str, time_zone: str = "UTC") -> list[Any]:
    """Each value as `kind`, or the reason for which it is refused."""
    converted = from_arrow(values, kind, "v", time_zone)  # type: ignore[arg-type]
    assert len(converted.values) == len(values)
    return [converted.refused.get(row, (value,))[0] for row, value in enumerate(converted.values.to_pylist())]


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_integers_of_every_width_keep_every_digit(kind: str) -> None:
    bounds = np.iinfo(kind)
    values = pa.array([int(bounds.min), 0, 1, int(bounds.max), None], kind)
    largest = int(bounds.max)
    assert convert(values, "int64") == [bounds.min, 0, 1, largest if largest < 2**63 else "out_of_range", None]
    assert convert(values, "string") == [str(bounds.min), "0", "1", str(largest), None]
    assert convert(values, "float64") == [float(bounds.min), 0.0, 1.0, float(largest), None]
    assert convert(values, "bool") == [False if not bounds.min else "wrong_type", False, True, "wrong_type", None]
    assert set(convert(values, "timestamp")) == {"wrong_type", None}


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_floats_of_every_width_are_null_where_they_are_nan(kind: pa.DataType) -> None:
    values = pa.array(np.array([1.5, 2.0, 1.0, np.nan, np.inf, -np.inf], np.float64)).cast(kind, safe=False)
    assert convert(values, "float64") == [1.5, 2.0, 1.0, None, "out_of_range", "out_of_range"]
    assert convert(values, "int64") == ["wrong_type", 2, 1, None, "out_of_range", "out_of_range"]
    assert convert(values, "bool") == ["wrong_type", "wrong_type", True, None, "out_of_range", "out_of_range"]
    assert convert(values, "string") == ["1.5", "2.0", "1.0", None, "out_of_range", "out_of_range"]


def test_large_floats_are_whole_up_to_the_last_int64() -> None:
    values = pa.array([2.0**53, 1e16, -(2.0**63), 2.0**63 - 1024, 2.0**63, 1e300])
    assert convert(values, "int64") == [2**53, 10**16, -(2**63), 2**63 - 1024, "out_of_range", "out_of_range"]


def test_decimals_keep_their_digits() -> None:
    values = pa.array([Decimal("1.00"), Decimal("1.50"), Decimal("9007199254740993.00"), None], pa.decimal128(20, 2))
    assert convert(values, "int64") == [1, "wrong_type", 2**53 + 1, None]
    assert convert(values, "float64") == [1.0, 1.5, 2.0**53, None]
    assert convert(values, "string") == ["1.00", "1.50", "9007199254740993.00", None]
    assert convert(pa.array([Decimal("9" * 70)], pa.decimal256(70, 0)), "int64") == ["out_of_range"]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_timestamps_of_every_unit_and_zone_are_instants(unit: str, zone: str | None) -> None:
    values = pa.array([FIVE, None]).cast(pa.timestamp(unit, zone))
    assert convert(values, "timestamp") == [FIVE, None]
    assert convert(values, "string") == ["2013-01-01T05:00:00.000000Z", None]
    assert convert(values, "int64") == ["wrong_type", None]


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_times_that_microseconds_cannot_count_are_out_of_range_and_do_not_wrap_around(unit: str, zone: str) -> None:
    turn = {"s": 18_446_744_073_710, "ms": 18_446_744_073_709_552, "us": 2**62}[unit]
    values = pa.array([turn, -turn, 2**63 - 1, -(2**63)]).cast(pa.timestamp(unit, zone))
    for kind in ("timestamp", "string"):
        assert convert(values, kind) == ["out_of_range"] * 4
        assert convert(values, kind, "America/New_York") == ["out_of_range"] * 4
    assert convert(values, "bool") == ["wrong_type"] * 4


def test_nanoseconds_are_cut_off_towards_the_past_down_to_the_first() -> None:
    values = pa.array([-1, 1999, 2**63 - 1, -(2**63) + 1], pa.timestamp("ns"))
    found = from_arrow(values, "timestamp", "v", "UTC").values.cast(pa.int64()).to_pylist()
    assert found == [-1, 1, 9_223_372_036_854_775, -9_223_372_036_854_776]


def test_dates_begin_at_midnight_of_the_zone() -> None:
    days = pa.array([date(2013, 7, 1), date(1, 12, 31), date(9998, 1, 2), None])
    assert convert(days, "timestamp", "Europe/Berlin") == [
        instant("2013-06-30T22:00:00Z"),
        "out_of_range",
        "out_of_range",
        None,
    ]
    assert convert(days.cast(pa.date64()), "timestamp")[0] == instant("2013-07-01T00:00:00Z")
    assert convert(pa.array([2**31 - 1, -(2**31)], pa.date32()), "timestamp") == ["out_of_range"] * 2


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
@pytest.mark.parametrize("encode", [False, True])
def test_texts_of_every_layout_are_read_alike(kind: pa.DataType, encode: bool) -> None:
    values = pa.array(["12", "x", None, "", "12"], kind)
    values = values.dictionary_encode() if encode and kind != pa.string_view() else values
    assert convert(values, "string") == ["12", "x", None, "", "12"]
    assert convert(values, "int64") == [12, "wrong_type", None, "wrong_type", 12]


@pytest.mark.parametrize("kind", ["string", "int64", "timestamp"])
def test_a_text_that_is_no_utf8_is_one_dead_letter_and_the_engine_lives(kind: str) -> None:
    for values in (BROKEN, BROKEN.slice(1), pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 3]), BROKEN)):
        found = convert(values, kind)
        assert found.count("invalid_utf8") == 1
        assert found[1 - len(BROKEN) + len(values)] == "invalid_utf8"
    assert convert(pa.array(["é"]), "string") == ["é"]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([b"1"]),
        pa.array([b"1"], pa.large_binary()),
        pa.array([b"1"], pa.binary(1)),
        pa.array([{"a": 1}]),
        pa.array([[1]]),
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.array([1], pa.time64("us")),
        pa.array([1], pa.duration("ns")),
        pa.StructArray.from_arrays([pa.array([10**16], pa.timestamp("ms")), BROKEN.slice(1, 1)], ["t", "s"]),
    ],
)
@pytest.mark.parametrize("kind", ["string", "int64", "float64", "bool", "timestamp"])
def test_what_is_no_scalar_is_of_the_wrong_type(values: pa.Array, kind: str) -> None:
    both = pa.concat_arrays([values, pa.nulls(1, values.type)])
    assert convert(both, kind) == ["wrong_type", None]
    assert json.loads(as_json(pa.record_batch([both], ["v"]), 0)).keys() == {"v"}


def test_a_column_of_nulls_fits_every_type() -> None:
    for kind in ("string", "int64", "float64", "bool", "timestamp"):
        assert convert(pa.nulls(2), kind) == [None, None]


def test_columns_that_the_job_does_not_name_are_taken_as_they_are_stored() -> None:
    stored = {
        pa.int8(): "int64?",
        pa.uint64(): "int64?",
        pa.float32(): "float64?",
        pa.decimal128(9, 2): "float64?",
        pa.bool_(): "bool?",
        pa.date32(): "timestamp?",
        pa.timestamp("ns", "Europe/Berlin"): "timestamp?",
        pa.large_string(): "string?",
        pa.dictionary(pa.int8(), pa.string()): "string?",
    }
    assert {kind: str(column_of(pa.field("v", kind))) for kind in stored} == stored
    assert [column_of(pa.field("v", kind)) for kind in (pa.binary(), pa.list_(pa.int8()), pa.time32("s"))] == [None] * 3


def test_every_row_of_a_file_of_odd_values_is_accounted_for(tmp_path: Path) -> None:
    table = pa.table(
        {
            TIME: pa.array([0, 10**16, -(10**16), 253_402_300_800_000, None, 5, 6], pa.timestamp("ms")),
            "s": pa.concat_arrays([pa.array(["ok", "x", "y"]), BROKEN]),
            "f": [1.0, float("inf"), 2.0, 3.0, 4.0, 5.0, float("nan")],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=3)
    schema = schema_of({TIME: "timestamp", "s": "string?", "f": "float64?"}, unit=None)
    found = read(tmp_path / "a.parquet", schema)
    assert count(found) == (7, 3, 4)
    assert reasons(found) == {1: "bad_event_time", 2: "bad_event_time", 3: "bad_event_time", 4: "invalid_utf8"}
    assert column(found, "f") == [1.0, 5.0, None]
    assert json.loads(dead(found)[3][1]) == {"ts": "10000-01-01 00:00:00.000", "s": "a", "f": 3.0}
    assert json.loads(dead(found)[4][1])["ts"] is None


@pytest.mark.parametrize("nullable", ["?", ""])
def test_a_column_that_a_file_does_not_have_is_null_in_it(nullable: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({TIME: [1, 2], "other": [1, 2]}), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet", schema_of({TIME: "int64", "v": f"int64{nullable}"}))
    assert column(found, "v") == ([None, None] if nullable else [])
    assert reasons(found) == ({} if nullable else {0: "missing_field", 1: "missing_field"})


def test_a_file_without_any_of_the_columns_has_only_dead_letters(tmp_path: Path) -> None:
    pq.write_table(pa.table({"other": [1, 2, 3]}), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet", schema_of({TIME: "int64", "v": "int64?"}))
    assert dead(found) == dict.fromkeys(range(3), ("missing_field", b"{}"))


def test_names_with_dots_are_names_and_not_paths(tmp_path: Path) -> None:
    table = pa.table({TIME: [1], "a.b": ["flat"], "a": [{"b": "nested"}]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert good(read(tmp_path / "a.parquet", schema_of({TIME: "int64", "a.b": "string"})))[0]["a.b"] == "flat"

"""Event times: numbers in a unit and texts with and without a zone, in the years 2 to 9997."""

import random
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.collection.outcome import TIME, column, instant, parse, read, reasons, schema_of
from transforms.collection.parsing.values import event_times
from transforms.record.batch import EVENT_TIME
from transforms.time.event_time import EARLIEST, LATEST

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
units = st.sampled_from(list(PER_SECOND))


def micros(values: pa.Array, unit: str | None) -> list[int | None]:
    """µs since the epoch, None where a value is refused."""
    converted = event_times(values, unit, TIME)
    found = converted.values.cast(pa.int64()).to_pylist()
    assert {reason for reason, _ in converted.refused.values()} <= {"bad_event_time"}
    return [None if row in converted.refused else value for row, value in enumerate(found)]


@settings(deadline=None)
@given(st.integers(-(2**63), 2**63 - 2), units)
def test_whole_numbers_are_exact_and_parts_of_a_microsecond_are_cut_off(value: int, unit: str) -> None:
    expected = value * 10**6 // PER_SECOND[unit]
    inside = EARLIEST <= expected < LATEST
    assert micros(pa.array([value]), unit) == [expected if inside else None]


@settings(deadline=None)
@given(st.integers(-2 * 10**15, 4 * 10**15), st.sampled_from(["s", "ms", "us"]))
def test_a_decimal_fraction_means_the_microsecond_that_was_written(value: int, unit: str) -> None:
    written = float(Decimal(value) * PER_SECOND[unit] / 10**6)
    assert micros(pa.array([written]), unit) == [value]


@pytest.mark.parametrize(
    "unit, kind", [(u, k) for u in ("s", "ms", "us") for k in ("int64", "float64") if (u, k) != ("us", "float64")]
)
def test_the_first_and_the_last_year_are_inside_and_their_neighbours_are_not(unit: str, kind: str) -> None:
    first, last = (bound * PER_SECOND[unit] // 10**6 for bound in (EARLIEST, LATEST))
    found = micros(pa.array([first - 1, first, last - 1, last], pa.int64()).cast(kind), unit)
    assert [value is None for value in found] == [True, False, False, True]


def test_fractions_before_the_epoch_are_cut_off_towards_the_past() -> None:
    assert micros(pa.array([-1, -1000, -1001]), "ns") == [-1, -1, -2]
    assert micros(pa.array([-0.5, -1.25]), "s") == [-500_000, -1_250_000]


@pytest.mark.parametrize("value", [1e300, -1e300, 2.0**63, 1e17])
@pytest.mark.parametrize("unit", ["s", "ms"])
def test_a_number_beyond_the_calendar_is_no_event_time(value: float, unit: str) -> None:
    assert micros(pa.array([value]), unit) == [None]


def test_the_detail_names_the_years() -> None:
    (why,) = event_times(pa.array([10**17]), "s", TIME).refused.values()
    assert why == ("bad_event_time", "ts: 100000000000000000 lies outside the years 2 to 9997")


def test_a_record_of_the_year_10000_is_a_dead_letter_in_every_format(tmp_path: Path) -> None:
    far, near = 253_402_300_800_000, 1_700_000_000_000
    (tmp_path / "a.jsonl").write_text(f'{{"ts":{far}}}\n{{"ts":{near}}}\n')
    (tmp_path / "a.csv").write_text(f"ts\n{far}\n{near}\n")
    pq.write_table(pa.table({TIME: [far, near]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({TIME: pa.array([far, near], pa.timestamp("ms"))}), tmp_path / "b.parquet")
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        assert list(reasons(read(tmp_path / name, schema_of({TIME: "int64"}))).values()) == ["bad_event_time"]
    parsed = read(tmp_path / "b.parquet", schema_of({TIME: "timestamp"}, unit=None))
    assert reasons(parsed) == {0: "bad_event_time"}
    assert column(parsed, EVENT_TIME) == [instant("2023-11-14T22:13:20Z")]


ZONES = ["Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]
CLOCK_CHANGES = [
    "2013-03-31T02:30:00",
    "2013-10-27T02:30:00",
    "2013-03-10T02:30:00",
    "2013-11-03T01:30:00",
    "2013-10-20T00:30:00",
    "2014-02-15T23:30:00",
    "2013-10-06T02:15:00",
    "1890-01-01T00:00:00",
    "2050-07-01T12:00:00",
]


@pytest.mark.parametrize("zone", ZONES)
def test_a_naive_time_is_one_instant_in_every_format(zone: str, tmp_path: Path) -> None:
    rng = random.Random(4)
    written = CLOCK_CHANGES + [
        f"{rng.randrange(1850, 2100)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}T{rng.randrange(24):02}:30:00"
        for _ in range(200)
    ]
    schema = schema_of({TIME: "timestamp"}, unit=None, time_zone=zone)
    json = parse("".join(f'{{"ts":"{time}"}}\n' for time in written).encode(), schema)
    csv = parse("".join(f"{time}\n" for time in written).encode(), schema, (TIME,))
    for unit in ("s", "ms", "us", "ns"):
        pq.write_table(pa.table({TIME: pa.array(written).cast(pa.timestamp(unit))}), tmp_path / "a.parquet")
        parquet = read(tmp_path / "a.parquet", schema)
        assert column(json, EVENT_TIME) == column(csv, EVENT_TIME) == column(parquet, EVENT_TIME)
    assert not reasons(json)


def test_a_time_that_the_clock_shows_twice_is_the_second_and_one_it_skips_is_after_the_jump() -> None:
    schema = schema_of({TIME: "timestamp"}, unit=None, time_zone="Europe/Berlin")
    parsed = parse(b'{"ts":"2013-10-27T02:30:00"}\n{"ts":"2013-03-31T02:30:00"}\n{"ts":"2013-07-01"}', schema)
    assert column(parsed, EVENT_TIME) == [
        instant("2013-10-27T01:30:00Z"),
        instant("2013-03-31T01:30:00Z"),
        instant("2013-06-30T22:00:00Z"),
    ]


def test_a_time_with_an_offset_is_not_read_by_the_zone() -> None:
    schema = schema_of({TIME: "timestamp"}, unit=None, time_zone="Asia/Kolkata")
    parsed = parse(b'{"ts":"2013-01-01T00:00:00Z"}\n{"ts":"2013-01-01T00:00:00+05:30"}', schema)
    assert column(parsed, EVENT_TIME) == [instant("2013-01-01T00:00:00Z"), instant("2012-12-31T18:30:00Z")]

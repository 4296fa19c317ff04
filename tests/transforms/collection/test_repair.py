"""Repairs: a record is read in other words exactly where it is the record that was repaired."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.transforms.collection.outcome import TIME, count, dead, good, read, schema_of
from transforms.collection.repair import Repair, digest

SCHEMA = schema_of({TIME: "int64", "v": "int64", "s": "string?"})
ROWS = [
    b'{"ts":1,"v":1}',
    b'{"ts":2,"v":"soon"}',
    b'{"ts":3,"v":3}',
    b'{"ts":4,"v":1.7}',
    b"\xff\xfe",
    b"",
    b'{"ts":7,"v":"soon"}',
]
STARTS = [sum(len(row) + 1 for row in ROWS[:index]) for index in range(len(ROWS))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(ROWS) + b"\n")
    return tmp_path / "a.jsonl"


def repaired(path: Path, repairs: dict[int, Repair]) -> dict[str, dict[int, Repair]]:
    return {str(path).removeprefix("/"): repairs}


@pytest.mark.parametrize("range_bytes", [1 << 20, 30, 1])
def test_repaired_records_take_the_place_of_the_ones_they_replace(path: Path, range_bytes: int) -> None:
    fixed = {row: b'{"ts":%d,"v":%d}' % (row + 1, row * 10) for row in (1, 3, 4, 5)}
    repairs = {STARTS[row]: Repair(payload, digest(ROWS[row])) for row, payload in fixed.items()}
    before, after = read(path, SCHEMA), read(path, SCHEMA, range_bytes=range_bytes, overlay=repaired(path, repairs))
    assert count(before) == (7, 2, 5)
    assert count(after) == (7, 6, 1)
    assert {place: record["v"] for place, record in good(after).items()} == {
        STARTS[0]: 1,
        STARTS[1]: 10,
        STARTS[2]: 3,
        STARTS[3]: 30,
        STARTS[4]: 40,
        STARTS[5]: 50,
    }
    assert dead(after) == {STARTS[6]: ("wrong_type", ROWS[6])}


def test_a_repair_that_does_not_fit_what_stands_there_is_left_out(path: Path) -> None:
    repairs = {
        STARTS[1]: Repair(b'{"ts":2,"v":2}', digest(b"something else")),
        STARTS[1] + 1: Repair(b'{"ts":2,"v":2}', digest(ROWS[1])),
        STARTS[6]: Repair(b'{"ts":2,"v":2}', digest(ROWS[1])),
        10_000: Repair(b'{"ts":2,"v":2}', digest(ROWS[1])),
    }
    for range_bytes in (1 << 20, 20):
        after = read(path, SCHEMA, range_bytes=range_bytes, overlay=repaired(path, repairs))
        assert good(after) == good(read(path, SCHEMA))
        assert dead(after) == dead(read(path, SCHEMA))


def test_a_repair_of_another_source_is_left_out(path: Path) -> None:
    repairs = {STARTS[1]: Repair(b'{"ts":2,"v":2}', digest(ROWS[1]))}
    assert dead(read(path, SCHEMA, overlay={"elsewhere.jsonl": repairs})) == dead(read(path, SCHEMA))


def test_a_repair_that_is_bad_too_is_a_dead_letter_with_its_own_payload(path: Path) -> None:
    repairs = {STARTS[1]: Repair(b'{"ts":2,"v":"later"}', digest(ROWS[1]))}
    after = read(path, SCHEMA, overlay=repaired(path, repairs))
    assert dead(after)[STARTS[1]] == ("wrong_type", b'{"ts":2,"v":"later"}')
    assert count(after) == (7, 2, 5)


def test_a_good_record_can_be_repaired_as_well_and_a_newline_ends_a_repair(path: Path) -> None:
    repairs = {STARTS[0]: Repair(b'{"ts":1,"v":9}\n', digest(ROWS[0]))}
    assert good(read(path, SCHEMA, overlay=repaired(path, repairs)))[STARTS[0]]["v"] == 9


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_range_without_a_repair_of_its_own_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    rows = (
        [b"%d,2,x" % row for row in range(50)] if name == "a.csv" else [b'{"ts":%d,"v":2}' % row for row in range(50)]
    )
    (tmp_path / name).write_bytes(b"ts,v,s\n" * (name == "a.csv") + b"\n".join(rows))
    after = read(tmp_path / name, SCHEMA, range_bytes=50, overlay=repaired(tmp_path / name, {1: Repair(b"", "")}))
    assert count(after) == (50, 50, 0)


def test_a_repair_laid_out_over_several_lines_is_one_record(path: Path) -> None:
    laid_out = b'{\n  "ts": 2,\n  "v": 2\n}\n\n'
    repairs = {STARTS[1]: Repair(laid_out, digest(ROWS[1])), STARTS[3]: Repair(b"\n", digest(ROWS[3]))}
    after = read(path, SCHEMA, overlay=repaired(path, repairs))
    assert good(after)[STARTS[1]]["v"] == 2
    assert dead(after)[STARTS[3]] == ("malformed", b"")


def test_lines_of_csv_are_repaired_by_lines_of_csv(tmp_path: Path) -> None:
    data = b"ts,v,s\n1,soon,x\n2,2,y\n"
    (tmp_path / "a.csv").write_bytes(data)
    repairs = {7: Repair(b'1,5,"a,b"', digest(b"1,soon,x"))}
    after = read(tmp_path / "a.csv", SCHEMA, overlay=repaired(tmp_path / "a.csv", repairs))
    assert good(after) == {7: {TIME: 1, "v": 5, "s": "a,b"}, 16: {TIME: 2, "v": 2, "s": "y"}}
    assert not dead(after)


@pytest.mark.parametrize("row_group_size", [100, 2])
def test_rows_of_parquet_are_repaired_by_json(tmp_path: Path, row_group_size: int) -> None:
    path = tmp_path / "a.parquet"
    at = pa.array([0, 1, 2, 10**16, 4], pa.timestamp("ms"))
    pq.write_table(pa.table({"ts": at, "v": [0.0, 1.7, 2.0, 3.0, None]}), path, row_group_size=row_group_size)
    schema = schema_of({TIME: "timestamp", "v": "int64"}, unit=None)
    before = dead(read(path, schema))
    assert {place: reason for place, (reason, _) in before.items()} == {
        1: "wrong_type",
        3: "bad_event_time",
        4: "missing_field",
    }
    fixed = {place: b'{"ts":"2013-01-01T00:00:00Z","v":%d}' % place for place in before}
    repairs = {place: Repair(fixed[place], digest(payload)) for place, (_, payload) in before.items()}
    after = read(path, schema, overlay=repaired(path, repairs))
    assert {place: record["v"] for place, record in good(after).items()} == {0: 0, 1: 1, 2: 2, 3: 3, 4: 4}
    assert count(after) == (5, 5, 0)


def test_the_payload_of_a_row_of_parquet_reads_as_the_row_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {
        "ts": pa.array([1, 2]),
        "f": pa.array([float("nan"), 2.5]),
        "d": pa.array([15_000, 15_001], pa.date32()),
        "t": pa.array([1_356_998_400_123_456_789, None], pa.timestamp("ns")),
        "z": pa.array([1_356_998_400, 0], pa.timestamp("s", "Europe/Berlin")),
        "s": pa.array(['é"\\\n', None]),
        "b": pa.array([True, None]),
        "v": pa.array([None, None], pa.int64()),
    }
    pq.write_table(pa.table(columns), path)
    kinds = {"f": "float64?", "d": "timestamp?", "t": "timestamp?", "z": "timestamp?", "s": "string?", "b": "bool?"}
    schema = schema_of({TIME: "int64", **kinds, "v": "int64?"}, time_zone="Europe/Berlin")
    strict = schema_of({TIME: "int64", **kinds, "v": "int64"}, time_zone="Europe/Berlin")
    expected, letters = good(read(path, schema)), dead(read(path, strict))
    fixed = {place: payload.replace(b'"v": null', b'"v": 1') for place, (_, payload) in letters.items()}
    repairs = {place: Repair(fixed[place], digest(payload)) for place, (_, payload) in letters.items()}
    after = good(read(path, strict, overlay=repaired(path, repairs)))
    assert after == {place: {**record, "v": 1} for place, record in expected.items()}

"""Bad records of every kind among many good ones: each is a dead letter with its original bytes, and no other is."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.transforms.collection.outcome import TIME, column, count, dead, lines_of, read, reasons, schema_of

SCHEMA = schema_of({TIME: "int64", "at": "timestamp", "k": "string", "n": "int64", "f": "float64?"})
RECORD = '{"ts":%d,"at":"2013-01-01T00:00:00Z","k":%s,"n":%s,"f":%s}'


def record(k: str = '"a"', n: str = "1", f: str = "0.5", at: str | None = None, ts: int = 7) -> bytes:
    text = RECORD % (ts, k, n, f)
    return (text if at is None else text.replace("2013-01-01T00:00:00Z", at)).encode()


KINDS = [
    ("malformed", record()[:-4]),
    ("malformed", b"ERROR connection reset by peer"),
    ("malformed", record().replace(b"}", b",}")),
    ("malformed", b""),
    ("malformed", b"\r"),
    ("malformed", b"[" * 100_000),
    ("malformed", b"\xef\xbb\xbf" + record()),
    ("malformed", record(k=r'"\ud800"')),
    ("invalid_utf8", record().replace(b'"a"', b'"\xff\xfe"')),
    ("too_long", record(k='"' + "x" * 2_000_000 + '"')),
    ("wrong_type", record(n='"soon"')),
    ("wrong_type", record(n="1.7")),
    ("wrong_type", record(f='"high"')),
    ("wrong_type", record(k='{"id":5}')),
    ("wrong_type", record(f="[0.5]")),
    ("wrong_type", record(at="2013-02-30T00:00:00Z")),
    ("missing_field", record().replace(b'"n":1,', b"")),
    ("missing_field", record(k="null")),
    ("out_of_range", record(f="NaN")),
    ("out_of_range", record(f="-Infinity")),
    ("out_of_range", record(f="1e999")),
    ("out_of_range", record(n="9223372036854775808")),
    ("out_of_range", record(k=r'"a\u0000b"')),
    ("out_of_range", record(at="9999-01-01T00:00:00Z")),
    ("bad_event_time", record(ts=253_402_300_800_000)),
]
TEN_MEGABYTES = record(k='"' + "x" * 10_000_000 + '"')
CSV_KINDS = [
    ("malformed", b"1,2013-01-01,a"),
    ("malformed", b'1,2013-01-01,"a,1,0.5'),
    ("malformed", b'1,2013-01-01,"a"b,1,0.5'),
    ("malformed", b"1,2013-01-01,a\rb,1,0.5"),
    ("malformed", b""),
    ("malformed", b"\r"),
    ("invalid_utf8", b"1,2013-01-01,\xff,1,0.5"),
    ("too_long", b"1,2013-01-01," + b"x" * 2_000_000 + b",1,0.5"),
    ("wrong_type", b"1,2013-01-01,a,soon,0.5"),
    ("wrong_type", b"1,2013-01-01,a,1.7,0.5"),
    ("wrong_type", b"1,2013-02-30,a,1,0.5"),
    ("missing_field", b"1,2013-01-01,a,,0.5"),
    ("out_of_range", b"1,2013-01-01,a,1,NaN"),
    ("out_of_range", b"1,2013-01-01,a,1,1e999"),
    ("out_of_range", b"1,2013-01-01,a\0,1,0.5"),
    ("out_of_range", b"1,2013-01-01,a,9223372036854775808,0.5"),
    ("bad_event_time", b"253402300800000,2013-01-01,a,1,0.5"),
]


def mixed(good: int, bad: list[bytes], write: object, seed: int) -> Iterator[tuple[bytes, bool]]:
    """Lines in a random order, and whether each is a good one."""
    rng = random.Random(seed)
    places = set(rng.sample(range(good + len(bad)), len(bad)))
    letters, numbers = iter(bad), iter(range(good))
    for place in range(good + len(bad)):
        if place in places:
            yield next(letters), False
        else:
            yield write(next(numbers)), True  # type: ignore[operator]


def check(path: Path, start: int, reason_of: dict[bytes, str], good: int, range_bytes: int) -> None:
    found = read(path, SCHEMA, range_bytes=range_bytes)
    letters, lines = dead(found), lines_of(path.read_bytes(), start)
    expected = {position: (reason_of[line], line) for position, line in lines.items() if line in reason_of}
    assert letters.keys() == expected.keys()
    assert letters == expected
    assert count(found) == (len(lines), good, len(expected))
    assert column(found, "n") == list(range(good))


@pytest.mark.parametrize("range_bytes", [1 << 30, 1 << 20])
def test_a_thousand_bad_records_among_a_hundred_thousand_of_json(tmp_path: Path, range_bytes: int) -> None:
    bad = [line for _ in range(40) for _, line in KINDS if len(line) < 1_000] + [line for _, line in KINDS] * 2
    bad += [TEN_MEGABYTES]
    bad += [record(n='"soon"')] * (1_000 - len(bad))

    def write(number: int) -> bytes:
        return record(n=str(number), k='"é"', f="null" if number % 7 == 0 else "0.25") + b"\r" * (number % 2)

    data = b"\xef\xbb\xbf" + b"\n".join(line for line, _ in mixed(100_000, bad, write, seed=11))
    (tmp_path / "a.jsonl").write_bytes(data)
    reason_of = {line: reason for reason, line in KINDS} | {TEN_MEGABYTES: "too_long"}
    assert len(bad) == 1_000
    check(tmp_path / "a.jsonl", 3, reason_of, 100_000, range_bytes)


@pytest.mark.parametrize("range_bytes", [1 << 30, 1 << 20])
def test_bad_lines_among_many_of_csv(tmp_path: Path, range_bytes: int) -> None:
    bad = [line for _ in range(10) for _, line in CSV_KINDS if len(line) < 1_000] + [line for _, line in CSV_KINDS]

    def write(number: int) -> bytes:
        return b'%d,2013-01-01T00:00:00Z,"a ""b"", c",%d,%s\r' % (number, number, b"" if number % 7 else b"0.25")

    header = b"\xef\xbb\xbfts,at,k,n,f\r\n"
    data = header + b"\n".join(line for line, _ in mixed(20_000, bad, write, seed=12))
    (tmp_path / "a.csv").write_bytes(data)
    check(tmp_path / "a.csv", len(header), {line: reason for reason, line in CSV_KINDS}, 20_000, range_bytes)


def test_bad_rows_among_many_of_parquet(tmp_path: Path) -> None:
    rows, rng = 20_000, random.Random(13)
    odd = sorted(rng.sample(range(rows), 200))
    kinds = ["bad_event_time", "wrong_type", "missing_field", "out_of_range", "out_of_range"]
    ts, at = [0] * rows, [0] * rows
    n: list[float | None] = [1.0] * rows
    f = [0.5] * rows
    for index, row in enumerate(odd):
        match index % 5:
            case 0:
                ts[row] = 253_402_300_800_000
            case 1:
                n[row] = 1.7
            case 2:
                n[row] = None
            case 3:
                f[row] = float("inf")
            case 4:
                at[row] = 10**16
    table = pa.table({TIME: ts, "at": pa.array(at, pa.timestamp("ms")), "k": ["a"] * rows, "n": n, "f": f})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=3_000)
    found = read(tmp_path / "a.parquet", SCHEMA)
    assert reasons(found) == {row: kinds[index % 5] for index, row in enumerate(odd)}
    assert count(found) == (rows, rows - 200, 200)


def test_one_bad_record_in_a_hundred_of_every_kind_costs_little_beside_the_ninety_nine(tmp_path: Path) -> None:
    clean = [record(n=str(number), f=f"{number / 7:.6f}") for number in range(60_000)]
    bad = [line for _, line in KINDS if len(line) < 1_000]
    dirty = [bad[row // 100 % len(bad)] if row % 100 == 50 else line for row, line in enumerate(clean)]
    (tmp_path / "clean.jsonl").write_bytes(b"\n".join(clean))
    (tmp_path / "dirty.jsonl").write_bytes(b"\n".join(dirty))

    def seconds(name: str) -> float:
        began = time.process_time()
        assert count(read(tmp_path / name, SCHEMA))[0] == 60_000
        return time.process_time() - began

    pairs = [(seconds("clean.jsonl"), seconds("dirty.jsonl")) for _ in range(5)]
    assert min(dirty for _, dirty in pairs) < 3 * min(clean for clean, _ in pairs)

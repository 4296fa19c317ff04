"""What `infer` sees in files: types, nulls and records, or why it sees no start in them."""

import gzip
import io
import json
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zstandard

from dataflow.errors import InferenceError
from dataflow.inference import infer

Job = dict[str, Any]
START = datetime(2024, 3, 1, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def _in_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def iso(minutes: int) -> str:
    return (START + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def write(name: str, content: str | bytes) -> str:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def json_lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def readings(count: int = 100, /, **columns: Callable[[int], object]) -> list[dict[str, Any]]:
    """Records of one a minute, with columns made from the number of the record."""
    return [{"ts": iso(i), **{name: make(i) for name, make in columns.items()}} for i in range(count)]


def inferred(*paths: str, job: str | None = None) -> Job:
    parsed: Job = yaml.safe_load(infer(paths, job=job))
    return parsed


def from_records(records: list[dict[str, Any]]) -> Job:
    return inferred(write("data.jsonl", json_lines(*records)))


def from_csv(text: str | bytes) -> Job:
    return inferred(write("data.csv", text))


def aggregation(job: Job) -> dict[str, Any]:
    only: dict[str, Any] = job["aggregations"][0]
    return only


def columns(job: Job) -> dict[str, str]:
    named: dict[str, str] = job["record"]["columns"]
    return named


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, -3], "int64?"),
        ([1, 2, None], "int64?"),
        ([1, 2.5], "float64?"),
        ([1.0, 2.0], "float64?"),  # what is written 1.0 may well be 1.5 in the next record
        ([True, False], "bool?"),
        ([True, 1], "string?"),
        (["1", "2"], "string?"),
        ([5, 6, 7, "8"], "int64?"),
        (["00501", 6, 7], "string?"),
        (["", "x"], "string?"),
        ([2**63, 1], "string?"),
        ([2**60 + 1, 0.5], "string?"),  # a float64 would lose the last digit
        ([iso(1), iso(2)], "timestamp?"),
        (["2024-03-01", "2024-03-02"], "string?"),
        ([iso(1), "soon"], "string?"),
        ([1] * 199 + ["soon"], "int64?"),
        (["x"] * 199 + [{"a": 1}], "string?"),
    ],
)
def test_type_of_json_values(values: list[object], expected: str) -> None:
    records = [{"ts": iso(i), "v": value} for i, value in enumerate(values)]
    assert columns(from_records(records))["v"] == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["1", "-2", ""], "int64?"),
        (["1", "2.5", "1e3", ".5"], "float64?"),
        (["00501", "10001"], "string?"),
        (["+49", "30"], "string?"),
        (["true", "FALSE"], "bool?"),
        (["9" * 5000, "1"], "string?"),
        (["1e999", "1"], "string?"),
        (["2024-02-30T00:00:00Z", iso(1)], "string?"),
        ([" 5", "6", ""], "int64?"),
        (['"a, b"', '"say ""no"""'], "string?"),
    ],
)
def test_type_of_csv_fields(fields: list[str], expected: str) -> None:
    assert (
        columns(from_csv("ts,v\n" + "".join(f"{iso(i)},{field}\n" for i, field in enumerate(fields))))["v"] == expected
    )


def test_sparse_nested_and_oddly_named_json_fields() -> None:
    names = [
        "température (°C)",
        "a: b",
        "no",
        "1e3",
        "#x",
        "日本",
        'quo"te',
        "line\nbreak",
        "'",
        "- a",
        "{b}",
        "a,b",
        "?",
        "",
    ]
    records: list[dict[str, Any]] = readings(
        40, sensor=lambda i: f"s{i % 4}", position=lambda i: {"x": [i]}, tags=lambda i: []
    )
    for i, record in enumerate(records):
        record[names[i % len(names)]] = i / 3
    records[0] |= {"Sensor": 1, "${HOME}": 1, "nothing": None, "\ud800": 1, "long" * 200: 1}
    job = from_records(records)
    expected = {"ts": "timestamp", "sensor": "string?"} | {name: "float64?" for name in names if name}
    assert columns(job) == expected and aggregation(job)["key"] == ["sensor"]
    text = infer(["data.jsonl"])
    assert "#   position: it holds objects or arrays" in text and "#   nothing: the sample has no value of it" in text


def test_a_bad_line_amid_good_ones_is_counted_and_passed_over() -> None:
    good = json_lines(*readings(20, v=lambda i: i))
    text = infer(
        [
            write(
                "a.jsonl",
                good.encode() + b'{"ts": \xff}\n{"ts": NaN}\n[1]\n\n' + b"[" * 100_000 + b"\n" + good.encode(),
            )
        ]
    )
    assert (
        columns(yaml.safe_load(text)) == {"ts": "timestamp", "v": "int64?"}
        and "# 5 lines were not readable records" in text
    )
    text = infer([write("a.csv", b"ts,v\n" + f"{iso(0)},1\n".encode() * 9 + b'x,1,2\n\xff,1\n"x\ny",1\n')])
    assert (
        columns(yaml.safe_load(text)) == {"ts": "timestamp", "v": "int64?"}
        and "# 4 lines were not readable records" in text
    )


def test_csv_with_byte_order_mark_crlf_quotes_and_odd_columns() -> None:
    rows = "".join(f'{iso(i)},"Doe, J{i % 3}",1,2,3,4,"say ""{i}"""\r\n' for i in range(30))
    job = from_csv('\ufeffts,"name, full",x,X,,@position, été\r\n' + rows)
    assert columns(job) == {"ts": "timestamp", "name, full": "string?", "x": "int64?", " été": "string?"}
    assert aggregation(job)["key"] == ["name, full"] and aggregation(job)["name"] == "by_name_full"


def test_a_single_record_is_enough() -> None:
    job = from_csv(f"ts\n{iso(0)}\n")
    assert columns(job) == {"ts": "timestamp"} and aggregation(job)["statistics"] == {"ts": ["count", "missing"]}
    assert aggregation(job)["window"] == {"size": "1h"}


def test_packed_files_are_read_like_plain_ones() -> None:
    text = json_lines(*readings(v=lambda i: i))
    plain = inferred(write("a.jsonl", text))
    halves = gzip.compress(text[: len(text) // 2].encode()) + gzip.compress(text[len(text) // 2 :].encode())
    for name, packed in (("a.jsonl.gz", halves), ("a.jsonl.zst", pa.compress(text.encode(), "zstd", asbytes=True))):
        job = inferred(write(name, packed))
        assert job["source"]["files"].pop("paths") == [name] and job["record"] == plain["record"] and job["job"] == "a"


def parquet_table(rows: int = 300) -> pa.Table:
    times = pa.array([1_700_000_000_123_456_789 + i * 10**12 for i in range(rows)], pa.timestamp("ns", "Europe/Berlin"))
    required = pa.field("required", pa.int32(), nullable=False)
    return pa.table(
        {
            "event_time": times,
            "day": pa.array([date(2024, 1, 1 + i % 28) for i in range(rows)], pa.date32()),
            "sensor": pa.array([f"s{i % 5}" for i in range(rows)]).dictionary_encode(),
            "price": pa.array([Decimal(i) / 100 for i in range(rows)], pa.decimal128(10, 2)),
            "gappy": pa.array([None if i == rows - 1 else i for i in range(rows)], pa.int16()),
            "ratio": pa.array([float("nan") if i % 5 == 0 else i / 3 for i in range(rows)], pa.float32()),
            "nested": [{"x": i} for i in range(rows)],
            "raw": pa.array([b"\xff"] * rows, pa.binary()),
            "a.b": pa.array(range(rows), pa.uint64()),
        }
    ).append_column(required, pa.array(range(rows), pa.int32()))


@pytest.mark.parametrize("ending", ["parquet", "parquet.gz"])
def test_parquet_types_and_nulls_come_from_its_schema_and_statistics(ending: str) -> None:
    sink = io.BytesIO()
    pq.write_table(parquet_table(), sink, row_group_size=100)
    job = inferred(write(f"p.{ending}", gzip.compress(sink.getvalue()) if ending.endswith("gz") else sink.getvalue()))
    assert job["record"]["event_time"] == {"column": "event_time", "format": "iso8601"}
    assert columns(job) == {
        "event_time": "timestamp",
        "day": "timestamp",
        "sensor": "string",
        "price": "float64?",
        "gappy": "int64?",  # one null, in the last row group
        "ratio": "float64?",
        "a.b": "int64",
        "required": "int64",
    }
    assert aggregation(job)["key"] == ["sensor"] and aggregation(job)["window"] == {"size": "1h"}


def test_several_files_make_one_job() -> None:
    for day in (1, 2, 3):
        records = [
            {"ts": f"2024-03-0{day}T00:{i:02}:00Z", "v": i if day == 1 else i / 7, f"only_{day}": "x"}
            for i in range(60)
        ]
        write(f"in-0{day}.jsonl", json_lines(*records))
    write("in-04.jsonl", "")
    job = inferred("in-01.jsonl", "./in-02.jsonl", "in-03.jsonl", "in-04.jsonl", "in-01.jsonl")
    assert job["job"] == "in" and columns(job)["v"] == "float64?" and "only_3" in columns(job)
    assert job["source"]["files"]["paths"] == ["in-01.jsonl", "in-02.jsonl", "in-03.jsonl", "in-04.jsonl"]
    assert aggregation(job)["window"] == {"size": "15m"}
    assert inferred("in-*.jsonl")["source"]["files"]["paths"] == ["in-*.jsonl"]
    pq.write_table(pa.table({"ts": [START], "v": [1], "w": ["a"]}), "a.parquet")
    pq.write_table(pa.table({"ts": [START], "v": [0.5], "w": [1]}), "b.parquet")
    assert columns(inferred("a.parquet", "b.parquet")) == {"ts": "timestamp", "v": "float64?"}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", "", "a.csv is empty"),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0), "a.jsonl.gz holds no record"),
        ("a.csv", "ts,v\n", "a.csv holds no record"),
        ("a.csv", f"{iso(0)},1\n{iso(1)},2\n", "no recognisable header"),
        ("a.csv", "1700000000,UA\n1700000060,DL\n", "no recognisable header"),
        ("a.csv", f"ts,v,v\n{iso(0)},1,2\n", "names v twice"),
        ("a.csv", "ts;v\n1;2\n", "separated by semicolons"),
        ("a.tsv", "ts\tv\n1\t2\n", "separated by tabs"),
        ("a.csv", "ts,v\n1\n2\n", "most lines of a.csv are not UTF-8 text with as many fields"),
        ("a.csv", "ts,n\xe4me\n".encode("latin-1"), "no header in UTF-8"),
        ("a.csv", "ts,v\n".encode("utf-16"), "is UTF-16 text"),
        ("a.jsonl", "ts,v\n1,2\n", "most lines of a.jsonl are not a JSON object"),
        ("a.json", '[\n{"ts": 1}\n]\n', "looks like one JSON document"),
        ("a.csv", '{"ts": 1}\n', "named like csv but holds jsonl"),
        ("a.txt", "hello\n", "format is unknown"),
        ("a.bin", b"\x00\x01", "neither Parquet nor text"),
        ("a.csv", gzip.compress(b"ts,v\n", mtime=0), r"rename it to end in \.gz"),
        ("a.csv.gz", "ts,v\n", "does not hold gzip data"),
        ("a.csv.gz", gzip.compress(f"ts\n{iso(0)}\n".encode(), mtime=0)[:-12], "damaged or cut short"),
        ("a.csv.zst", zstandard.compress(f"ts\n{iso(0)}\n".encode())[:-3], "damaged or cut short"),
        ("a.parquet", b"PAR1" + b"\x00" * 50, "cannot be read as Parquet"),
        ("a.parquet", "no", "not a Parquet file"),
        ("a.jsonl", json_lines({"v": 1, "zip": 1_700_000_000}), "no column is usable as event time"),
        ("a.jsonl", json_lines({"ts": iso(0)}, {"v": 1}, {"v": 2}), "no column is usable as event time"),
        ("a${B}.csv", f"ts\n{iso(0)}\n", "begins the name of a variable"),
    ],
)
def test_what_is_no_start_is_refused_in_one_sentence(name: str, content: str | bytes, sentence: str) -> None:
    with pytest.raises(InferenceError, match=sentence) as caught:
        infer([write(name, content)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix, compress", [(".gz", gzip.compress), (".ZST", zstandard.compress)])
def test_a_packed_file_cut_anywhere_is_refused(suffix: str, compress: Callable[[bytes], bytes]) -> None:
    whole = compress(json_lines(*readings(30, k=lambda i: i % 3)).encode())
    assert columns(inferred(write(f"a.JSONL{suffix}", whole)))["ts"] == "timestamp"
    for size in range(len(whole)):
        with pytest.raises(InferenceError, match=f"^a.JSONL{suffix} "):
            infer([write(f"a.JSONL{suffix}", whole[:size])])


def test_a_pattern_names_the_files_that_a_run_reads() -> None:
    Path("in/_temporary").mkdir(parents=True)
    Path("in/latest").symlink_to(".")
    for name in ("in/a.jsonl", "in/_temporary/b.jsonl"):
        write(name, json_lines(*readings(10)))
    assert "wrote it from in/a.jsonl, all of its 10 records" in infer(["in/**/*.jsonl"])


def test_files_that_cannot_be_read_together_are_refused() -> None:
    write("a.csv", f"ts\n{iso(0)}\n")
    write("b.jsonl", json_lines({"ts": iso(0)}))
    pq.write_table(pa.table({"ts": [START]}), "a.parquet")
    for name in ("empty.csv", "empty.csv.gz", "empty.parquet"):
        write(name, "")
    assert inferred("a.csv", "empty.csv")["source"]["files"]["paths"] == ["a.csv", "empty.csv"]
    for paths, sentence in (
        ([], "at least one file"),
        (["none.csv"], "no such file"),
        (["no-*.csv"], "no such file"),
        (["."], "is a directory"),
        (["gs://bucket/a.csv"], "not a local file"),
        (["a.csv", "b.jsonl"], "a.csv is csv and b.jsonl is jsonl"),
        (["a.csv", "empty.csv.gz"], "empty.csv.gz is empty, so it is not gzip data"),
        (["a.parquet", "empty.parquet"], "empty.parquet is empty, so it is not Parquet"),
    ):
        with pytest.raises(InferenceError, match=sentence):
            infer(paths)

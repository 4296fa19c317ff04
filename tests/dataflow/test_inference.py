"""`infer`: from data, realistic and hostile, to a job file that is valid and runs as it stands."""

import contextlib
import csv
import io
import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflow.errors import InferenceError
from dataflow.inference import infer

Job = dict[str, Any]
START = datetime(2024, 3, 1, tzinfo=timezone.utc)
RESERVED = ["window_start", "window_end", "rows", "revision", "final"]


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
    return valid(infer(paths, job=job))


def from_records(records: list[dict[str, Any]]) -> Job:
    return inferred(write("data.jsonl", json_lines(*records)))


def from_csv(text: str | bytes) -> Job:
    return inferred(write("data.csv", text))


def valid(text: str) -> Job:
    """The job, after a check of all that the contract asks of it."""
    job: Job = yaml.safe_load(text)
    assert list(job) == [
        *("job", "source", "record"),
        *(["preprocess"] if "preprocess" in job else []),
        *("aggregations", "sinks", "dead_letters", "report"),
    ]
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", job["job"])
    assert "${" not in text, "the job file would replace it"
    assert list(job["source"]) == ["files"]
    assert job["source"]["files"]["paths"] and job["source"]["files"]["format"] in ("parquet", "jsonl", "csv")
    columns, time = job["record"]["columns"], job["record"]["event_time"]
    assert all(re.fullmatch(r"(string|int64|float64|bool|timestamp)\??", type_) for type_ in columns.values())
    assert all(isinstance(name, str) for name in columns)
    if "unit" in time:
        assert time["unit"] in ("s", "ms", "us", "ns") and columns[time["column"]] in ("int64", "float64")
    else:
        assert time["format"] == "iso8601" and columns[time["column"]] == "timestamp"
    derived: dict[str, str] = {}
    for step in job.get("preprocess", []):
        derived |= step["derive"]
    (aggregation,) = job["aggregations"]
    assert re.fullmatch(r"by_[A-Za-z0-9_]+|overall", aggregation["name"])
    assert set(aggregation["key"]) <= set(columns) - {time["column"]}
    assert aggregation["window"]["size"] in ("1m", "5m", "15m", "1h", "6h", "1d", "7d")
    figures = [f"{column}_{name}" for column, names in aggregation["statistics"].items() for name in names]
    output = [name.casefold() for name in [*RESERVED, *aggregation["key"], *figures]]
    assert len(set(output)) == len(output), "two output columns of one name"
    for column, names in aggregation["statistics"].items():
        assert "mean" not in names or column in derived or columns[column].strip("?") in ("int64", "float64")
    out = f"out/{job['job']}"
    assert job["sinks"] == [{"parquet": {"path": out}}]
    assert job["dead_letters"] == {"path": f"{out}/dead_letters", "fail_above": 0.5}
    assert job["report"] == f"{out}/report.html"
    return job


def aggregation(job: Job) -> dict[str, Any]:
    only: dict[str, Any] = job["aggregations"][0]
    return only


def columns(job: Job) -> dict[str, str]:
    named: dict[str, str] = job["record"]["columns"]
    return named


def event_time(job: Job) -> dict[str, str]:
    read: dict[str, str] = job["record"]["event_time"]
    return read


def test_flights_with_missing_figures_become_a_job_that_keeps_every_record() -> None:
    rows = [f"{iso(60 * i)},{('UA', 'AA', 'DL')[i % 3]},N{i},{'NA' if i % 9 == 0 else i - 7},{i}\n" for i in range(900)]
    job = from_csv("time_hour,carrier,tailnum,dep_delay,distance\n" + "".join(rows))
    assert columns(job) == {
        "time_hour": "timestamp",
        "carrier": "string?",
        "tailnum": "string?",
        "dep_delay": "string?",
        "distance": "int64?",
    }
    assert aggregation(job)["name"] == "by_carrier" and aggregation(job)["key"] == ["carrier"]
    assert aggregation(job)["statistics"] == {
        "tailnum": ["distinct", "top5"],
        "dep_delay_numeric": ["count", "missing", "mean", "std", "min", "p50", "p95", "max"],
        "distance": ["count", "missing", "mean", "std", "min", "p50", "p95", "max"],
    }
    expression = job["preprocess"][0]["derive"]["dep_delay_numeric"]
    engine = duckdb.connect()
    got = engine.execute(f"SELECT {expression} FROM (VALUES ('-7'), ('NA'), (''), (NULL)) t(dep_delay)").fetchall()
    assert got == [(-7,), (None,), (None,), (None,)]


def test_the_examples_in_comments_are_valid_once_their_sign_is_removed() -> None:
    text = infer(
        [write("a.jsonl", json_lines(*readings(id=lambda i: f"d{i % 4}", x=lambda i: i / 7, y=lambda i: i * 0.3)))]
    )
    live = re.sub(r"(?m)^( *)# (models:|  example:|- sql:|preprocess:|  - drop_nulls)", r"\1\2", text)
    job = yaml.safe_load(live)
    assert job["preprocess"] == [{"drop_nulls": ["x"]}]
    assert aggregation(job)["models"] == {"example": {"kind": "linear_regression", "target": "y", "features": ["x"]}}
    assert job["sinks"][1] == {"sql": {"url": "sqlite:///out/a.db"}}


@pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
@pytest.mark.parametrize("text", [False, True])
def test_epoch_numbers_are_an_event_time_in_their_unit(unit: str, per_second: int, text: bool) -> None:
    ticks = [(1_700_000_000 + i) * per_second for i in range(50)]
    job = from_records([{"ts": str(tick) if text else tick, "v": i} for i, tick in enumerate(ticks)])
    assert event_time(job) == {"column": "ts", "unit": unit} and columns(job)["ts"] == "int64"


def test_epoch_with_a_fraction_is_float64() -> None:
    job = from_csv("time,v\n1700000000.25,1\n1700000001,2\n")
    assert event_time(job) == {"column": "time", "unit": "s"} and columns(job)["time"] == "float64"


def test_records_without_a_time_are_announced_as_dead_letters() -> None:
    text = infer(
        [write("a.csv", "ts,v\n" + "".join(f"{1_700_000_000 + i if i % 10 else 'NA'},1\n" for i in range(50)))]
    )
    assert event_time(valid(text)) == {"column": "ts", "unit": "s"} and columns(valid(text))["ts"] == "int64"
    assert "# 5 of 50 sampled records have no usable one" in text


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"updated_at": iso(0), "created_at": iso(0)}, "created_at"),
        ({"birth_date": "1990-01-01", "seen": iso(0)}, "seen"),
        ({"date": "2024-03-01", "pickup_datetime": iso(0)}, "pickup_datetime"),
        ({"order_id": 1_700_000_000, "ts": 1_700_000_000}, "ts"),
        ({"weight": 1_700_000_000, "logged": "2024-03-01 10:00"}, "logged"),
        ({"weight": 1_700_000_000, "logged": "2024-03-01 10:00:05,123"}, "logged"),
        ({"made": "2024-03-01 10:00:00 BST", "logged": "20240301T100005Z"}, "logged"),
        ({"date": "2024-03-01"}, "date"),
    ],
)
def test_likeliest_event_time(record: dict[str, Any], expected: str) -> None:
    assert event_time(from_records([record]))["column"] == expected


def test_numbers_that_only_might_be_times_are_named_a_guess() -> None:
    text = infer([write("a.csv", "moment,v\n1700000000,1\n1700000001,2\n")])
    assert event_time(valid(text)) == {"column": "moment", "unit": "s"} and "A guess" in text


@pytest.mark.parametrize("name", RESERVED)
def test_a_column_of_the_output_is_no_key(name: str) -> None:
    job = from_records(readings(**{name: lambda i: f"g{i % 3}"}))
    assert aggregation(job)["key"] == [] and aggregation(job)["name"] == "overall"


def test_statistics_that_would_collide_are_left_out() -> None:
    job = from_records(readings(v_mean=lambda i: f"g{i % 3}", v=lambda i: i, w=lambda i: i))
    assert aggregation(job)["key"] == ["v_mean"] and list(aggregation(job)["statistics"]) == ["w"]


def test_labels_and_calendar_units_are_not_averaged() -> None:
    job = from_records(
        readings(zip=lambda i: 10_000 + i, month=lambda i: i % 12, user_id=lambda i: i, temp=lambda i: i / 3)
    )
    assert list(aggregation(job)["statistics"]) == ["temp"]


@pytest.mark.parametrize(
    ("step_minutes", "size"), [(0.01, "1m"), (1, "1m"), (15, "15m"), (60, "1h"), (1440, "1d"), (10080, "7d")]
)
def test_window_follows_the_span_and_is_no_finer_than_the_data(step_minutes: float, size: str) -> None:
    records = [{"ts": (START + timedelta(minutes=i * step_minutes)).isoformat(), "v": i} for i in range(100)]
    assert aggregation(from_records(records))["window"] == {"size": size}


def test_window_is_estimated_for_the_part_that_was_not_read() -> None:
    rows = "".join(f"{1_700_000_000 + 60 * i},{i}\n" for i in range(400_000))  # 277 days, of which 14 are read
    assert aggregation(from_csv("ts,v\n" + rows))["window"] == {"size": "1d"}


def test_parquet_values_that_python_cannot_hold_do_no_harm() -> None:
    texts = pa.array([b"\xff\xfe", b"ok"] * 20, pa.binary()).view(pa.string())
    table = pa.table({"ts": [START] * 40, "text": texts, "day": pa.array([-(10**8), 10**8] * 20, pa.date32())})
    pq.write_table(table, "odd.parquet")
    assert columns(inferred("odd.parquet")) == {"ts": "timestamp", "text": "string", "day": "timestamp"}


def test_name_and_place_of_the_job() -> None:
    text = json_lines(*readings())
    Path("a [1]").mkdir()
    assert inferred(write("a [1]/2024 été.json", text))["job"] == "2024_t"
    assert inferred("a [1]/2024 été.json")["source"]["files"]["paths"] == ["a [1]/2024 été.json"]
    absolute = str(Path("a [1]/2024 été.json").resolve())
    assert inferred(absolute, job="mine.v2")["source"]["files"]["paths"][0].startswith("/")
    with pytest.raises(InferenceError, match="a job's name has letters"):
        infer([absolute], job="../x")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["NA", "1", iso(3)]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)
ANY_DATA = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@ANY_DATA
@given(st.lists(st.dictionaries(st.text(max_size=12), VALUES, max_size=5), min_size=1, max_size=8))
def test_any_json_records_with_a_time_make_a_valid_job(records: list[dict[str, Any]]) -> None:
    assert event_time(from_records([{**record, "ts": iso(i)} for i, record in enumerate(records)]))


@ANY_DATA
@given(
    st.lists(st.text(max_size=12), max_size=5),
    st.lists(st.lists(st.text(max_size=8), min_size=5, max_size=5), min_size=1),
)
def test_any_csv_makes_a_valid_job_or_a_sentence(header: list[str], rows: list[list[str]]) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([["ts", *header], *([iso(i), *row[: len(header)]] for i, row in enumerate(rows))])
    with contextlib.suppress(InferenceError):
        from_csv(out.getvalue().encode(errors="surrogatepass"))


@ANY_DATA
@given(st.binary(min_size=1), st.sampled_from(["a.csv", "a.jsonl", "a.parquet", "a.csv.gz", "a.dat"]))
def test_any_bytes_make_a_valid_job_or_a_sentence(content: bytes, name: str) -> None:
    with pytest.raises(InferenceError):
        inferred(write(name, content))

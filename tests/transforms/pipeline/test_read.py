"""Files read in a pipeline of one's own: the same records as in a job, and every mistake found before it runs."""

import gzip
import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing import test_pipeline as testing
from apache_beam.testing.util import assert_that

import transforms as sg
from transforms.record import dead_letter
from transforms.testing import holds

COLUMNS = {"at": "timestamp", "k": "string", "x": "float64?"}
RECORDS: list[dict[str, object]] = [
    {"at": "2024-01-01T00:00:00Z", "k": "a", "x": 1.0},
    {"at": "2024-01-01T00:00:01Z", "k": "b", "x": None},
    {"at": "2024-01-01T00:00:02Z", "k": "a", "x": 3.5},
]


def write(folder: Path, format_: str) -> str:
    """The records as a file of a format."""
    path = folder / f"data.{format_}"
    if format_ == "parquet":
        pq.write_table(pa.Table.from_pylist(RECORDS), path)
    elif format_ == "csv":
        path.write_text(
            "at,k,x\n" + "".join(f"{r['at']},{r['k']},{'' if r['x'] is None else r['x']}\n" for r in RECORDS)
        )
    else:
        path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    return str(path)


def values(batches: list[pa.RecordBatch]) -> None:
    assert batches[0].schema.names == ["at", "k", "x", "@position", "@event_time"]
    holds([{"k": "a", "x": 1.0}, {"k": "b", "x": None}, {"k": "a", "x": 3.5}])(batches)


@pytest.mark.parametrize("format_", ["parquet", "jsonl", "csv"])
def test_every_format_gives_the_same_batches(tmp_path: Path, format_: Any) -> None:
    read = sg.ReadFiles(paths=write(tmp_path, format_), format=format_, event_time="at", columns=COLUMNS)
    with testing.TestPipeline(runner=FnApiRunner()) as pipeline:
        found = pipeline | read
        assert_that(found.batches, values, "batches")
        assert_that(found.dead_letters, holds([]), "dead letters")
        assert_that(found.ledger, holds([{"read": 3, "dead": 0}]), "ledger")


def test_a_mapping_of_a_job_file_reads_the_same(tmp_path: Path) -> None:
    path = Path(write(tmp_path, "jsonl"))
    (tmp_path / "data.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    read = sg.ReadFiles.from_spec(
        {"paths": "*.gz", "format": "jsonl"},
        {"event_time": {"column": "at", "format": "iso8601"}, "columns": COLUMNS, "max_line": "1KiB"},
        folder=str(tmp_path),
    )
    assert (read.columns, read.max_line) == (COLUMNS, 1024)
    with testing.TestPipeline(runner=FnApiRunner()) as pipeline:
        assert_that((pipeline | read).batches, values)


def test_parquet_brings_its_own_columns(tmp_path: Path) -> None:
    read = sg.ReadFiles(paths=write(tmp_path, "parquet"), format="parquet", event_time="at")
    assert read.columns == {"at": "timestamp", "k": "string?", "x": "float64?"}
    with testing.TestPipeline(runner=FnApiRunner()) as pipeline:
        assert_that((pipeline | read).batches, values)


def test_one_transform_serves_several_pipelines(tmp_path: Path) -> None:
    read = sg.ReadFiles(paths=write(tmp_path, "csv"), format="csv", event_time="at", columns=COLUMNS)
    for _ in range(2):
        with testing.TestPipeline(runner=FnApiRunner()) as pipeline:
            assert_that((pipeline | read).batches, values)


def test_a_record_that_cannot_be_read_is_a_dead_letter_with_its_bytes(tmp_path: Path) -> None:
    path = Path(write(tmp_path, "jsonl"))
    path.write_text(path.read_text() + "{no\n")
    read = sg.ReadFiles(paths=str(path), format="jsonl", event_time="at", columns=COLUMNS)
    with testing.TestPipeline(runner=FnApiRunner()) as pipeline:
        found = pipeline | read
        assert_that(found.batches, values, "batches")
        letter = {"stage": dead_letter.PARSE, "reason": "malformed", "payload": b"{no"}
        assert_that(found.dead_letters, holds([letter]), "dead letters")
        assert_that(found.ledger, holds([{"read": 4, "dead": 1}]), "ledger")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "parqet"}, "format: must be 'parquet', 'jsonl' or 'csv', is parqet"),
        ({"paths": []}, "paths: must not be empty"),
        ({"columns": {}}, "columns: is required for jsonl; only Parquet brings its own types"),
        ({"columns": {**COLUMNS, "x": "float"}}, "columns.x: must be 'string', 'int64', "),
        ({"event_time": "time"}, "event_time.column must be one of `columns`, is time"),
        ({"event_time": {"column": "at", "unti": "s"}}, "event_time.unti: is not a known field; did you mean `unit`?"),
        ({"event_time": {"column": "k"}}, "event_time.column must be a timestamp, or have a `unit`; k is string"),
        ({"unknown_fields": "drop"}, "unknown_fields: must be 'ignore' or 'dead_letter', is drop"),
        ({"max_line": 0}, "max_line: "),
        ({"threads": 0}, "threads: must be at least 1, is 0"),
        (
            {"range_bytes": -1, "threads": 0},
            "range_bytes: must be at least 1, is -1\nthreads: must be at least 1, is 0",
        ),
    ],
)
def test_a_wrong_argument_is_named_where_the_transform_is_constructed(changes: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {"paths": "data.jsonl", "format": "jsonl", "event_time": "at", "columns": COLUMNS}
    with pytest.raises(sg.SpecError) as refused:
        sg.ReadFiles(**given | changes)
    assert str(refused.value).startswith(words)


def test_a_wrong_mapping_is_refused_with_its_own_names() -> None:
    with pytest.raises(sg.SpecError, match=r"^record\.event_time: is required$"):
        sg.ReadFiles.from_spec({"paths": "a", "format": "csv"}, {"columns": COLUMNS})


@pytest.mark.parametrize(
    ("format_", "changes", "words"),
    [
        ("csv", {"paths": "absent.csv"}, "^paths: there is no file absent.csv"),
        ("csv", {"columns": {**COLUMNS, "kk": "string?"}}, "^columns.kk: no file has a column kk; did you mean `k`?"),
        ("parquet", {"columns": {**COLUMNS, "y": "int64?"}}, "^columns.y: no file has a column y; there are at, k, x"),
        (
            "csv",
            {"unknown_fields": "dead_letter", "columns": {"at": "timestamp"}},
            "^unknown_fields: every record of .* k,",
        ),
        ("parquet", {"paths": "data.csv"}, "data.csv cannot be read as parquet"),
    ],
)
def test_files_that_do_not_fit_are_refused_before_the_pipeline_runs(
    tmp_path: Path, format_: Any, changes: dict[str, Any], words: str
) -> None:
    write(tmp_path, "csv")
    write(tmp_path, "parquet")
    given: dict[str, Any] = {
        "paths": f"data.{format_}",
        "event_time": "at",
        "columns": COLUMNS,
        "folder": str(tmp_path),
    }
    read, pipeline = sg.ReadFiles(format=format_, **given | changes), beam.Pipeline()
    with pytest.raises(sg.SourceError, match=words):
        _ = pipeline | read


def test_parquet_without_that_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        sg.SpecError, match=r"^event_time: data.parquet has no column when that could be a time; it has"
    ):
        write(tmp_path, "parquet")
        sg.ReadFiles(paths="data.parquet", format="parquet", event_time="when", folder=str(tmp_path))

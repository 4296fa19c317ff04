"""Names, keys and paths are stored and read back literally: none is run, and none leaves the job's folder."""

import json
import sqlite3
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.dataflow.jobs import (
    JSON_LINES,
    changed,
    parquet_table,
    run,
    sqlite_rows,
    streamgauge,
    tree,
    write_job,
    write_json_lines,
)

NAMES: Final = [
    "with space",
    " ends in space ",
    'double " quote',
    "single ' quote",
    "semi;colon -- comment",
    "'; DROP TABLE ledger; --",
    '"; DROP TABLE "ledger"; --',
    "../../outside",
    "/tmp/absolute",
    "..",
    ".hidden",
    "C:\\windows",
    "%41",
    "%2e%2e%2foutside",
    "per%cent %s {} {0} %(x)s",
    "$(touch pwned) `touch pwned` ${HOME:-x}",
    "new\nline",
    "tab\tand\r",
    "東京 ✈ ñ e\u0301 \u202eabc",
    "<script>alert(1)</script>&amp;",
    "glob*?[a]",
    "null",
    "select",
    "x" * 180,
]


def folder_with_data(tmp_path: Path, records: list[dict[str, Any]]) -> Path:
    """A folder inside a folder, so that what gets out of it shows."""
    folder = tmp_path / "house" / "room"
    folder.mkdir(parents=True)
    write_json_lines(folder / "data.jsonl", records)
    return folder


def outside(tmp_path: Path) -> set[str]:
    return {path for path in tree(tmp_path) if not path.startswith("house/room/")}


@pytest.mark.parametrize("names", [NAMES[:8], NAMES[8:16], NAMES[16:]])
def test_names_of_aggregations_are_stored_literally_and_stay_inside(tmp_path: Path, names: list[str]) -> None:
    names = [name for name in names if name != ".."]  # which is refused
    folder = folder_with_data(tmp_path, [{"ts": 1, "key": "k", "value": 2.0}])
    template = {"key": ["key"], "window": {"size": "1h"}, "statistics": {"value": ["sum"]}}
    job = write_job(
        folder,
        changed(
            JSON_LINES,
            aggregations=[{**template, "name": name} for name in names],
            sinks=[{"parquet": {"path": "out"}}, {"sql": {"url": "sqlite:///figures.db"}}],
            report="report.html",
        ),
    )
    before = outside(tmp_path)
    run(job)
    assert streamgauge("plan", job, "--svg", folder / "graph.svg").code == 0
    ElementTree.parse(folder / "graph.svg")
    assert outside(tmp_path) == before
    found = {path.name for path in (folder / "out").iterdir()}
    assert {unquote(name) for name in found} == {*names, "ledger", "dead_letters"}
    with sqlite3.connect(folder / "figures.db") as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    database.close()
    assert {*names, "ledger"} <= tables
    for name in names:
        assert [row["value_sum"] for row in sqlite_rows(folder / "figures.db", name)] == [2.0]
    for path in (folder / "out").iterdir():
        assert path.is_dir() and list(path.glob("*.parquet"))


def test_values_of_keys_are_stored_literally_and_stay_apart(tmp_path: Path) -> None:
    values = [*NAMES, "", "\x01", "x" * 100_000, "e\u0301", "\u00e9", "K", "k", None]
    folder = folder_with_data(tmp_path, [{"ts": 1, "key": key, "value": i} for i, key in enumerate(values)])
    aggregation = {**JSON_LINES["aggregations"][0], "statistics": {"value": ["sum"], "key": ["top3", "min", "first"]}}
    job = write_job(
        folder,
        changed(
            JSON_LINES,
            aggregations=[aggregation],
            sinks=[{"parquet": {"path": "out"}}, {"sql": {"url": "sqlite:///figures.db"}}],
            report="report.html",
        ),
    )
    before = outside(tmp_path)
    run(job)
    assert outside(tmp_path) == before
    wanted = {key: float(i) for i, key in enumerate(values)}
    in_parquet = parquet_table(folder / "out/by_key").to_pylist()
    in_sqlite = sqlite_rows(folder / "figures.db", "by_key")
    assert {row["key"]: row["value_sum"] for row in in_parquet} == wanted
    assert {row["key"]: row["value_sum"] for row in in_sqlite} == wanted
    for row in in_parquet:
        top = [] if row["key"] is None else [{"value": row["key"], "count": 1}]
        assert (row["key_top3"] or [], row["key_min"], row["key_first"]) == (top, row["key"], row["key"])
    for row in in_sqlite:
        assert json.loads(row["key_top3"] or "[]") == (
            [] if row["key"] is None else [{"value": row["key"], "count": 1}]
        )
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script>alert(1)</script>" not in page


@pytest.mark.parametrize("format_", ["jsonl", "csv", "parquet"])
def test_names_of_columns_are_taken_literally_in_every_format(tmp_path: Path, format_: str) -> None:
    names = [name for name in NAMES if not (format_ == "csv" and ("\n" in name or "\r" in name))]
    names = [name for name in names if len(name) < 50]
    record = {"ts": 1, **{name: float(i) for i, name in enumerate(names)}}
    folder = folder_with_data(tmp_path, [record])
    if format_ == "csv":
        quoted = ['"' + name.replace('"', '""') + '"' for name in record]
        text = ",".join(quoted) + "\n" + ",".join(str(value) for value in record.values()) + "\n"
        (folder / "data.csv").write_text(text, encoding="utf-8")
    elif format_ == "parquet":
        pq.write_table(pa.Table.from_pylist([record]), folder / "data.parquet")
    job = write_job(
        folder,
        changed(
            JSON_LINES,
            source={"files": {"paths": [f"data.{format_}"], "format": format_}},
            record={
                "event_time": {"column": "ts", "unit": "s"},
                "columns": {"ts": "int64", **dict.fromkeys(names, "float64?")},
            },
            preprocess=[{"drop_nulls": names}, {"fill": dict.fromkeys(names, 0.5)}, {"clip": {names[0]: [0, 99]}}],
            aggregations=[
                {
                    "name": "all",
                    "window": {"size": "1h"},
                    "statistics": {name: ["sum", "p50", "top1"] for name in names},
                },
            ],
            sinks=[{"parquet": {"path": "out"}}, {"sql": {"url": "sqlite:///figures.db"}}],
        ),
    )
    before = outside(tmp_path)
    run(job)
    assert outside(tmp_path) == before
    (in_parquet,) = parquet_table(folder / "out/all").to_pylist()
    (in_sqlite,) = sqlite_rows(folder / "figures.db", "all")
    for i, name in enumerate(names):
        assert in_parquet[f"{name}_sum"] == in_sqlite[f"{name}_sum"] == i
        assert in_parquet[f"{name}_top1"] == [{"value": float(i), "count": 1}]


def test_names_of_files_and_folders_are_taken_literally(tmp_path: Path) -> None:
    names = [name.replace("/", "_") for name in NAMES if "\n" not in name and name not in ("..", "null")]
    folder = folder_with_data(tmp_path, [])
    for i, name in enumerate(names):
        write_json_lines(folder / f"{name}.jsonl", [{"ts": 1, "key": name, "value": i}, {"ts": "soon"}])
    paths = [f"{name}.jsonl".replace("${", "$\\{") for name in names if "${" not in name]
    sink = 'o\'ut; "x" %41 é ?*[a]'
    job = write_job(
        folder,
        changed(
            JSON_LINES,
            source={"files": {"paths": paths, "format": "jsonl"}},
            sinks=[{"parquet": {"path": sink}}, {"sql": {"url": "sqlite:///da ta/it's;.db"}}],
            dead_letters={"path": "le tt;ers/%2e%2e"},
            report="re port;.html",
            state="st ate;'",
        ),
        name="a job; of 'mine' %41.yaml",
    )
    before = outside(tmp_path)
    run(job)
    run(job)
    assert outside(tmp_path) == before
    sources = set(parquet_table(folder / sink / "ledger")["source"].to_pylist())
    assert sources == set(paths)
    assert set(parquet_table(folder / "le tt;ers/%2e%2e")["source"].to_pylist()) == set(paths)
    assert len(sqlite_rows(folder / "da ta/it's;.db", "by_key")) == len(paths)
    assert (folder / "re port;.html").exists() and (folder / "st ate;'").is_dir()
    for name in paths:
        assert name.removesuffix(".jsonl") in parquet_table(folder / sink / "by_key")["key"].to_pylist()


def test_expressions_reach_no_file_and_no_network(tmp_path: Path) -> None:
    folder = folder_with_data(tmp_path, [{"ts": 1, "key": "k", "value": 2.0}])
    (folder / "secret.txt").write_text("secret")
    for sql in (
        f"read_text('{folder}/secret.txt')",
        f"(SELECT content FROM read_text('{folder}/secret.txt'))",
        "getenv('HOME')",
        "current_setting('threads')",
        "1); COPY (SELECT 1) TO 'pwned' --",
        "(SELECT 1 FROM ledger)",
        "key) FROM rows; ATTACH 'pwned'; SELECT (key",
        "random()",
        "now()::VARCHAR",
    ):
        job = write_job(folder, changed(JSON_LINES, preprocess=[{"derive": {"z": sql}}]))
        before = tree(tmp_path)
        ended = streamgauge("run", job)
        assert ended.code == 2, sql
        assert "preprocess[0].derive.z: " in ended.message
        assert tree(tmp_path) == before

"""Promise 1: the same records give the same rows, whatever the format, shards, batches, workers and order."""

import json
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.dataflow.jobs import streamgauge

SEED = int(os.environ.get("STREAMGAUGE_TEST_SEED", random.randrange(1 << 30)))
NUMERIC = ["count", "missing", "mean", "std", "var", "min", "max", "sum", "p50", "p99.9"]
JOB: Mapping[str, Any] = {
    "job": "same",
    "record": {
        "event_time": {"column": "ts", "unit": "ms"},
        "columns": {"ts": "int64", "key": "string?", "x": "float64?", "y": "float64?", "n": "int64?", "flag": "bool?"},
    },
    "preprocess": [{"derive": {"z": "x - y"}}],
    "aggregations": [
        {
            "name": "fixed",
            "key": ["key"],
            "window": {"size": "1h"},
            "statistics": {
                "x": NUMERIC,
                "n": ["count", "min", "max", "sum", "distinct", "top3"],
                "flag": ["mean"],
                "key": ["distinct", "top2", "min"],
            },
            "models": {"m": {"kind": "linear_regression", "target": "y", "features": ["x", "n"]}},
        },
        {
            "name": "sliding",
            "key": ["key", "flag"],
            "window": {"size": "6h", "every": "1h"},
            "statistics": {"z": ["mean", "std", "p90"], "n": ["distinct"]},
            "models": {
                "a": {
                    "kind": "linear_regression",
                    "target": "y",
                    "features": ["x"],
                    "memory": "all",
                    "forgetting_factor": 0.9,
                }
            },
        },
        {
            "name": "days",
            "key": [],
            "window": {"calendar": "day", "time_zone": "Europe/Berlin"},
            "statistics": {"x": ["mean", "sum", "p10"], "key": ["top5", "distinct"]},
        },
    ],
    "sinks": [{"parquet": {"path": "out"}}],
}
COMPRESSIONS: dict[str, Literal["gzip", "zstd"] | None] = {"": None, ".gz": "gzip", ".zst": "zstd"}
KEYS = ["window_start", "window_end", "key", "flag", "model"]


@pytest.fixture(scope="module")
def records() -> pd.DataFrame:
    """Four days across a clock change and 1970, with nulls, odd keys and an offset of 1e8."""
    print(f"STREAMGAUGE_TEST_SEED={SEED}")
    chance, size = np.random.default_rng(SEED), 30_000
    start = chance.choice([1_364_515_200_000, -172_800_000])  # 2013-03-29, and two days before the epoch
    keys = np.array(["a", "b", "ü ñ", "", "'; --", None], object)
    frame = pd.DataFrame({"ts": start + chance.integers(0, 4 * 86_400_000, size), "key": chance.choice(keys, size)})
    frame["x"] = np.round(chance.normal(1e8, 1, size), 6)
    frame["n"] = pd.array(chance.integers(-50, 3_000, size), "Int64")
    frame["y"] = np.round(0.5 * (frame.x - 1e8) + 0.01 * frame.n.astype(float) + chance.normal(0, 1, size), 6)
    frame["flag"] = pd.array(chance.random(size) < 0.5, "boolean")
    for name in ("x", "y", "n", "flag"):
        frame.loc[chance.random(size) < 0.05, name] = None
    frame.loc[chance.random(size) < 0.5, "ts"] //= 3_600_000
    frame["ts"] = frame.ts.where(frame.ts.abs() > 100_000_000, frame.ts * 3_600_000)  # half lie on window bounds
    # What CSV cannot tell apart: an empty text and null are one there, so keys are never null in what is compared.
    frame["key"] = frame.key.fillna("null")
    return frame


def write(frame: pd.DataFrame, folder: Path, format_: str, packed: str = "") -> str:
    folder.mkdir(exist_ok=True)
    name = f"data.{format_}{packed}"
    compression = COMPRESSIONS[packed]
    if format_ == "jsonl":
        frame.to_json(folder / name, orient="records", lines=True, double_precision=15, compression=compression)
    elif format_ == "csv":
        frame.to_csv(folder / name, index=False, compression=compression)
    else:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        pq.write_table(table, folder / name, row_group_size=7_000)
    return name


def run(folder: Path, name: str, format_: str, *arguments: str) -> dict[str, pd.DataFrame]:
    job = {**JOB, "source": {"files": {"paths": [name], "format": format_}}}
    (folder / "job.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(job)), allow_unicode=True))
    ended = streamgauge("run", folder / "job.yaml", *arguments)
    assert (ended.code, ended.err) == (0, ""), ended.err
    tables = ("fixed", "fixed_models", "sliding", "sliding_models", "days")
    return {table: pd.read_parquet(folder / "out" / table) for table in tables}


@pytest.fixture(scope="module")
def wanted(records: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("wanted")
    return run(folder, write(records, folder, "parquet"), "parquet", "--set", "execution.shards=1")


def assert_same(got: dict[str, pd.DataFrame], wanted: dict[str, pd.DataFrame]) -> None:
    for name, want in wanted.items():
        key = [column for column in KEYS if column in want.columns]
        ours, theirs = (t.sort_values(key, ignore_index=True).drop(columns="revision") for t in (got[name], want))
        assert len(ours) == len(theirs), name
        for column in theirs.columns:
            a, b = ours[column], theirs[column]
            exact = column.endswith(
                ("count", "missing", "min", "max", "p50", "p99_9", "p90", "p10", "distinct", "rows")
            )
            if a.dtype == float and not exact:
                solved = name.endswith("_models")
                enough = theirs["n"].fillna(0) >= 10 if solved else pd.Series(True, index=theirs.index)
                scale = theirs["x_mean"].abs() * theirs["rows"] if column == "x_sum" else b.abs()
                bound = (1e-8 if solved else 1e-12) * scale + (1e-9 if solved else 0)
                if column in ("z_mean", "mean"):
                    bound = bound + 1e-12 * 1e8  # of what was averaged: differences at an offset of 1e8
                near = (a - b).abs() <= bound
                assert (near | (a.isna() & b.isna()) | ~enough).all(), f"{name}.{column}"
            else:
                assert [_plain(value) for value in a] == [_plain(value) for value in b], f"{name}.{column}"


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | list):
        return [tuple(entry.values()) for entry in value]
    return None if value is None or value is pd.NA or value != value else value


@pytest.mark.parametrize(
    "format_, packed, arguments",
    [
        ("jsonl", "", ["--set", "execution.shards=4", "--set", "execution.range=64KB"]),
        ("jsonl", ".gz", ["--set", "execution.shards=16", "--set", "execution.batch_rows=10000"]),
        ("csv", "", ["--set", "execution.range=100KB", "--set", "execution.batch_rows=100"]),
        ("csv", ".zst", ["--set", "execution.threads=1"]),
        ("parquet", "", ["--set", "execution.shards=16", "--set", "execution.batch_rows=100"]),
        ("parquet", "", ["--direct_num_workers=2", "--direct_running_mode=multi_threading"]),
    ],
)
def test_the_rows_are_the_same(
    format_: str,
    packed: str,
    arguments: list[str],
    records: pd.DataFrame,
    wanted: dict[str, pd.DataFrame],
    tmp_path: Path,
) -> None:
    assert_same(run(tmp_path, write(records, tmp_path, format_, packed), format_, *arguments), wanted)


def test_shuffled_records_give_the_same_rows(
    records: pd.DataFrame, wanted: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    shuffled = records.sample(frac=1, random_state=SEED % (1 << 31))
    assert_same(run(tmp_path, write(shuffled, tmp_path, "jsonl"), "jsonl", "--set", "execution.range=200KB"), wanted)


def test_several_processes_give_the_same_rows(
    records: pd.DataFrame, wanted: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    name = write(records, tmp_path, "parquet")
    assert_same(
        run(tmp_path, name, "parquet", "--direct_num_workers=2", "--direct_running_mode=multi_processing"), wanted
    )

"""Jobs for end-to-end tests: written as a user writes them, run by the command line, their tables read back."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
import yaml

from dataflow.main import main

ROOT: Final = Path(__file__).resolve().parents[2]
COMMAND: Final = (sys.executable, "-m", "dataflow.main")
PATIENCE_SECONDS: Final = 60

JSON_LINES: Final[Mapping[str, Any]] = {
    "job": "readings",
    "source": {"files": {"paths": ["data.jsonl"], "format": "jsonl"}},
    "record": {
        "event_time": {"column": "ts", "unit": "s"},
        "columns": {"ts": "int64", "key": "string?", "value": "float64?"},
    },
    "aggregations": [
        {"name": "by_key", "key": ["key"], "window": {"size": "1h"}, "statistics": {"value": ["count", "sum", "max"]}}
    ],
    "sinks": [{"parquet": {"path": "out"}}],
}
"""A small job that runs as it stands beside a data.jsonl; tests change what they are about."""


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The one clear message of a failure: it is on stderr, and no traceback is."""
        assert "Traceback" not in self.err + self.out, self.err
        assert self.err.strip(), f"exit code {self.code} without a word"
        return self.err


def streamgauge(*arguments: str | Path) -> Ended:
    """Runs a command in this process, as the console script does."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            return Ended(int(exit_.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("main returned")


def start(*arguments: str | Path, **options: Any) -> "subprocess.Popen[str]":
    """Starts a command in a process of its own, in a session of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True, **options}
    return subprocess.Popen([*COMMAND, *map(str, arguments)], env=environment, **pipes)


def finished(process: "subprocess.Popen[str]") -> Ended:
    """Waits for a command."""
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return Ended(process.returncode, out or "", err or "")


def in_process_of_its_own(*arguments: str | Path, **options: Any) -> Ended:
    """Runs a command where the process itself matters: its exit code, its stderr, its limits."""
    return finished(start(*arguments, **options))


def changed(job: Mapping[str, Any], /, **fields: Any) -> dict[str, Any]:
    """A job with top-level fields replaced; None takes one out."""
    merged = {**job, **fields}
    return {name: value for name, value in merged.items() if value is not None}


def write_job(folder: Path, job: Mapping[str, Any], name: str = "job.yaml") -> Path:
    """Writes a job file."""
    path = folder / name
    path.write_text(yaml.safe_dump(dict(job), sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def write_json_lines(path: Path, records: Iterable[object]) -> Path:
    """Writes records as JSON lines."""
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def readings(count: int, start_at: int = 1_700_000_000, keys: int = 7) -> list[dict[str, Any]]:
    """Records for JSON_LINES, one a second."""
    return [{"ts": start_at + i, "key": f"k{i % keys}", "value": float(i % 101)} for i in range(count)]


def written(folder: Path, job: Mapping[str, Any] = JSON_LINES, records: Sequence[object] | None = None) -> Path:
    """A job and its data in a folder."""
    write_json_lines(folder / "data.jsonl", readings(1000) if records is None else records)
    return write_job(folder, job)


def run(job: Path, *arguments: str) -> Ended:
    """Runs a job that must succeed."""
    ended = streamgauge("run", job, *arguments)
    assert ended.code == 0, ended.err
    return ended


def parquet_table(folder: Path) -> pa.Table:
    """What anybody reads who takes all the Parquet files of a folder."""
    files = sorted(folder.glob("*.parquet"))
    assert files, f"{folder} has no Parquet files"
    return pa.concat_tables([pq.read_table(file) for file in files], promote_options="default")


def parquet_tables(folder: Path) -> dict[str, pa.Table]:
    """Every table of a Parquet sink, by the names of the folders."""
    return {path.name: parquet_table(path) for path in sorted(folder.iterdir()) if path.is_dir()}


def in_key_order(table: pa.Table) -> pa.Table:
    """A table in the order of all of its columns that can be ordered; tables are sets of rows."""
    names = [field.name for field in table.schema if not pa.types.is_list(field.type)]
    return table.sort_by([(name, "ascending") for name in names])


def sqlite_rows(database: Path, table: str) -> list[dict[str, Any]]:
    """The rows of a table as SQLite holds them."""
    engine = sa.create_engine(f"sqlite:///{database}", poolclass=sa.NullPool)
    with engine.connect() as connection:
        name = sa.quoted_name(table, quote=True)
        return [dict(row) for row in connection.execute(sa.select(sa.text("*")).select_from(sa.table(name))).mappings()]


def without(table: pa.Table, *names: str) -> pa.Table:
    """A table without columns that differ from run to run."""
    return table.drop_columns([name for name in names if name in table.schema.names])


def settled(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table without what differs from run to run, in an order of their own."""
    rows: list[dict[str, Any]] = in_key_order(without(table, "revision", "failed_at", "attempts")).to_pylist()
    return rows


def tree(folder: Path) -> set[str]:
    """Every file and folder below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def replayed(job: Path, repaired: Path) -> Ended:
    """Replays a repaired export, which must succeed."""
    ended = streamgauge("replay", job, repaired)
    assert ended.code == 0, ended.err
    return ended

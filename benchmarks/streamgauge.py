"""Streamgauge as a contender: the whole command, on a job file written for the task."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.answers import Relation, Window, check_answer
from benchmarks.contenders import Task
from benchmarks.events import Format, sql_text
from benchmarks.measurement import RunError

# YAML reads JSON, so paths and lists are put in as JSON: whatever a folder is called, it is quoted right.
JOB = """\
job: benchmark
source:
  files: {{paths: {paths}, format: {kind}}}
record:
  event_time: {{column: ts, unit: ms}}
  columns: {{sensor: string, ts: int64, feature: float64, target: float64}}
aggregations:
  - name: by_sensor
    key: [sensor]
    window: {window}
    statistics:
      feature: [count, mean, std, min, max]
    models:
      line: {{kind: linear_regression, target: target, features: [feature]}}
sinks:
  - parquet: {{path: {tables}}}
"""

# A row whose counts or window do not agree with one another gets no n, and so is reported as a wrong one.
ANSWER = """
    select sensor, epoch_ms(window_start) as window_start,
        case when rows = feature_count and rows = m.n and epoch_ms(window_end) - epoch_ms(window_start) = {size_ms}
            then rows end as n,
        feature_mean as mean, feature_std as std, feature_min as min, feature_max as max,
        coefficient_feature as slope, intercept, r2
    from {rows} full join {models} as m
        using (sensor, window_start, window_end)
"""
LEDGER = "select sum(read)::bigint, sum(accepted)::bigint, sum(dead)::bigint from {ledger}"
DEAD_LETTERS = "select count(*) from {letters}"


@dataclass(frozen=True, slots=True)
class Streamgauge:
    """`run JOB`; `program` is the command line in front of `run`."""

    program: tuple[str, ...]
    name: str = "streamgauge"
    title: str = "Streamgauge"
    json_sample: tuple[int, int] | None = None
    formats: tuple[Format, ...] = ("jsonl", "parquet")

    def command(self, task: Task, sources: Sequence[Path], folder: Path) -> list[str]:
        job = folder / "job.yaml"
        job.write_text(
            JOB.format(
                paths=json.dumps([str(source) for source in sources]),
                kind=task.kind,
                window=json.dumps(window_field(task.window)),
                tables=json.dumps(str(folder / "tables")),
            )
        )
        return [*self.program, "run", str(job)]

    def check(self, task: Task, folder: Path, exact: Path) -> None:
        tables = folder / "tables"
        query = ANSWER.format(
            size_ms=task.window.size_s * 1000,
            rows=table(tables, "by_sensor"),
            models=table(tables, "by_sensor_models"),
        )

        def answer(connection: duckdb.DuckDBPyConnection) -> Relation:
            return connection.sql(query)

        check_answer(answer, exact)
        check_ledger(task, tables)


@dataclass(frozen=True, slots=True)
class HelpPage:
    """`--help`: what it costs to ask."""

    program: tuple[str, ...]
    name: str = "help"
    title: str = "Streamgauge --help"
    json_sample: tuple[int, int] | None = None
    formats: tuple[Format, ...] = ("jsonl", "parquet")

    def command(self, task: Task, sources: Sequence[Path], folder: Path) -> list[str]:
        return [*self.program, "--help"]

    def check(self, task: Task, folder: Path, exact: Path) -> None:
        """There is no answer to compare: that it ended well is all."""


def window_field(window: Window) -> dict[str, str]:
    size = {"size": f"{window.size_s}s"}
    return size if window.size_s == window.every_s else {**size, "every": f"{window.every_s}s"}


def table(tables: Path, name: str) -> str:
    return sql_text(tables / name / "*.parquet")


def check_ledger(task: Task, tables: Path) -> None:
    """Every record must be in the ledger, the bad ones as dead letters."""
    expected = (task.events.records, task.events.good, task.events.bad)
    with duckdb.connect() as connection:
        found = connection.sql(LEDGER.format(ledger=table(tables, "ledger"))).fetchall()[0]
        if found != expected:
            raise RunError(f"wrong ledger: read, accepted, dead are {found}, must be {expected}")
        if not task.events.bad:
            return
        letters = connection.sql(DEAD_LETTERS.format(letters=table(tables, "dead_letters"))).fetchall()[0][0]
    if letters != task.events.bad:
        raise RunError(f"wrong dead letters: {letters} rows, must be {task.events.bad}")

"""kill -9 at any moment: the tables are those of the run before or the new ones, and the next run finishes."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from dataflow.execution.bounded import settle
from tests.dataflow.jobs import (
    JSON_LINES,
    ROOT,
    changed,
    parquet_tables,
    readings,
    run,
    settled,
    sqlite_rows,
    tree,
    write_job,
    write_json_lines,
)

pytestmark = pytest.mark.slow

SEED: Final = 20_261_122
FORKING: Final = """
import os, sys
import apache_beam, dataflow.commands.run, dataflow.graph, dataflow.main, runners.direct

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        sys.argv = ["streamgauge", "run", line.rstrip("\\n")]
        dataflow.main.main()
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Real processes without the two seconds that importing Beam takes each of them."""

TABLES: Final = ("by_key", "by_hour", "ledger")
JOB: Final = changed(
    JSON_LINES,
    aggregations=[
        {**JSON_LINES["aggregations"][0], "window": {"size": "1m"}},
        {**JSON_LINES["aggregations"][0], "name": "by_hour", "key": []},
    ],
    sinks=[{"parquet": {"path": "out"}}, {"sql": {"url": "sqlite:///out/figures.db"}}],
)


@dataclass(frozen=True)
class Starter:
    """Starts runs of jobs in processes of their own, and kills them."""

    process: "subprocess.Popen[str]"

    def killed(self, job: Path, moment: Callable[[], bool]) -> int:
        """Runs a job and kills it as soon as `moment` has come; returns how the process ended."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{job}\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        while not moment() and is_running(child):
            time.sleep(0.0002)
        if is_running(child):
            os.kill(child, signal.SIGKILL)
        return int(self.process.stdout.readline())


def is_running(child: int) -> bool:
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", FORKING], env=environment, **pipes) as process:
        yield Starter(process)
        assert process.stdin
        process.stdin.close()


@dataclass(frozen=True)
class Versions:
    """A job whose input has two versions, and the tables of each."""

    job: Path
    tables: tuple[Any, Any]

    def give(self, version: int) -> None:
        write_json_lines(self.job.parent / "data.jsonl", records(version))


def records(version: int) -> list[dict[str, Any]]:
    return [{**record, "value": record["value"] + version} for record in readings(9_000 + 1_000 * version, keys=10)]


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    tables = []
    for version in (1, 0):
        folder = tmp_path / str(version)
        folder.mkdir()
        write_json_lines(folder / "data.jsonl", records(version))
        run(write_job(folder, JOB))
        tables.append((in_parquet(folder), in_sqlite(folder)))
    return Versions(tmp_path / "0/job.yaml", (tables[1], tables[0]))


def in_parquet(folder: Path) -> dict[str, Any]:
    return {name: settled(table) for name, table in parquet_tables(folder / "out").items()}


def in_sqlite(folder: Path) -> dict[str, Any]:
    return {name: sqlite_rows(folder / "out/figures.db", name) for name in TABLES}


@contextmanager
def _told(version: int, moment: str) -> Iterator[None]:
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"killed at `{moment}` on the way to version {version}, seed {SEED}: {error}") from error


def moments(folder: Path) -> dict[str, Callable[[], bool]]:
    """When to kill: in the course of reading, of staging, of publishing; and when the dice say so."""
    state, out, dice = folder / ".streamgauge/readings", folder / "out", random.Random(SEED)
    manifest = out / "by_key/_manifest.json"
    published = manifest.stat().st_mtime_ns

    def after(seconds: float) -> Callable[[], bool]:
        at: list[float] = []

        def come() -> bool:
            at[:] = at or [time.monotonic() + seconds]
            return time.monotonic() >= at[0]

        return come

    named: dict[str, Callable[[], bool]] = {
        "staging": lambda: any(state.glob("staging-*/*/*.parquet")),
        "prepared": lambda: any(out.glob("*/.incoming-*")),
        "prepared all": lambda: any(out.glob("ledger/.incoming-*/_manifest.json")),
        "database": lambda: (out / "figures.db-journal").exists() or (out / "figures.db-wal").exists(),
        "recorded": (state / "publication.json").exists,
        "renamed": lambda: manifest.stat().st_mtime_ns != published,
    }
    return named | {f"{seconds:.3f} s": after(seconds) for seconds in (dice.uniform(0.02, 0.6) for _ in range(4))}


def test_a_killed_run_leaves_old_tables_or_new_ones_and_the_next_run_finishes(
    versions: Versions, starter: Starter
) -> None:
    print(f"seed {SEED}")
    folder, version, killed = versions.job.parent, 1, set()
    for moment in moments(folder):
        versions.give(version)
        before, after = versions.tables[1 - version], versions.tables[version]
        code = starter.killed(versions.job, moments(folder)[moment])
        killed |= {moment} if code == -signal.SIGKILL else set()
        with _told(version, moment):
            assert code in (0, -signal.SIGKILL)
            assert in_sqlite(folder) in (before[1], after[1])
            if not (folder / ".streamgauge/readings/publication.json").exists():
                assert in_parquet(folder) in (before[0], after[0])
            settle(str(folder / ".streamgauge/readings"))  # as any command does that looks at the tables
            assert in_parquet(folder) in (before[0], after[0])
            run(versions.job)
            assert (in_parquet(folder), in_sqlite(folder)) == after
        version = 1 - version
    assert {"staging", "prepared"} <= killed and len(killed) >= 6
    assert not [path for path in tree(folder) if "staging-" in path or ".incoming" in path or "publication" in path]

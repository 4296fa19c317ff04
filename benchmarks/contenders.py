"""Who takes part, and how each is started on a task."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from benchmarks.answers import Window, check_answer
from benchmarks.events import EventSet, Format, sql_text

# What peers write into their answer folder, as one SQL source; the columns are named so that an empty file has them.
ANSWER_COLUMNS = (
    "{sensor: 'VARCHAR', window_start: 'BIGINT', n: 'BIGINT', mean: 'DOUBLE', std: 'DOUBLE', min: 'DOUBLE', "
    "max: 'DOUBLE', slope: 'DOUBLE', intercept: 'DOUBLE', r2: 'DOUBLE'}"
)


@dataclass(frozen=True, slots=True)
class Task:
    """Which events, in which format, by which windows."""

    events: EventSet
    kind: Format = "jsonl"
    window: Window = field(default_factory=Window)


class Contender(Protocol):
    """One engine in one setting."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def json_sample(self) -> tuple[int, int] | None:
        """How many of 5 M JSON lines a slow engine gets as its small and its large set; None for 5 M and 20 M."""

    @property
    def formats(self) -> Sequence[Format]: ...

    def command(self, task: Task, sources: Sequence[Path], folder: Path) -> list[str]:
        """Returns the command that answers `task`; what it writes goes into `folder`."""

    def check(self, task: Task, folder: Path, exact: Path) -> None:
        """Compares what was written with the exact answer.

        Raises:
            RunError: they differ.
        """


@dataclass(frozen=True, slots=True)
class Peer:
    """A module of `peers/`, run with the interpreter `python`."""

    name: str
    title: str
    module: str
    python: Path
    distribution: str
    arguments: tuple[str, ...] = ()
    output: Literal["jsonl", "parquet"] = "parquet"
    formats: tuple[Format, ...] = ("jsonl", "parquet")
    json_sample: tuple[int, int] | None = None
    tool: str | None = None

    def command(self, task: Task, sources: Sequence[Path], folder: Path) -> list[str]:
        answer = folder / "answer"
        answer.mkdir()
        program = [str(self.python), "-m", f"benchmarks.peers.{self.module}"]
        return [*program, str(answer), *self.arguments, *map(str, sources)]

    def check(self, task: Task, folder: Path, exact: Path) -> None:
        files = sql_text(folder / "answer" / f"*.{self.output}")
        source = files if self.output == "parquet" else f"read_ndjson({files}, columns = {ANSWER_COLUMNS})"
        check_answer(lambda connection: connection.sql(f"from {source}"), exact)


def peers(environment: Path) -> list[Peer]:
    """Returns every peer; those that are not a dependency of Streamgauge run in the environment `environment`."""
    own, theirs = Path(sys.executable), environment / "bin" / "python"
    return [
        Peer("duckdb_2", "DuckDB, 2 threads", "duckdb_sql", own, "duckdb", arguments=("2",)),
        Peer("duckdb_1", "DuckDB, 1 thread", "duckdb_sql", own, "duckdb", arguments=("1",)),
        Peer("polars", "Polars", "polars_frame", theirs, "polars"),
        Peer("spark", "Spark", "spark_sql", theirs, "pyspark", json_sample=(1_000_000, 5_000_000), tool="java"),
        Peer(
            "bytewax",
            "Bytewax",
            "bytewax_flow",
            theirs,
            "bytewax",
            output="jsonl",
            formats=("jsonl",),
            json_sample=(200_000, 600_000),
        ),
        Peer(
            "beam_rows",
            "Beam, a row at a time",
            "beam_rows",
            own,
            "apache-beam",
            output="jsonl",
            formats=("jsonl",),
            json_sample=(100_000, 300_000),
        ),
    ]


def installed_versions(python: Path, distributions: Sequence[str]) -> dict[str, str]:
    """Returns the versions of those `distributions` that the interpreter `python` can see."""
    program = (
        "import importlib.metadata as m, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(name, m.version(name))\n"
        "    except m.PackageNotFoundError: pass\n"
    )
    if not python.exists():
        return {}
    listing = subprocess.run([python, "-c", program, *distributions], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in listing.stdout.splitlines())


def lacks(peer: Peer) -> str | None:
    """Names what keeps `peer` from running here, or returns None."""
    if not installed_versions(peer.python, [peer.distribution]):
        return f"{peer.distribution} is not installed"
    if peer.tool is not None and shutil.which(peer.tool) is None:
        return f"{peer.tool} is not installed"
    return None

"""The live job of end-to-end tests: what feeds it, what is there of it while it runs, and its end by kill -9."""

import json
import os
import random
import re
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from tests.dataflow.forking import forked
from tests.dataflow.jobs import changed, finished, streamgauge, write_job
from tests.waiting import until
from transforms.collection.log.file import Run
from transforms.collection.log.writer import LogWriter
from transforms.process import versions
from transforms.storage.checkpoint.folder import MANIFEST

BEGAN_US: Final = 1_700_000_000_000_000
JOB: Final[dict[str, Any]] = {
    "job": "live",
    "source": {"log": {"path": "log"}},
    "record": {
        "event_time": {"column": "ts", "unit": "ms"},
        "columns": {"ts": "int64", "key": "string?", "value": "float64?"},
    },
    "preprocess": [{"filter": "value IS NULL OR value < 90"}],
    "aggregations": [
        {
            "name": "fixed",
            "key": ["key"],
            "window": {"size": "2s"},
            "statistics": {"value": ["count", "sum", "mean", "p50"], "key": ["top2"]},
            "models": {
                "now": {"kind": "linear_regression", "target": "value", "features": ["ts"]},
                "ever": {
                    "kind": "linear_regression",
                    "target": "value",
                    "features": ["ts"],
                    "memory": "all",
                    "forgetting_factor": 0.9,
                },
            },
        },
        {
            "name": "sliding",
            "window": {"size": "10s", "every": "2s"},
            "allowed_lateness": "3s",
            "statistics": {"value": ["count", "max"], "key": ["distinct"]},
        },
    ],
    "watermark": {"out_of_orderness": "1s"},
    "sinks": [{"parquet": {"path": "out"}}, {"sql": {"url": "sqlite:///out/live.db"}}],
    "execution": {"checkpoint": "500ms"},
}


class Feed:
    """Writes chunks as a collector would, a tenth of a second of records each, on a clock of its own.

    Args:
        chunks: how many the log has already.
    """

    def __init__(self, folder: Path, seed: int = 1, chunks: int = 0):
        self.writer = LogWriter(str(folder / "log"))
        self._dice = random.Random(seed)
        self._tick = chunks

    def write(self, chunks: int, records: int = 50) -> None:
        for _ in range(chunks):
            self._tick += 1
            now = BEGAN_US + self._tick * 100_000
            runs = [(Run("a", now, records), self._lines(records, now)), (Run("b", now, 2), self._lines(2, now))]
            self.writer.append(runs, now, self._tick * 100_000)

    def _lines(self, count: int, now: int) -> bytes:
        lines = []
        for _ in range(count):
            late = self._dice.choice([0, 200, 900, 900, 2500, 6000]) if self._dice.random() < 0.1 else 100
            record = {"ts": now // 1000 - late, "key": f"k{self._dice.randrange(4)}", "value": self._dice.randrange(99)}
            lines.append(b"broken" if self._dice.random() < 0.01 else json.dumps(record).encode())
        return b"".join(line + b"\n" for line in lines)


def newest(folder: Path) -> dict[str, Any]:
    """The newest checkpoint."""
    content = versions.content(str(folder / ".streamgauge/live" / MANIFEST))
    if not content["checkpoints"]:
        raise FileNotFoundError("no checkpoint yet")
    return content["checkpoints"][-1]


def kept_up_to(folder: Path) -> int:
    """The chunk that the newest checkpoint goes on with; 0: there is none."""
    try:
        return int(newest(folder)["chunk"])
    except FileNotFoundError:
        return 0


def position(folder: Path) -> int:
    """How many records are behind the newest checkpoint; 0: there is none."""
    try:
        return int(newest(folder)["source"]["position"])
    except FileNotFoundError:
        return 0


def rows(folder: Path, table: str) -> int:
    """How many rows of a table are in SQLite."""
    try:
        with closing(sqlite3.connect(f"file:{folder}/out/live.db?mode=ro", uri=True)) as database:
            return int(database.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def verified(folder: Path) -> None:
    """`verify` must find the tables to be those of a batch run over what the job has followed."""
    ended = streamgauge("verify", folder / "job.yaml")
    assert ended.code == 0, ended.err
    assert re.search("are what (chunks|offsets|the windows that were open)", ended.out), ended.out


def to_end(folder: Path, *flags: str) -> str:
    """Follows to the end of what is there, which must succeed; what the job said."""
    ended = finished(forked("run", folder / "job.yaml", "--streaming", "--to-end", *flags))
    assert (ended.code, ended.err) == (0, "")
    return ended.out


def with_a_forgotten_log(folder: Path, feed: Feed, rounds: int) -> None:
    """Follows in so many rounds, behind which the log forgets all that it may."""
    write_job(folder, changed(JOB, source={"log": {"path": "log", "retain": "0s"}}))
    for _ in range(rounds):
        feed.write(40)
        to_end(folder)
    assert feed.writer.prune(1 << 62) > 0


def followed_and_killed(folder: Path, dice: random.Random, write: Callable[[], None]) -> None:
    """Follows while `write` writes; kill -9 comes within the second behind the next checkpoint."""
    process = forked("run", folder / "job.yaml", "--streaming")
    before = kept_up_to(folder)
    try:
        write()
        until(lambda: kept_up_to(folder), f"a checkpoint behind chunk {before}", lambda chunk: chunk > before)
        time.sleep(dice.random())
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

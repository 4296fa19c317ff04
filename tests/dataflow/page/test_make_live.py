"""`make live`, from its start to Ctrl-C and again: windows on the page and in the tables, and nothing left running."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.dataflow.jobs import ROOT, parquet_table, sqlite_rows, streamgauge
from tests.dataflow.page.conftest import Window
from tests.waiting import until

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 90
DAYS = 6


class Live:
    """What `make live` starts, on ports of its own."""

    def __init__(self, folder: Path, **options: int | Path):
        self.mark = f"LIVE_TEST={folder}"
        self.page, self.collector = free_port(), free_port()
        ports = ["--page-port", self.page, "--collector-port", self.collector]
        named = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
        command = [ROOT / "examples" / "live.py", "--job", folder / "live.yaml", *ports, *named]
        name, _, value = self.mark.partition("=")
        self.log = folder / "said"
        with self.log.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, *map(str, command)],
                env={**os.environ, name: value},
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def url(self) -> str:
        return f"http://localhost:{self.page}"

    @property
    def said(self) -> str:
        return self.log.read_text()

    def await_words(self, words: str) -> None:
        """Waits until it has said something."""
        self._until(lambda: self.said, repr(words), lambda said: words in said)

    def await_rows(self, more_than: int) -> None:
        """Waits until more rows of `by_carrier` were stored since the start."""
        self._until(self._stored, f"more than {more_than} rows", lambda rows: rows > more_than)

    def _until(self, look: Callable[[], Any], what: str, is_so: Callable[[Any], bool]) -> None:
        def has_ended() -> bool:
            return self.process.poll() is not None

        until(look, what, is_so, seconds=PATIENCE_SECONDS, unless=has_ended, said=lambda: self.said)

    def _stored(self) -> float:
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("streamgauge_rows_stored_total") and 'table="by_carrier"' in line:
                    return float(line.split()[-1])
        return 0

    def interrupt(self) -> int:
        """Ctrl-C, and the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_SECONDS)

    def left(self) -> list[str]:
        """The processes of it that still run: they all have its environment."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self.mark.encode() in (place / "environ").read_bytes().split(b"\0"):
                    found.append((place / "cmdline").read_text().replace("\0", " "))
        return found

    def end(self) -> None:
        if self.process.poll() is None:
            self.interrupt()


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def test_live_example_runs_stops_and_resumes(tmp_path: Path, window: Window) -> None:
    shutil.copy(ROOT / "examples" / "live.yaml", tmp_path)
    live = Live(tmp_path)
    try:
        live.await_words("watch it at")
        window.open(live.url)
        window.wait(lambda: len(window.all("#newest tbody tr")) >= 6, PATIENCE_SECONDS)
        live.await_rows(15 * DAYS)
        window.choose("#table", "by_route")
        window.choose("#statistic", "air_time_mean")
        window.wait(lambda: "air_time_mean of by_route" in window.text("#chart") and window.all("#chart svg"))
        window.leave()
        assert len(live.left()) >= 4, "the test knows its processes"
        assert live.interrupt() == 0, live.said
    finally:
        live.end()
    assert live.left() == []
    assert "`make live` resumes from here" in live.said
    out = tmp_path / "out" / "live"
    first = sqlite_rows(out / "flights.db", "by_carrier")
    assert len(first) == parquet_table(out / "tables" / "by_carrier").num_rows > 15 * DAYS
    assert all(row["final"] for row in first)

    again = Live(tmp_path)
    try:
        again.await_rows(15)
        assert again.interrupt() == 0, again.said
    finally:
        again.end()
    assert again.left() == []
    assert "resuming from the checkpoint" in again.said
    assert len(sqlite_rows(out / "flights.db", "by_carrier")) > len(first)
    verified = streamgauge("verify", tmp_path / "live.yaml")
    assert verified.code == 0, verified.err


def test_all_sent_stays_until_ctrl_c_and_then_starts_again(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "live.yaml", tmp_path)
    january = pq.read_table(ROOT / "examples/data/flights.parquet").slice(0, 27_004)
    pq.write_table(january, tmp_path / "january.parquet")
    live = Live(tmp_path, speed_up=100_000_000, flights=tmp_path / "january.parquet")
    try:
        live.await_words("all flights are sent")
        live.await_rows(15 * 29)
        assert live.interrupt() == 0, live.said
    finally:
        live.end()
    assert live.left() == []
    again = Live(tmp_path)
    try:
        again.await_words("the year starts again")
        again.await_rows(0)
        assert again.interrupt() == 0, again.said
    finally:
        again.end()
    assert again.left() == []
    assert len(sqlite_rows(tmp_path / "out" / "live" / "flights.db", "by_carrier")) < 15 * 29


def test_a_program_that_cannot_start_stops_the_others(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "live.yaml", tmp_path)
    live = Live(tmp_path)
    with closing(socket.create_server(("127.0.0.1", live.page))):
        assert live.process.wait(PATIENCE_SECONDS) == 2, live.said
    assert "is taken; use another port" in live.said
    assert live.left() == []

"""Bytewax's tumbling windows on one worker, over lines from a socket for as long as it is open, into SQLite.

usage: python -m benchmarks.peers.bytewax_live PORT DATABASE WINDOW_SECONDS
"""

# It lives in the peers' environment, where mypy does not look.
# mypy: disable-error-code="import-not-found, misc"

import json
import socket
import sqlite3
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

from benchmarks.peers.line_fit import EMPTY, Fit, answer, extended, merged

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
DISORDER = timedelta(seconds=1)  # as much as the job it is measured against


class Lines(StatelessSourcePartition[bytes]):
    """Whole lines, as many as have come."""

    def __init__(self, port: int):
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setblocking(False)
        self._rest = b""

    def next_batch(self) -> list[bytes]:
        try:
            read = self._socket.recv(1 << 18)
        except BlockingIOError:
            return []
        if not read:
            raise StopIteration
        *lines, self._rest = (self._rest + read).split(b"\n")
        return lines

    def next_awake(self) -> datetime | None:
        return None


class Socket(DynamicSource[bytes]):
    """Lines of one connection."""

    def __init__(self, port: int):
        self._port = port

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Lines:
        return Lines(self._port)


class Rows(StatelessSinkPartition[dict[str, Any]]):
    """Rows of windows, a transaction a batch."""

    def __init__(self, path: str):
        self._database = sqlite3.connect(path)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("CREATE TABLE s (sensor, window_end, n, mean, std, min, max, slope, intercept, r2)")

    def write_batch(self, items: list[dict[str, Any]]) -> None:
        with self._database:
            self._database.executemany(
                f"INSERT INTO s VALUES ({', '.join('?' * 10)})", [tuple(i.values()) for i in items]
            )


class Database(DynamicSink[dict[str, Any]]):
    """One SQLite file."""

    def __init__(self, path: str):
        self._path = path

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Rows:
        return Rows(self._path)


def main(port: int, database: str, window: timedelta) -> None:
    def event_time(row: dict[str, Any]) -> datetime:
        return datetime.fromtimestamp(row["ts"] / 1000, timezone.utc)

    def fold(fit: Fit, row: dict[str, Any]) -> Fit:
        return extended(fit, row["feature"], row["target"])

    def row(item: tuple[str, tuple[int, Fit]]) -> dict[str, Any]:
        sensor, (number, fit) = item
        return {"sensor": sensor, "window_end": (EPOCH + (number + 1) * window).isoformat(), **answer(fit)}

    flow = Dataflow("line_fit_live")
    lines = op.input("read", flow, Socket(port))
    rows = op.map("parse", lines, json.loads)
    by_sensor = op.key_on("key", rows, lambda row: row["sensor"])
    clock = win.EventClock(event_time, wait_for_system_duration=DISORDER)
    windower = win.TumblingWindower(length=window, align_to=EPOCH)
    windows = win.fold_window("fit", by_sensor, clock, windower, lambda: EMPTY, fold, merged)
    op.output("write", op.map("format", windows.down, row), Database(database))
    run_main(flow)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], timedelta(seconds=float(sys.argv[3])))

"""Bytewax's tumbling windows on one worker.

usage: python -m benchmarks.peers.bytewax_flow OUT_FOLDER SOURCE
"""

# It lives in the peers' environment, where mypy does not look.
# mypy: disable-error-code="import-not-found"

import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
from bytewax.connectors.files import FileSink, FileSource
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main

from benchmarks.peers.line_fit import EMPTY, Fit, answer, extended, merged

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
WINDOW = timedelta(minutes=1)
DISORDER = timedelta(seconds=10)  # the events come up to 5 s late


def event_time(row: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(row["ts"] / 1000, timezone.utc)


def fold(fit: Fit, row: dict[str, Any]) -> Fit:
    return extended(fit, row["feature"], row["target"])


def line(item: tuple[str, tuple[int, Fit]]) -> tuple[str, str]:
    sensor, (window, fit) = item
    start_ms = window * WINDOW // timedelta(milliseconds=1)
    return sensor, json.dumps({"sensor": sensor, "window_start": start_ms, **answer(fit)})


def main(out: Path, source: str) -> None:
    flow = Dataflow("line_fit")
    # By default a batch is 1,000 lines; 10,000 is faster.
    lines = op.input("read", flow, FileSource(source, batch_size=10_000))
    rows = op.map("parse", lines, json.loads)
    by_sensor = op.key_on("key", rows, lambda row: row["sensor"])
    windows = win.fold_window(
        "fit",
        by_sensor,
        win.EventClock(event_time, wait_for_system_duration=DISORDER),
        win.TumblingWindower(length=WINDOW, align_to=EPOCH),
        lambda: EMPTY,
        fold,
        merged,
    )
    op.output("write", op.map("format", windows.down, line), FileSink(out / "answer.jsonl"))
    run_main(flow)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

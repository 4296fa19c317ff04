"""A live job on a cluster, as tests drive it: by commands alone."""

import json
import time
from pathlib import Path
from typing import Any

from dataflow.execution.submission import RECORD
from tests.cluster.cluster import Cluster
from tests.dataflow.jobs import Ended, changed, streamgauge, write_job
from tests.dataflow.live_job import JOB, Feed, kept_up_to, rows, verified
from tests.waiting import until

SECONDS = 90.0


class Live:
    """A live job of one test: its folder, its log, and the cluster that it goes to."""

    def __init__(self, folder: Path, cluster: Cluster):
        self.folder, self.cluster = folder, cluster
        self.job = write_job(folder, changed(JOB, execution={"checkpoint": "1s"}))
        self.feed = Feed(folder)

    def flink(self, command: str, *arguments: str) -> Ended:
        began = time.monotonic()
        ended = streamgauge("flink", command, self.job, *arguments)
        print(f"flink {command} {' '.join(arguments)[:60]}: {time.monotonic() - began:.1f} s\n{ended.out}{ended.err}")
        return ended

    def submit(self, *arguments: str) -> None:
        self.done(self.flink("submit", *self.cluster.flags, *arguments))

    def done(self, ended: Ended) -> str:
        assert ended.code == 0, ended.err
        return ended.out

    def catch_up(self) -> float:
        """Waits until all of the log is behind a checkpoint; how long that took."""
        began, end = time.monotonic(), self.feed.writer.extent.end_chunk
        until(lambda: kept_up_to(self.folder), f"chunk {end}", lambda chunk: chunk >= end, seconds=SECONDS)
        return time.monotonic() - began

    def write(self, chunks: int, pause: float = 0.0) -> None:
        for _ in range(chunks):
            self.feed.write(1)
            time.sleep(pause)

    def verified(self) -> None:
        verified(self.folder)

    def rows(self) -> int:
        return rows(self.folder, "fixed")

    def record(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / ".streamgauge/live" / RECORD).read_text())
        return content

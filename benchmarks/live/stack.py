"""A collector and a live job as processes, and what they cost."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import yaml

from benchmarks.stopwatch import descendants, resident_bytes
from tests.waiting import until
from transforms.process import versions
from transforms.storage.checkpoint.folder import MANIFEST

COMMAND: Final = (sys.executable, "-m", "dataflow.main")
_PATIENCE_S: Final = 60.0


def newest_checkpoint(state: Path) -> dict[str, Any]:
    """The newest checkpoint in a state folder; empty: there is none."""
    try:
        kept = versions.content(str(state / MANIFEST))["checkpoints"]
    except FileNotFoundError:
        return {}
    newest: dict[str, Any] = kept[-1] if kept else {}
    return newest


def job(folder: Path, window: str, keys_of: str = "sensor") -> dict[str, Any]:
    """The benchmark job over a log: what the bounded benchmark counts, in windows of another size."""
    return {
        "job": "live_benchmark",
        "source": {"log": {"path": str(folder / "log"), "retain": "1m"}},
        "record": {
            "event_time": {"column": "ts", "unit": "ms"},
            "columns": {"sensor": "string", "ts": "int64", "feature": "float64", "target": "float64"},
        },
        "aggregations": [
            {
                "name": "s",
                "key": [keys_of],
                "window": {"size": window},
                "statistics": {"feature": ["count", "mean", "std", "min", "max"]},
                "models": {"m": {"kind": "linear_regression", "target": "target", "features": ["feature"]}},
            }
        ],
        "watermark": {"out_of_orderness": "1s"},
        "sinks": [{"sql": {"url": f"sqlite:///{folder}/figures.db"}}],
        "state": str(folder / "state"),
        "execution": {"checkpoint": "2s"},
    }


@dataclass
class Stack:
    """A collector, and a live job on request, in a folder of their own.

    Args:
        collector_flags: more flags for `collect`.
    """

    folder: Path
    window: str = "2s"
    collector_flags: tuple[str, ...] = ()
    port: int = 0
    collector: "subprocess.Popen[str] | None" = None
    follower: "subprocess.Popen[str] | None" = None
    _ended: list[int] = field(default_factory=list)

    @property
    def job_file(self) -> Path:
        return self.folder / "job.yaml"

    @property
    def log(self) -> str:
        return str(self.folder / "log")

    def __enter__(self) -> "Stack":
        self.folder.mkdir(parents=True)
        self.job_file.write_text(yaml.safe_dump(job(self.folder, self.window)), encoding="utf-8")
        flags = ("collect", "--log", self.log, "--port", "0", *self.collector_flags)
        self.collector = subprocess.Popen([*COMMAND, *flags], stdout=subprocess.PIPE, text=True)
        if self.collector.stdout is None:
            raise AssertionError("a collector without a voice")
        ready = self.collector.stdout.readline()
        self.port = int(ready.split(" into")[0].rsplit(":", 1)[1])
        return self

    def follow(self) -> "subprocess.Popen[str]":
        """Starts the live job."""
        self.follower = subprocess.Popen(
            [*COMMAND, "run", str(self.job_file), "--streaming"], stdout=subprocess.DEVNULL, text=True
        )
        return self.follower

    def kill_follower(self) -> None:
        """kill -9, and wait."""
        if self.follower is not None:
            self.follower.kill()
            self.follower.wait()

    def checkpoint(self) -> dict[str, Any]:
        """The newest checkpoint of the job; empty: there is none yet."""
        return newest_checkpoint(self.folder / "state")

    def await_position(self, position: int, patience_s: float = _PATIENCE_S) -> float:
        """Waits until a checkpoint has passed a position; returns when it was taken."""
        newest = until(
            self.checkpoint,
            f"a checkpoint at record {position:,}",
            lambda found: found and found["source"]["position"] >= position,
            seconds=patience_s,
        )
        return float(newest["taken"])

    def resident(self) -> dict[str, int]:
        """Bytes in memory of the collector, the job, and the processes below it (Prism)."""
        found = {}
        for name, process in (("collector", self.collector), ("job", self.follower)):
            if process is not None:
                found[name] = resident_bytes(process.pid)
                below = sum(resident_bytes(pid) for pid in descendants(process.pid))
                if below:
                    found[f"{name}'s runner"] = below
        return found

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in (self.follower, self.collector):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(_PATIENCE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def fsyncs_per_s(folder: Path) -> float:
    """What the disk itself does: appends of 4 KiB, each made durable."""
    path = folder / "fsync"
    count, began = 0, time.monotonic()
    with open(path, "wb") as file:
        while time.monotonic() - began < 1.0:
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
            count += 1
    path.unlink()
    return count / (time.monotonic() - began)

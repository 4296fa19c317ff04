"""A case's stage: a collector, a live job and senders in a folder, and the hands that disturb them."""

import random
import shutil
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dataflow.collector.client import Client
from tests.dataflow.jobs import changed, write_job
from tests.faults.data import JOB, Sent, made
from tests.faults.processes import Nursery, Process
from tests.faults.small_disk import SmallDisk
from tests.waiting import until
from transforms.collection.log.reading import LogReader
from transforms.process import versions
from transforms.storage.checkpoint.folder import MANIFEST

RATES: Final = {"a": 2500.0, "b": 900.0}
FREE_PORTS: Final = range(20_000, 32_000)
"""Below those that systems give to whoever asks for any: a collector that starts again finds its own still free."""


@dataclass
class Stage:
    """What runs, and what was done to it.

    Args:
        folder: the case's own; `log` and `disk` in it may be small disks.
        patches: by the name of a process, `module:function` that is called in it first.
    """

    folder: Path
    dice: random.Random
    nursery: Nursery
    seconds: float
    patches: Mapping[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    after: ExitStack = field(default_factory=ExitStack)
    sent: dict[str, Sent] = field(default_factory=dict)
    running: dict[str, Process] = field(default_factory=dict)
    all: list[Process] = field(default_factory=list)
    killed: set[int] = field(default_factory=set)
    faults: int = 0
    port: int = 0
    send_to: int = 0
    job_started: float = 0.0
    extra_sinks: list[dict[str, Any]] = field(default_factory=list)
    collector_flags: tuple[str, ...] = ()
    job_fields: dict[str, Any] = field(default_factory=dict)
    expected: dict[str, Any] = field(default_factory=dict)
    is_exact: bool = True
    disk: SmallDisk | None = None
    database: Any = None

    def __post_init__(self) -> None:
        self.port = self.send_to = free_port(self.dice)

    @property
    def job(self) -> Path:
        return self.folder / "job.yaml"

    @property
    def log(self) -> str:
        return str(self.folder / "log/log")

    def prepare(self) -> None:
        """Writes the job and the data."""
        for name in ("log", "disk", "tmp"):
            (self.folder / name).mkdir(exist_ok=True)
        self.environment["TMPDIR"] = str(self.folder / "tmp")  # processes that are killed leave something there
        write_job(self.folder, changed(JOB, sinks=[*JOB["sinks"], *self.extra_sinks], **self.job_fields))
        for source, rate in RATES.items():
            self.sent[source] = made(self.folder, source, self.dice, rate, self.seconds)

    def start(self, name: str) -> Process:
        """Starts `collector`, `job`, or the sender of a source."""
        arguments: Sequence[str | Path]
        if name == "collector":
            arguments = ("collect", "--log", self.log, "--port", str(self.port), *self.collector_flags)
        elif name == "job":
            arguments = ("run", self.job, "--streaming")
            self.job_started = time.time()
        else:
            sent, to = self.sent[name], f"127.0.0.1:{self.send_to}"
            arguments = ("send", sent.path, "--source", name, "--to", to, "--rate", str(sent.rate))
        patch = self.patches.get(name, "")
        process = self.nursery.start(name, self.folder, *arguments, patch=patch, environment=self.environment)
        self.running[name] = process
        self.all.append(process)
        return process

    def begin(self) -> None:
        """Starts everything, the job when there is a log to follow."""
        self.start("collector")
        self.await_collector()
        self.start("job")

    def await_collector(self) -> None:
        """Waits until the collector listens, also to SIGTERM."""
        collector = self.running["collector"]
        until(lambda: "collecting on" in collector.out.read_text() or collector.code is not None, "the collector")

    def send(self) -> None:
        """Starts the senders, when the collector knows every source: one that comes later may come too late."""
        for source, sent in self.sent.items():
            with Client("127.0.0.1", self.port, source) as client:
                client.send(sent.lines[:1])
        for source in self.sent:
            self.start(source)

    def await_senders(self) -> None:
        """Waits until all senders have finished."""
        for source in self.sent:
            self.running[source].ended()

    def kill(self, *names: str) -> None:
        """kill -9, and a start again after a while."""
        for name in names:
            self.end(name)
        self.rest(0, 0.4)
        for name in names:
            self.start(name)

    def end(self, name: str) -> None:
        """kill -9, and nothing else."""
        process = self.running[name]
        if process.kill():
            self.killed.add(process.pid)
            self.faults += 1

    def pause(self, name: str, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        process = self.running[name]
        process.send(signal.SIGSTOP)
        self.faults += 1
        time.sleep(seconds)
        process.send(signal.SIGCONT)

    def rest(self, least: float, most: float) -> None:
        """Lets some time pass."""
        time.sleep(self.dice.uniform(least, most))

    def await_checkpoint(self) -> None:
        """Waits until the job has kept another checkpoint."""
        before = self.checkpoint().get("name")
        job = self.running["job"]
        until(lambda: self.checkpoint().get("name") != before or job.code is not None, "a checkpoint")

    def await_part(self) -> None:
        """Waits until the job has begun a checkpoint: it has written a file of it, unless that has nothing to hold."""
        folder, job, name = self.folder / "disk/out/ledger", self.running["job"], self.checkpoint().get("name")

        def has_begun() -> bool:
            return any(folder.glob(".part-*")) or self.checkpoint().get("name") != name

        until(lambda: has_begun() or job.code is not None, "a part of a checkpoint")

    def checkpoint(self) -> dict[str, Any]:
        """The newest checkpoint of the job; empty: there is none."""
        try:
            content = versions.content(str(self.folder / "disk/state" / MANIFEST))
        except FileNotFoundError:
            return {}
        newest: dict[str, Any] = content["checkpoints"][-1] if content["checkpoints"] else {}
        return newest

    def end_of_log(self) -> int:
        """How many records the log holds."""
        with closing(LogReader(self.log)) as reader:
            return reader.extent().end_position

    def begin_of_log(self) -> int:
        """How many records the log has forgotten."""
        with closing(LogReader(self.log)) as reader:
            return reader.extent().first_position

    def settle(self) -> None:
        """Lets the senders finish and the job keep a checkpoint behind all; then asks everybody to end."""
        self.await_senders()
        self.await_collector()
        end, job = self.end_of_log(), self.running["job"]

        def is_past() -> bool:
            newest = self.checkpoint()
            is_own = newest.get("taken", 0.0) > self.job_started  # before, it may not listen to SIGTERM
            return (is_own and newest["source"]["position"] >= end) or job.code is not None

        until(is_past, f"a checkpoint at record {end:,}")
        for name in ("job", "collector"):
            self.running[name].send(signal.SIGTERM)
        for name in ("job", "collector"):
            self.running[name].ended()

    def clear(self) -> None:
        """Ends what still runs, and undoes what the case did to the machine."""
        for process in self.all:
            process.send(signal.SIGCONT)
            process.kill()
        self.after.close()

    def unexpected(self) -> list[str]:
        """How processes ended that ended otherwise than they should, and what they said that they should not."""
        found = []
        for process in self.all:
            if process.pid not in self.killed and process.code != 0:
                found.append(f"{process.name} ended with {process.code}: {process.err.read_text()[-300:].strip()}")
            elif "Traceback" in (said := process.err.read_text() + process.out.read_text()):
                found.append(f"{process.name}: {said[said.index('Traceback') :][:300]}")
        return found


def free_port(dice: random.Random) -> int:
    """A port that nobody listens on."""
    while True:
        port = dice.choice(FREE_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def remove(folder: Path) -> None:
    """Removes a case's folder."""
    shutil.rmtree(folder, ignore_errors=True)

"""The same lives over real files: a log, SQLite, Parquet folders and checkpoints, killed between any two operations."""

import builtins
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import pytest
from apache_beam.utils.timestamp import MIN_TIMESTAMP

from dataflow.execution.checkpoints import checkpoint_folder
from dataflow.execution.restore import launch, settle_live
from dataflow.job.plan import Job
from tests.live.history import History
from tests.live.jobs import JOBS, planned
from tests.live.life import Life, Saved
from tests.live.logs import random_log
from tests.live.plan import Plan
from tests.live.simulator import Simulation
from tests.live.study import Study
from tests.live.world import World
from transforms.collection.cursor import SourceCursor
from transforms.collection.log.file import Chunk
from transforms.collection.log.writer import LogWriter
from transforms.storage.parquet import exchange
from transforms.storage.sink import Sink
from transforms.storage.sql import publication
from transforms.time.watermark import NEVER

pytestmark = pytest.mark.slow

SHARDS = 2


class Disk(World):
    """What survives a kill, on the disk; each operation that changes it may be the last."""

    job: Job

    @contextmanager
    def watched(self) -> Iterator[None]:
        folder, renameat2 = self.job.folder, exchange._renameat2()

        def between(operation: Any, *, always: bool = False) -> Any:
            def attempt(*arguments: Any, **options: Any) -> Any:
                is_ours = always or str(arguments[0]).startswith(folder)
                if is_ours:
                    self.changed()
                done = operation(*arguments, **options)
                if is_ours and operation is not builtin_open:
                    self.changed()
                return done

            return attempt

        builtin_open = builtins.open
        with (
            mock.patch.object(os, "replace", between(os.replace)),
            mock.patch.object(os, "link", between(os.link)),
            mock.patch.object(os, "rename", between(os.rename)),
            mock.patch.object(exchange, "_renameat2", lambda: between(renameat2, always=True)),
            mock.patch.object(os, "remove", between(os.remove)),
            mock.patch.object(builtins, "open", between(builtin_open)),
            mock.patch.object(publication, "publish", between(publication.publish, always=True)),
        ):
            yield

    def rows_of(self, sink: Sink, table: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = sink.read(table).to_pylist()
        return rows


@dataclass
class OnDisk(Simulation):
    """Checks what a reader of the files would read."""

    def _settle(self) -> None:
        settle_live(self.study.job)


class LaunchedLife(Life):
    """A life that begins as a process does."""

    def _launch(self) -> SourceCursor:
        try:
            run = launch(self.job, lambda _: None)
        finally:
            self._find()
        self.live_plan = run.plan
        manifest = run.plan.checkpoints.read()
        self.history.begin(manifest.newest.name if manifest else NEVER)
        for number, seeds in run.seeds.items():
            for shard, snapshot in seeds:
                self.shards[number, shard].inbox.append((MIN_TIMESTAMP, snapshot))
        self.keeper.inbox += [(MIN_TIMESTAMP, parcel) for parcel in run.carried]
        return run.start

    def live(self, saved: Saved | None = None) -> None:
        try:
            super().live(saved)
        finally:
            self._find()

    def _find(self) -> None:
        self.world.manifest = checkpoint_folder(self.job).root()

    def _check_closed(self, watermark: int) -> None:
        """Reading the database at each tick would take too long."""


@pytest.mark.parametrize("name", ["waiting", "several", "models"])
def test_real_files_hold_what_the_batch_gives(name: str, tmp_path: Path) -> None:
    kills = 0
    for seed in range(8 * int(os.environ.get("STREAMGAUGE_SIMULATIONS", "1"))):
        folder = tmp_path / str(seed)
        folder.mkdir()
        chance = Random(f"files {name} {seed}")
        job = planned({**JOBS[name], "execution": {"shards": SHARDS}}, str(folder))
        log = random_log(chance, 8)
        write(log, job)
        os.makedirs(job.state, exist_ok=True)
        world = Disk()
        world.job = job
        simulation = OnDisk(Study(job, log), world, chance, launched, kill=0.03)
        simulation.run()
        kills += simulation.kills
    assert kills


def launched(study: Study, world: Any, chance: Random, plan: Plan, history: History) -> Life:
    """A life of as many shards as the job file says."""
    return LaunchedLife(study, world, chance, replace(plan, shards=SHARDS), history)


def write(log: Sequence[Chunk], job: Job) -> None:
    """The log as a collector writes it."""
    writer = LogWriter(job.source.options.path)
    for chunk in log:
        lines, parts = chunk.data.split(b"\n"), []
        for run in chunk.runs:
            parts.append((run, b"".join(line + b"\n" for line in lines[: run.count])))
            lines = lines[run.count :]
        writer.append(parts, chunk.received, chunk.elapsed)
    writer.close()

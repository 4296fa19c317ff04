"""The live job without Beam, killed at any moment.

A `Study` (`tests.live.study`) is a log and a job, with what one batch computation over the whole log gives. A `Life`
(`tests.live.life`) is one process. Each life ends by a kill, by a stop, or at the end of the log; the next one begins
with what was durable. A life may also be stopped instead of killed, and go on when others have taken its place.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any
from unittest import mock

from tests.live.history import History, Published
from tests.live.life import Life, Saved
from tests.live.plan import DRAIN, Plan
from tests.live.process import Process
from tests.live.study import Study, remembered_hashes
from tests.live.world import Killed, World, Wrong
from transforms.aggregation import summary
from transforms.record import ledger
from transforms.specification import Seconds
from transforms.storage.checkpoint.manifest import Checkpoint
from transforms.storage.tables import LEDGER
from transforms.time.watermark import END

LifeOf = Callable[[Study, World, Random, Plan, History], Life]


@dataclass
class Simulation:
    """Lives after one another in one world, until the log was read to its end by one that was not killed."""

    study: Study
    world: World
    chance: Random
    life_of: LifeOf = Life
    kill: float = 0.0
    """How likely each change is the last that a life makes."""
    lives: int = 0
    kills: int = 0
    history: History = field(default_factory=History)
    seen: list[tuple[World, dict[Any, list[Published]]]] = field(default_factory=list)
    watches: bool = False
    visible: int = 0
    """Chunks that there were already: a log only grows."""
    has_drained: bool = False
    """Whether a drain was tried."""
    saves: float = 0.0
    """How likely the engine keeps a checkpoint of its own after a step."""
    saved: list[Saved] = field(default_factory=list)
    returns: int = 0
    """How often the engine went back to one."""
    refuses_left: bool = True

    stops: float = 0.0
    """How many kills are none: the life is stopped there, another begins, and it goes on later."""
    retention: Mapping[str, Seconds] = field(default_factory=dict)
    """Of tables, how long (s) their rows stay."""
    gone: int = 0
    """How many rows are gone in the end."""
    left_over: list[Process] = field(default_factory=list)
    woken: int = 0
    """How often a life that was stopped has gone on."""

    def run(self) -> None:
        """Lives until the end; the tables are then checked.

        Raises:
            Wrong: if they are not those of the batch.
        """
        with self.world.watched(), mock.patch.object(summary, "hash_rows", remembered_hashes):
            self._run()

    def _run(self) -> None:
        while True:
            plan = Plan.at_random(self.chance, len(self.study.log))
            self.visible = max(self.visible, plan.visible)
            # What a drain stored that was killed is final before its time, until windows close again.
            plan = replace(plan, visible=self.visible, ending=DRAIN if self.has_drained else plan.ending)
            self.has_drained = self.has_drained or plan.ending == DRAIN
            self.lives += 1
            if self.lives > 12:  # enough of it: the rest of the log is read without a kill
                plan, self.kill = replace(plan, visible=len(self.study.log)), 0.0
            self.world.changed = self._changed
            plan, saved = replace(plan, saves=self.saves), None
            known = self._known()
            if known and (self.world.taken_back or self.chance.random() < 0.7):
                saved, self.returns = self.chance.choice(known), self.returns + 1
                plan = replace(saved.plan, visible=plan.visible, ending=plan.ending)
            elif not self.world.checkpoints:
                self.saved = []  # the tables are about to be emptied
            life = self.life_of(self.study, self.world, self.chance, plan, self.history)
            life.retention = self.retention
            life.lease = 10.0 if self.saves else life.lease
            life.savepoints = [entry.savepoint for entry in self.saved]
            process = Process(life, saved)
            process.go()
            is_done = not (process.is_killed or process.is_left_over)
            self.kills += not is_done
            self.saved += life.saved
            newest = self.world.checkpoints[-1] if self.world.checkpoints else None
            if (
                newest is not None
                and not self.world.taken_back
                and (newest.drained or (is_done and newest.chunk > len(self.study.log)))
            ):
                break
        self.world.changed = lambda: None
        while self.left_over:
            self._wake(self.left_over[0])
        if self.world.checkpoints[-1] != newest:
            raise Wrong("a process that was left over has kept a checkpoint")
        if newest.drained and newest.chunk <= len(self.study.log):
            return self._check(Study(self.study.job, self.study.log[: newest.chunk - 1]), newest)
        self._check(self.study, newest)
        return None

    def _settle(self) -> None:
        """Shows what a job that was killed has committed and not shown; every reader of its tables does so first."""
        manifest = self.world.manifest
        assert manifest is not None
        for path, files in manifest.files.items():
            self.world.Showing("", manifest.owner, manifest.attempt, lambda: None).show(path, files)

    def _known(self) -> list[Saved]:
        """What an engine has saved of any life, where something is still to be read, and which the job has not left."""
        manifest = self.world.manifest
        if manifest is None:
            return []
        return [
            saved
            for saved in self.saved
            if not saved.cursor.ended and not (self.refuses_left and saved.savepoint.is_abandoned(manifest.line))
        ]

    def _changed(self) -> None:
        if self.watches:
            entries = {place: list(kept) for place, kept in self.history.by_window.items()}
            self.seen.append((self.world.copy(), entries))
        process = threading.current_thread()
        assert isinstance(process, Process)
        if process.is_left_over:
            if self.chance.random() < 0.2:
                process.stop()
        elif self.kill and self.chance.random() < self.kill:
            if self.chance.random() >= self.stops:
                raise Killed
            process.is_left_over = True
            process.life.stop()
            self.left_over.append(process)
            process.stop()
        elif self.left_over and self.chance.random() < 0.1:
            self._wake(self.chance.choice(self.left_over))

    def _wake(self, process: Process) -> None:
        """Lets a life that was stopped go on, until it ends or is stopped again."""
        self.woken += 1
        process.go()
        if process.has_ended:
            self.left_over.remove(process)

    def _check(self, study: Study, newest: Checkpoint) -> None:
        self._settle()
        through = END if newest.drained else newest.watermark
        position = int(newest.source["position"])
        elapsed = newest.source["progress"]["elapsed"] / 1e6
        for sink, table in ((each, name) for each in study.job.sinks for name in each.tables):
            rows = self.world.rows_of(sink, table)
            if sink.stores_at_once:
                if table in study.lateness:
                    study.check_provisional(table, [row for row in rows if not row["final"]], through)
                rows = [row for row in rows if row.get("final", True)]
            mark = self.world.manifest.expired.get(table) if self.world.manifest is not None else None
            self.gone += study.check(table, rows, sink.kind, through, position, mark)
            if mark is not None and elapsed - mark.time < self.retention[table]:
                raise Wrong(f"{sink.kind} {table}: rows went before their time")
            if table == LEDGER:
                for row in rows:
                    if ledger.imbalance(row):
                        raise Wrong(f"the ledger does not close: {row}")

"""The live job without Beam, killed at any moment.

A `Study` (`tests.live.study`) is a log and a job, with what one batch computation over the whole log gives. A `Life`
(`tests.live.life`) is one process. Each life ends by a kill, by a stop, or at the end of the log; the next one begins
with what was durable.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from tests.live.history import History, Published
from tests.live.life import Life, Saved
from tests.live.plan import DRAIN, Plan
from tests.live.study import Study
from tests.live.world import Killed, World, Wrong
from transforms import ledger
from transforms.storage.checkpoint import Checkpoint
from transforms.storage.publish import LEDGER
from transforms.watermark import END

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
    saved: Saved | None = None
    returns: int = 0
    """How often the engine went back to one."""

    def run(self) -> None:
        """Lives until the end; the tables are then checked.

        Raises:
            Wrong: if they are not those of the batch.
        """
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
            if self.saved is not None and (self.world.taken_back or self.chance.random() < 0.7):
                saved, self.returns = self.saved, self.returns + 1
                plan = replace(saved.plan, visible=plan.visible, ending=plan.ending)
            elif self.saved is not None and (self.saved.rest.ended or not self.world.checkpoints):
                # It would end where others have gone on, or go on in tables that a beginning has emptied.
                self.saved = None
            life = self.life_of(self.study, self.world, self.chance, plan, self.history)
            try:
                life.live(saved)
                is_done = True
            except Killed:
                self.kills += 1
                is_done = False
            # An older one may be gone back to as well.
            if life.saved is not None and (self.saved is None or self.chance.random() < 0.8):
                self.saved = life.saved
            newest = self.world.checkpoints[-1] if self.world.checkpoints else None
            if (
                newest is not None
                and not self.world.taken_back
                and (newest.drained or (is_done and newest.chunk > len(self.study.log)))
            ):
                break
        self.world.changed = lambda: None
        if newest.drained and newest.chunk <= len(self.study.log):
            return self._check(Study(self.study.job, self.study.log[: newest.chunk - 1]), newest)
        self._check(self.study, newest)
        return None

    def _changed(self) -> None:
        if self.watches:
            entries = {place: list(kept) for place, kept in self.history.by_window.items()}
            self.seen.append((self.world.copy(), entries))
        if self.kill and self.chance.random() < self.kill:
            raise Killed

    def _check(self, study: Study, newest: Checkpoint) -> None:
        through = END if newest.drained else newest.watermark
        position = int(newest.source["position"])
        for target in study.job.targets:
            if target.folder is not None:
                rows = self.world.rows_in_files(target.folder)
            else:
                rows = [row for row in self.world.tables[target.table].values() if row.get("final", True)]
            study.check(target.table, rows, "files" if target.folder else "database", through, position)
            if target.table == LEDGER:
                for row in rows:
                    if ledger.imbalance(row):  # type: ignore[arg-type]
                        raise Wrong(f"the ledger does not close: {row}")

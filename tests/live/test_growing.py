"""Windows that grow, in a live job killed at any moment: those of the batch, and no row of bounds that are gone."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import pyarrow as pa
import pytest

from dataflow.job.plan import Job
from tests.live.jobs import FEW, planned
from tests.live.life import Life
from tests.live.logs import random_log
from tests.live.simulator import LifeOf, Simulation
from tests.live.study import Study
from tests.live.world import World, Wrong
from tests.more_kinds import more_windows
from transforms.aggregation.live import TimelineFn
from transforms.time.event_time import as_instants
from transforms.time.tick import RETRACTED, Tick, label_of

pytestmark = pytest.mark.slow

SESSIONS: Final[dict[str, Any]] = {"name": "a", "key": ["k"], "window": {"gap": "6s"}, "statistics": FEW}
MODEL: Final = {"kind": "linear_regression", "target": "y", "features": ["x"], "memory": "all"}
JOBS: Final[dict[str, list[dict[str, Any]]]] = {
    "at once": [SESSIONS],
    "waiting": [{**SESSIONS, "allowed_lateness": "15s"}],
    "several": [
        {**SESSIONS, "allowed_lateness": "4s", "models": {"m": MODEL}},
        {**SESSIONS, "name": "b", "key": [], "window": {"gap": "3s"}, "allowed_lateness": "40s"},
        {**SESSIONS, "name": "c", "window": {"size": "10s"}, "allowed_lateness": "15s"},
    ],
}


@pytest.fixture(autouse=True)
def sessions() -> Iterator[None]:
    with more_windows():
        yield


@pytest.fixture(params=JOBS)
def job(request: pytest.FixtureRequest, tmp_path: Path) -> Job:
    return planned({"aggregations": JOBS[request.param]}, str(tmp_path))


def simulation(job: Job, seed: int, kill: float, life_of: LifeOf = Life) -> Simulation:
    chance = Random(f"growing {seed}")
    return Simulation(Study(job, random_log(chance, chance.randint(6, 16))), World(), chance, life_of, kill)


def lived_through(job: Job, seeds: range, kill: float, *, saves: float = 0.0, stops: float = 0.0) -> int:
    """Lives through the logs of these seeds; gives how often a retraction took something out of the database."""
    taken = 0
    for seed in seeds:
        tried = simulation(job, seed, kill)
        tried.world, tried.saves, tried.stops = Counting(), saves, stops
        try:
            tried.run()
        except Wrong as wrong:
            pytest.fail(f"seed {seed}, killed {kill}: {wrong}")
        taken += tried.world.taken
    return taken


class Counting(World):
    """Counts the rows that retractions take out."""

    taken = 0

    def retract(self, url: str, tables: Any, fence: Any) -> None:
        before = sum(map(len, self.tables.values()))
        try:
            super().retract(url, tables, fence)
        finally:
            self.taken += before - sum(map(len, self.tables.values()))


@pytest.mark.parametrize("kill", [0.0, 0.1, 0.3])
def test_tables_are_those_of_the_batch_wherever_a_job_is_killed(job: Job, kill: float) -> None:
    taken = lived_through(job, range(20), kill)
    waits = any(aggregation.spec.allowed_lateness for aggregation in job.aggregations)
    assert (taken > 0) == waits, "provisional rows are retracted, and there are none without lateness"


@pytest.mark.parametrize("stops", [0.0, 0.7])
def test_an_engine_that_goes_back_to_a_checkpoint_of_its_own_changes_nothing(job: Job, stops: float) -> None:
    lived_through(job, range(3000, 3020), 0.1, saves=0.1, stops=stops)


def test_a_kill_after_any_single_step_changes_nothing(tmp_path: Path) -> None:
    job = planned({"aggregations": JOBS["waiting"]}, str(tmp_path))
    for seed in range(2000, 2003):
        first = simulation(job, seed, 0.0)
        first.watches = True
        first.run()
        assert len(first.seen) > 10, "there was something to be killed at"
        for number, (world, history) in enumerate(first.seen):
            if world.checkpoints and world.checkpoints[-1].drained:
                continue
            again = Simulation(first.study, world, Random(number))
            again.history.by_window = {place: list(entries) for place, entries in history.items()}
            again.has_drained, again.visible = True, len(first.study.log)
            try:
                again.run()
            except Wrong as wrong:
                pytest.fail(f"seed {seed}, killed after change {number}: {wrong}")


class Losing(Life):
    """What retracts provisional rows is lost on its way to the sinks."""

    def timeline_fn(self, timeline: Any, number: int) -> TimelineFn:
        class LosingFn(TimelineFn):
            def close(self, *cursor: Any) -> Iterator[pa.RecordBatch]:
                for output in TimelineFn.close(self, *cursor):
                    if label_of(output)["kind"] == RETRACTED:
                        output = self.kept(output, Tick.from_json(cursor[1]))
                    if output.num_rows:
                        yield output

            def kept(self, windows: pa.RecordBatch, tick: Tick) -> pa.RecordBatch:
                return windows.slice(0, 0)

        return LosingFn(timeline, number)


class Trusting(Losing):
    """Only what the state itself has published is retracted, not what was published before a kill."""

    def timeline_fn(self, timeline: Any, number: int) -> TimelineFn:
        fn: Any = super().timeline_fn(timeline, number)

        def kept(windows: pa.RecordBatch, tick: Tick) -> pa.RecordBatch:
            ends = as_instants(windows["window_end"])
            return windows.filter(pa.array(ends + timeline.lateness > tick.watermark))

        fn.kept = kept
        return fn


@pytest.mark.parametrize(("life_of", "kill"), [(Losing, 0.0), (Losing, 0.1), (Trusting, 0.3)])
def test_a_planted_mistake_is_found(life_of: LifeOf, kill: float, tmp_path: Path) -> None:
    job = planned({"aggregations": JOBS["waiting"]}, str(tmp_path))
    for seed in range(200):
        try:
            simulation(job, seed, kill, life_of).run()
        except Wrong as wrong:
            assert "is provisional, and no open window is around it" in str(wrong)
            return
    pytest.fail("no check noticed it")

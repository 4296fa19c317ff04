"""The live job, killed at any moment over random logs, gives what one batch computation over the log gives.

`STREAMGAUGE_SIMULATIONS` multiplies how many logs are tried; a failure prints the seed of its log.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp

from dataflow.checkpoints import timeline_of
from tests.live.history import History
from tests.live.jobs import JOBS, job_of
from tests.live.life import Life
from tests.live.logs import BEGIN, SECOND, chunk_after, random_log
from tests.live.plan import Plan
from tests.live.simulator import LifeOf, Simulation
from tests.live.study import Study
from tests.live.world import World, Wrong
from transforms.aggregation import live
from transforms.aggregation.lateness import JudgeFn
from transforms.aggregation.live import TimelineFn
from transforms.batch import WATERMARK, set_column
from transforms.collection.chunks import ChunkParser, Flush
from transforms.collection.rest import Rest
from transforms.preprocessing.preprocess import preprocess
from transforms.storage.checkpoint import Place
from transforms.storage.live_plan import LivePlan
from transforms.storage.publish import DEAD_LETTERS
from transforms.tick import PARTIAL, READ, SENT, Tick, label_of, moment, name_of
from transforms.watermark import END, Progress, WatermarkSpec

TIMES = int(os.environ.get("STREAMGAUGE_SIMULATIONS", "1"))


def simulation(name: str, seed: int, kill: float, chunks: int = 0, **changes: Any) -> Simulation:
    """A random log of a job, about to be lived through."""
    chance = Random(f"{name} {seed}")
    log = random_log(chance, chunks or chance.randint(4, 14))
    study = Study(job_of(name), log, **{k: v for k, v in changes.items() if k in ("watermark_of", "cuts")})
    return Simulation(study, World(), chance, changes.get("life_of", Life), kill)


@pytest.mark.parametrize("kill", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("name", JOBS)
def test_tables_are_those_of_the_batch_wherever_a_job_is_killed(name: str, kill: float) -> None:
    for seed in range(20 * TIMES):
        try:
            simulation(name, seed, kill).run()
        except Wrong as wrong:
            pytest.fail(f"seed {seed} of {name}, killed {kill}: {wrong}")


@pytest.mark.parametrize("name", JOBS)
def test_chunks_parsed_as_they_come_give_the_same(name: str) -> None:
    for seed in range(1000, 1000 + TIMES):
        try:
            simulation(name, seed, 0.1, cuts=False).run()
        except Wrong as wrong:
            pytest.fail(f"seed {seed} of {name}: {wrong}")


@pytest.mark.parametrize("name", JOBS)
def test_a_kill_after_any_single_step_changes_nothing(name: str) -> None:
    """What a life does between two durable changes is gone with it: to be killed there is to be killed at the first."""
    for seed in range(2000, 2000 + TIMES):
        first = simulation(name, seed, 0.0, chunks=7)
        first.watches = True
        first.run()
        assert len(first.seen) > 10, "there was something to be killed at"
        for number, (world, history) in enumerate(first.seen):
            again = Simulation(first.study, world, Random(number), kill=0.05 * (number % 2))
            again.history.by_window = {place: list(entries) for place, entries in history.items()}
            again.has_drained, again.visible = True, len(first.study.log)
            try:
                if not (world.checkpoints and world.checkpoints[-1].drained):
                    again.run()
            except Wrong as wrong:
                pytest.fail(f"seed {seed} of {name}, killed after change {number}: {wrong}")


@pytest.mark.parametrize("name", JOBS)
def test_an_engine_that_goes_back_to_a_checkpoint_of_its_own_changes_nothing(name: str) -> None:
    """Nobody launches the job then: it finds itself where it was, with sinks that are further."""
    returns = 0
    for seed in range(3000, 3000 + 20 * TIMES):
        tried = simulation(name, seed, 0.1)
        tried.saves = 0.1
        try:
            tried.run()
        except Wrong as wrong:
            pytest.fail(f"seed {seed} of {name}: {wrong}")
        returns += tried.returns
    assert returns > 10 * TIMES


# Planted mistakes: each is something that a driver like this one could do, and the simulator must tell.


class LettersTwice(Life):
    """A dead letter that comes again is another row."""

    def plan_to_store(self, checkpoints: Any) -> LivePlan:
        plan = super().plan_to_store(checkpoints)
        numbered = replace(plan.tables[DEAD_LETTERS], key=("source", "position", "stage", "failed_at"))
        return replace(plan, tables={**plan.tables, DEAD_LETTERS: numbered})


class Spanning(Life):
    """A partial waits for the next batch, and so spans a tick."""

    held: Sequence[Any] = ()

    def delayed(self, partials: list[Any]) -> list[Any]:
        held, self.held = self.held, partials[:1]
        return [*held, *partials[1:]]


class ManifestFirst(Life):
    """The checkpoint's manifest is written before its rows."""

    def plan_to_store(self, checkpoints: Any) -> LivePlan:
        plan = super().plan_to_store(checkpoints)

        class Hasty(LivePlan):
            def keep(self, tick: Any, parcels: Any, before: Any, writing: Any) -> Any:
                kept = list(parcels)
                snapshots = [batch for batch in kept if label_of(batch)["kind"] == "snapshot"]
                early = live_checkpoint(tick)
                self.checkpoints.keep(early, snapshots)
                return super().keep(tick, kept, before, writing)

        return Hasty(plan.job, plan.tables, plan.targets, plan.checkpoints, plan.snapshots, grows=plan.grows)


def live_checkpoint(tick: Any) -> Any:
    from transforms.storage.checkpoint import Checkpoint
    from transforms.watermark import END

    return Checkpoint(tick.name, tick.chunk, tick.watermark, tick.source, 0.0, tick.watermark == END)


class Greedy(Life):
    """A snapshot holds whatever has arrived, also from behind its tick."""

    def timeline_fn(self, timeline: Any, number: int) -> TimelineFn:
        class GreedyFn(TimelineFn):
            def process(self, element: Any, timestamp: Any, *states: Any) -> None:
                is_partial = label_of(element[1])["kind"] == PARTIAL
                super().process(element, Timestamp(0) if is_partial else timestamp, *states)

        return GreedyFn(timeline, number)


class TooLate(Life):
    """A launch goes on one chunk behind its checkpoint."""

    def start(self, rest: Rest) -> Rest:
        return replace(rest, chunk=rest.chunk + 1) if 1 < rest.chunk < len(self.study.log) else rest


class TooEarly(Life):
    """A launch goes on one chunk before its checkpoint, whose records its state holds already."""

    def start(self, rest: Rest) -> Rest:
        return replace(rest, chunk=max(rest.chunk - 1, 1))


class OnlyBusyShards(Life):
    """A tick goes to shards that have received something only."""

    def ticked(self, tick: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
        for shard, batch in super().ticked(tick):
            if any(label_of(other)["kind"] == PARTIAL for n in (0,) for _, other in self.shards[n, shard].inbox):
                yield shard, batch


class Forgetful(Life):
    """A snapshot does not say what was published already."""

    def timeline_fn(self, timeline: Any, number: int) -> TimelineFn:
        class ForgetfulFn(TimelineFn):
            def process(self, element: Any, *rest: Any) -> None:
                shard, batch = element
                if label_of(batch)["kind"] == "snapshot":
                    seed = live.Shard.from_parcel(batch)
                    seed = replace(seed, state=replace(seed.state, shown=None))
                    batch = seed.to_parcel(number, shard)
                super().process((shard, batch), *rest)

        return ForgetfulFn(timeline, number)


class NamedAgain(Life):
    """Ticks after a launch have the names of ticks before it."""

    def start(self, rest: Rest) -> Rest:
        return replace(rest, shift=0)


class NeverTakenBack(Life):
    """The sinks stay where they are when an engine goes back."""

    def plan_to_store(self, checkpoints: Any) -> LivePlan:
        plan = super().plan_to_store(checkpoints)

        class Onward(LivePlan):
            def keep(self, tick: Any, parcels: Any, before: Any, writing: Any) -> Any:
                return super().keep(tick, parcels, Place(END), writing)

        return Onward(plan.job, plan.tables, plan.targets, plan.checkpoints, plan.snapshots, grows=plan.grows)


class ByTheClock(WatermarkSpec):
    """Lateness by when a chunk came instead of by what the log holds."""

    def advance(self, before: Progress, elapsed: int, latest: Any) -> Progress:
        progress = super().advance(before, elapsed, latest)
        return replace(progress, watermark=max(latest.values(), default=progress.watermark))


class GoingBack(WatermarkSpec):
    """A source that returns with old records takes the watermark back."""

    def advance(self, before: Progress, elapsed: int, latest: Any) -> Progress:
        return super().advance(replace(before, watermark=-(1 << 62)), elapsed, latest)


class AtTheEndOfTheChunk(ChunkParser):
    """Lateness by where the watermark stands after a chunk, its own records included."""

    def parse(self, chunks: Any, before: Progress) -> Flush:
        flush = super().parse(chunks, before)
        stood = pa.array(np.full(flush.batch.num_rows, flush.progress.watermark))
        return replace(flush, batch=set_column(flush.batch, WATERMARK, stood))


@dataclass(frozen=True)
class Mistake:
    """A mistake, and where it shows."""

    job: str
    life_of: LifeOf = Life
    watermark_of: Callable[[Any], WatermarkSpec] | None = None
    parser: type[ChunkParser] | None = None
    world: World | None = None
    saves: float = 0.0
    seed: int = 0
    """Where the search begins: one mistake shows in fewer logs than another."""


def specified(kind: type[WatermarkSpec]) -> Callable[[Any], WatermarkSpec]:
    return lambda job: kind.model_validate(job.spec.watermark.model_dump())


MISTAKES = {
    "a dead letter is written twice, under another key": Mistake("waiting", LettersTwice),
    "rows are appended to the database, not upserted": Mistake("fixed", world=World(upserts=False)),
    "a provisional row replaces a final one": Mistake("waiting", world=World(protects_final=False)),
    "a partial spans a tick": Mistake("fixed", Spanning),
    "the manifest is written before its rows": Mistake("fixed", ManifestFirst),
    "a snapshot holds partials from behind its tick": Mistake("fixed", Greedy),
    "a launch goes on a chunk too late": Mistake("fixed", TooLate),
    "a launch goes on a chunk too early": Mistake("fixed", TooEarly),
    "lateness is judged by the clock": Mistake("fixed", watermark_of=specified(ByTheClock)),
    "lateness is judged at the end of the chunk": Mistake("fixed", parser=AtTheEndOfTheChunk),
    "the watermark goes back": Mistake("fixed", watermark_of=specified(GoingBack), seed=12),
    "ticks skip shards that are empty": Mistake("fixed", OnlyBusyShards),
    "what was published is forgotten": Mistake("waiting", Forgetful),
    "sinks are not taken back with the engine": Mistake("fixed", NeverTakenBack, saves=0.1),
    "ticks of two launches have one name": Mistake("fixed", NamedAgain, seed=15),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_planted_mistake_is_found(what: str) -> None:
    mistake = MISTAKES[what]
    changes: dict[str, Any] = {"cuts": False} if mistake.watermark_of or mistake.parser else {}
    if mistake.watermark_of:
        changes["watermark_of"] = mistake.watermark_of
    for seed in range(mistake.seed, mistake.seed + 40):
        tried = simulation(mistake.job, seed, 0.1, life_of=mistake.life_of, **changes)
        tried.saves = mistake.saves
        if mistake.world is not None:
            tried.world = mistake.world.copy()
        if mistake.parser is not None:
            tried.study.parser_type = mistake.parser
        try:
            tried.run()
        except (Wrong, AssertionError):
            return
    pytest.fail(f"nobody noticed that {what}")


def test_a_partial_that_comes_before_the_seed_of_its_shard_is_not_forgotten() -> None:
    """A runner may deliver in any order what a launch begins with and what it reads first."""
    log = [chunk_after([], BEGIN, 0, [("s", [line(1)])])]
    log.append(chunk_after(log, BEGIN + SECOND, SECOND, [("s", [line(2), line(3)])]))
    log.append(chunk_after(log, BEGIN + 30 * SECOND, 30 * SECOND, [("s", [line(30)])]))
    study = Study(job_of("fixed"), log)
    life = Life(study, World(), Random(0), Plan(1, 3, "stop", 1.0, 0.0, 3), History())
    fn, shard = life.timeline_fn(timeline_of(study.job.aggregations[0]), 0), life.shards[0, 0]
    flush = study.flush(log, Progress())
    judged = JudgeFn([study.job.aggregations[0].spec]).process(preprocess(flush.batch, study.job.steps).batch)
    batch = next(output for output in judged if isinstance(output, pa.RecordBatch))
    ((_, partial),) = life.partials(batch)
    seed = live.Shard(fn._timeline.start(), BEGIN).to_parcel(0, 0)
    tick = Tick(name_of(4, READ), 4, flush.progress.watermark)
    for parcel, at in ((partial, moment(tick.name, SENT)), (seed, MIN_TIMESTAMP)):
        fn.process((0, parcel), at, shard.waiting, shard.stored, shard.clock, shard.timers)
    (rows,) = fn.close(0, tick.to_json(), shard.waiting, shard.stored, shard.clock)
    assert rows["rows"].to_pylist() == [3]


def line(at: int) -> bytes:
    return b'{"t": %d, "k": "a", "x": 1, "y": 1}' % (BEGIN // SECOND + at)

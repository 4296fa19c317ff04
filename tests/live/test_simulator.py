"""The live job, killed at any moment over random logs, gives what one batch computation over the log gives.

`STREAMGAUGE_SIMULATIONS` multiplies how many logs are tried; a failure prints the seed of its log.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp

from dataflow.execution.checkpoints import timeline_of
from tests.live.history import History
from tests.live.jobs import JOBS, job_of
from tests.live.life import Life, Saved
from tests.live.logs import BEGIN, SECOND, chunk_after, random_log
from tests.live.plan import Plan
from tests.live.simulator import LifeOf, Simulation
from tests.live.study import Study
from tests.live.world import World, Wrong
from transforms.aggregation import live
from transforms.aggregation.lateness import JudgeFn
from transforms.aggregation.live import TimelineFn
from transforms.collection.cursor import SourceCursor
from transforms.collection.log.chunks import ChunkParser, Flush
from transforms.errors import SinkError
from transforms.preprocessing.preprocess import preprocess
from transforms.record.batch import WATERMARK, set_column
from transforms.specification import Seconds
from transforms.storage.live import plan as storing
from transforms.storage.live.keeper import Keeper
from transforms.storage.live.plan import LivePlan
from transforms.storage.tables import DEAD_LETTERS
from transforms.time.moment import SENT, moment
from transforms.time.tick import PARTIAL, READ, Tick, label_of, name_of
from transforms.time.watermark import Progress, WatermarkSpec

pytestmark = pytest.mark.slow

TIMES = int(os.environ.get("STREAMGAUGE_SIMULATIONS", "1"))


def simulation(name: str, seed: int, kill: float, chunks: int = 0, **changes: Any) -> Simulation:
    """A random log of a job, about to be lived through."""
    chance = Random(f"{name} {seed}")
    log = random_log(chance, chunks or chance.randint(4, 14))
    study = Study(job_of(name), log, **{k: v for k, v in changes.items() if k in ("watermark_of", "cuts")})
    return Simulation(study, World(), chance, changes.get("life_of", Life), kill)


def lived_through(
    name: str,
    seeds: range,
    kill: float = 0.1,
    *,
    saves: float = 0.0,
    stops: float = 0.0,
    cuts: bool = True,
    expires: bool = False,
) -> Counter[str]:
    """Lives through the logs of these seeds; the first that gives wrong tables fails the test.

    Counts how often an engine went back, and a stopped life went on.
    """
    counted: Counter[str] = Counter()
    for seed in seeds:
        tried = simulation(name, seed, kill, cuts=cuts)
        tried.saves, tried.stops = saves, stops
        tried.retention = retention_of(tried) if expires else {}
        try:
            tried.run()
        except Wrong as wrong:
            pytest.fail(f"seed {seed} of {name}, killed {kill}: {wrong}")
        counted.update(returns=tried.returns, woken=tried.woken, gone=tried.gone)
    return counted


def retention_of(tried: Simulation) -> dict[str, Seconds]:
    """Of some tables, how long their rows stay, by the clock of the log."""
    log = tried.study.log
    lasts = (log[-1].elapsed - log[0].elapsed) / 1e6
    shares = {table: tried.chance.choice([0.0, 0.1, 0.3, 0.6]) for table in tried.study.job.tables}
    return {table: Seconds(lasts * share) for table, share in shares.items() if share}


@pytest.mark.parametrize("kill", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("name", JOBS)
def test_tables_are_those_of_the_batch_wherever_a_job_is_killed(name: str, kill: float) -> None:
    lived_through(name, range(20 * TIMES), kill)


@pytest.mark.parametrize("name", JOBS)
def test_chunks_parsed_as_they_come_give_the_same(name: str) -> None:
    lived_through(name, range(1000, 1000 + TIMES), cuts=False)


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
    """No command launches the job then: it finds itself where it was, with sinks that are further."""
    counted = lived_through(name, range(3000, 3000 + 20 * TIMES), saves=0.1)
    assert counted["returns"] > 10 * TIMES


@pytest.mark.parametrize("saves", [0.0, 0.1], ids=["launches", "engine"])
@pytest.mark.parametrize("name", JOBS)
def test_a_process_that_was_stopped_and_goes_on_when_others_have_taken_its_place_changes_nothing(
    name: str, saves: float
) -> None:
    counted = lived_through(name, range(4000, 4000 + 20 * TIMES), saves=saves, stops=0.7)
    assert counted["woken"] > 10 * TIMES


@pytest.mark.parametrize(("saves", "stops"), [(0.0, 0.0), (0.1, 0.7)], ids=["launches", "engine"])
@pytest.mark.parametrize("name", JOBS)
def test_rows_go_when_their_time_has_come_and_no_others(name: str, saves: float, stops: float) -> None:
    counted = lived_through(name, range(5000, 5000 + 20 * TIMES), saves=saves, stops=stops, expires=True)
    assert counted["gone"] > 10 * TIMES


# Planted mistakes: each is something that a driver like this one could do, and the simulator must find it.


class LettersTwice(Life):
    """A dead letter that comes again is another row."""

    takes_out = 0.0

    def plan_to_store(self, checkpoints: Any) -> LivePlan:
        plan = super().plan_to_store(checkpoints)
        numbered = replace(plan.tables[DEAD_LETTERS], key=("source", "position", "stage", "failed_at"))
        sinks = [
            replace(sink, tables={**sink.tables, DEAD_LETTERS: numbered}) if DEAD_LETTERS in sink.tables else sink
            for sink in plan.sinks
        ]
        return replace(plan, sinks=sinks)


class Spanning(Life):
    """A partial waits for the next batch, and so spans a tick."""

    held: Sequence[Any] = ()

    def delayed(self, partials: list[Any]) -> list[Any]:
        held, self.held = self.held, partials[:1]
        return [*held, *partials[1:]]


class ManifestFirst(Life):
    """The checkpoint's manifest is written before its rows."""

    def keeper_of(self, plan: LivePlan) -> Keeper:
        class Hasty(Keeper):
            def keep(self, tick: Any, parcels: Any, before: Any) -> Any:
                kept, folder = list(parcels), self._plan.checkpoints
                snapshots = [batch for batch in kept if label_of(batch)["kind"] == "snapshot"]
                manifest = self._held(before)
                early = folder.put(live_checkpoint(tick, manifest), snapshots, self._number)
                found = folder.with_checkpoint(manifest.checkpoints, early)
                manifest = folder.commit(manifest, replace(manifest, checkpoints=found, at=early.place))
                with mock.patch.object(self, "_held", lambda _: manifest):
                    return super().keep(tick, kept, before)

        return Hasty(plan)


def live_checkpoint(tick: Any, manifest: Any) -> Any:
    from transforms.storage.checkpoint.manifest import Checkpoint
    from transforms.time.watermark import END

    history = manifest.line[-1].history
    return Checkpoint(tick.name, tick.chunk, tick.watermark, tick.source, 0.0, tick.watermark == END, history=history)


class Greedy(Life):
    """A snapshot holds whatever has arrived, also from behind its tick."""

    def timeline_fn(self, timeline: Any, number: int) -> TimelineFn:
        class GreedyFn(TimelineFn):
            def process(self, element: Any, timestamp: Any = None, *states: Any, **named: Any) -> None:
                is_partial = label_of(element[1])["kind"] == PARTIAL
                super().process(element, Timestamp(0) if is_partial else timestamp, *states, **named)

        return GreedyFn(timeline, number)


class TooLate(Life):
    """A launch goes on one chunk behind its checkpoint."""

    def start(self, cursor: SourceCursor) -> SourceCursor:
        return replace(cursor, chunk=cursor.chunk + 1) if 1 < cursor.chunk < len(self.study.log) else cursor


class TooEarly(Life):
    """A launch goes on one chunk before its checkpoint, whose records its state holds already."""

    def start(self, cursor: SourceCursor) -> SourceCursor:
        return replace(cursor, chunk=max(cursor.chunk - 1, 1))


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
            def process(self, element: Any, *cursor: Any) -> None:
                shard, batch = element
                if label_of(batch)["kind"] == "snapshot":
                    seed = live.Shard.from_parcel(batch)
                    seed = replace(seed, state=replace(seed.state, shown=None))
                    batch = seed.to_parcel(number, shard)
                super().process((shard, batch), *cursor)

        return ForgetfulFn(timeline, number)


class NamedAgain(Life):
    """Ticks after a launch have the names of ticks before it."""

    def start(self, cursor: SourceCursor) -> SourceCursor:
        return replace(cursor, shift=0)


class NeverTakenBack(Life):
    """The sinks stay where they are when an engine goes back."""

    def resumed(self, saved: Saved) -> LivePlan:
        plan, manifest = saved.live_plan.claimed(str(self.chance.random()))
        plan.settle(manifest)
        return plan

    def keeper_of(self, plan: LivePlan) -> Keeper:
        class Onward(Keeper):
            def _held(self, before: Any) -> Any:
                return super()._held(self._plan.checkpoints.current(self._plan.launch).at)

        return Onward(plan)


class Overtaking(Life):
    """The manifest is written even if another process has written it meanwhile."""

    def plan_to_store(self, checkpoints: Any) -> LivePlan:
        class Blind(type(checkpoints)):  # type: ignore[misc]
            def commit(self, before: Any, after: Any) -> Any:
                there = self.world.manifest
                return super().commit(replace(before, number=there.number if there else 0), after)

        world = checkpoints.world
        return super().plan_to_store(Blind("", {}, checkpoints.retain, world=world))


class Stubborn(Life):
    """A process that was stopped does not notice it, and its files are shown even if another has taken its place."""

    lease = 1e9

    def keeper_of(self, plan: LivePlan) -> Keeper:
        class Unasked(Keeper):
            def _check(self) -> None:
                pass

            def _refuse_another(self, manifest: Any) -> None:
                pass

        return Unasked(plan)


class ByName(Life):
    """A place is known by the names of checkpoints, whatever history they are of."""

    def resumed(self, saved: Saved) -> LivePlan:
        with mock.patch.object(storing, "holds", lambda line, place: True):
            return super().resumed(saved)

    def keeper_of(self, plan: LivePlan) -> Keeper:
        class Forgetting(Keeper):
            def _held(self, before: Any) -> Any:
                there = self._plan.checkpoints.current(self._plan.launch).at
                same = replace(before, history=there.history)
                with mock.patch.object(storing, "holds", lambda line, place: True):
                    return super()._held(same)

        return Forgetting(plan)


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
    stops: float = 0.0
    refuses_left: bool = True
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
    "who was overtaken writes the manifest": Mistake("fixed", Overtaking, stops=0.7),
    "who was overtaken shows files": Mistake("fixed", Stubborn, saves=0.1, stops=0.7),
    "histories are distinguished by names alone": Mistake("fixed", ByName, saves=0.1, refuses_left=False, seed=40),
    "ticks of two launches have one name": Mistake("waiting", NamedAgain),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_planted_mistake_is_found(what: str) -> None:
    mistake = MISTAKES[what]
    changes: dict[str, Any] = {"cuts": False} if mistake.watermark_of or mistake.parser else {}
    if mistake.watermark_of:
        changes["watermark_of"] = mistake.watermark_of
    for seed in range(mistake.seed, mistake.seed + 40):
        tried = simulation(mistake.job, seed, 0.1, life_of=mistake.life_of, **changes)
        tried.saves, tried.stops, tried.refuses_left = mistake.saves, mistake.stops, mistake.refuses_left
        if mistake.world is not None:
            tried.world = mistake.world.copy()
        if mistake.parser is not None:
            tried.study.parser_type = mistake.parser
        try:
            tried.run()
        except (Wrong, AssertionError, LookupError, SinkError):
            return
    pytest.fail(f"no check noticed that {what}")


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

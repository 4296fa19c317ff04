"""One process of the live job without Beam: its own functions, called as a runner may call them.

It goes on from what the world holds, reads, and delivers in an order that only the law of timers binds:

- elements arrive in any order, also those sent after a tick whose timer has not fired;
- a timer fires when all that was sent before its moment has arrived; several may fire in one go;
- a checkpoint is kept when all shards have handled its tick and what they gave is stored.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp

from dataflow.execution.checkpoints import carried_in, seeds_of, timeline_of
from dataflow.execution.restore import passed, rolled_back_to
from dataflow.execution.submission import Savepoint, Standing
from tests.live.history import History, Published
from tests.live.plan import DRAIN, Plan
from tests.live.shard import Shard
from tests.live.source import Source
from tests.live.study import Key, Study
from tests.live.world import Checkpoints, Killed, World, Wrong
from transforms.aggregation.lateness import JudgeFn
from transforms.aggregation.live import SummarizeLiveFn, TimelineFn, ToShardsFn
from transforms.collection.control import STOP
from transforms.collection.cursor import SourceCursor
from transforms.preprocessing.preprocess import PreprocessFn
from transforms.specification import Seconds
from transforms.storage.checkpoint.history import NOTHING, Place
from transforms.storage.checkpoint.manifest import Checkpoint
from transforms.storage.live.keeper import Keeper, Lease
from transforms.storage.live.plan import FOREVER, LivePlan, Waiting
from transforms.storage.live.store import KeepFn, LabelFn, StoreRowsFn
from transforms.storage.tables import DEAD_LETTERS, LEDGER
from transforms.time.tick import READ, ROWS, label_of, name_of, tick_of
from transforms.time.watermark import END, NEVER, Progress


@dataclass(frozen=True)
class Saved:
    """A checkpoint of the engine: all of its state, and what is on its way, at one moment."""

    plan: Plan
    live_plan: LivePlan
    shards: Mapping[tuple[int, int], Shard]
    keeper: Shard
    cursor: SourceCursor
    progress: int
    fired: Mapping[int, Mapping[tuple[int, int], int]]
    published: Mapping[Any, Sequence[Published]]
    savepoint: Savepoint


class Life:
    """One process of the live job, from its launch to its end."""

    lease = FOREVER
    """s that it may have been stopped and still write."""

    retention: Mapping[str, Seconds] = {}
    """Of tables, how long (s) their rows stay."""

    takes_out = 0.5
    """How likely a launch takes out of the database what came after its checkpoint."""

    def __init__(self, study: Study, world: World, chance: Random, plan: Plan, history: History):
        self.study, self.world, self.chance, self.plan, self.history = study, world, chance, plan, history
        self.job = study.job
        self.shards = {(n, s): Shard() for n in range(len(self.job.aggregations)) for s in range(plan.shards)}
        self.keeper = Shard()
        self.fired: dict[int, dict[tuple[int, int], int]] = {}
        self.savepoints: Sequence[Savepoint] = ()
        self.saved: list[Saved] = []
        """The checkpoints of the engine."""
        self.is_left_over = False
        self._steps, self._stopped_at = 0, -1

    def stop(self) -> None:
        """It is stopped here, and another goes on in its place; it will go on with what it is doing, and no further."""
        self.is_left_over, self._stopped_at = True, self._steps
        self.history = self.history.copy()

    # Its pulse.

    def clock(self) -> float:
        return float(self._steps)

    def stopped(self, since: float) -> float:
        return 60.0 if self._stopped_at >= since else 0.0

    def live(self, saved: Saved | None = None) -> None:
        """Launches, or goes on from a checkpoint of the engine, and works until the end.

        Raises:
            Killed: if the world has had enough.
            Wrong: if something was published that must not be.
        """
        cursor = self._launch() if saved is None else self._taken_back(saved)
        self.source = Source(self.study, cursor)
        if saved is not None:
            self.source.progress = saved.progress
        self.source.drains = self.plan.ending == DRAIN
        self.source.visible = max(self.plan.visible, cursor.chunk - 1)
        self.keep_fn = KeepFn(self.live_plan)
        self.keep_fn._keeper = self.keeper_of(self.live_plan)
        self.store_fn = StoreRowsFn(self.live_plan)
        self.store_fn._lease = Lease(self.lease, self)
        self.timeline_fns = [
            self.timeline_fn(timeline_of(aggregation), number)
            for number, aggregation in enumerate(self.job.aggregations)
        ]
        while not self.is_left_over and self._step():
            if self.plan.saves and self.chance.random() < self.plan.saves and self._is_placed():
                self.saved.append(self._save())
        if self.is_left_over:  # its engine ends it
            raise Killed

    def _is_placed(self) -> bool:
        """Whether the manifest says where the engine's state stands: not from where it went back to the next keep."""
        kept = self.keeper.kept.read()
        place = self.live_plan.start if kept is None else Place.from_json(kept)
        return self.world.manifest is not None and place.is_at(self.world.manifest.at)

    def _save(self) -> Saved:
        shards = {place: shard.copy() for place, shard in self.shards.items()}
        fired = {tick: dict(done) for tick, done in self.fired.items()}
        published = {place: list(entries) for place, entries in self.history.by_window.items()}
        cursor, progress = self.source.cursor, self.source.progress
        savepoint = Savepoint("", "", "", [], {}, 0, self._mark())
        return Saved(
            self.plan, self.live_plan, shards, self.keeper.copy(), cursor, progress, fired, published, savepoint
        )

    def _mark(self) -> Standing:
        """Where the tables stand, as a command that takes a savepoint writes it down."""
        manifest = self.world.manifest
        assert manifest is not None
        newest = manifest.newest if manifest.checkpoints else None
        closed = [
            int(row["window_end"].timestamp() * 1e6) + lateness
            for table, lateness in self.study.lateness.items()
            for row in self.world.tables[table].values()
            if row["final"]
        ]
        watermark = max(NEVER if newest is None else newest.watermark, *closed, NEVER)
        nothing: Mapping[str, int] | None = {} if manifest.at.name == NOTHING else None
        read = nothing if newest is None else self.job.source.reached(newest.source)
        return Standing(manifest.at.name, manifest.at.history, [], watermark, read, manifest.line)

    def _taken_back(self, saved: Saved) -> SourceCursor:
        """The engine goes on where it was: by itself, or because a command resumes the job there."""
        manifest = self.world.manifest
        assert manifest is not None
        if manifest.launch == saved.live_plan.launch and self.chance.random() < 0.5:
            self.live_plan = saved.live_plan
        else:
            self.live_plan = self.resumed(saved)
        self.shards = {place: shard.copy() for place, shard in saved.shards.items()}
        self.keeper = saved.keeper.copy()
        self.fired = {tick: dict(done) for tick, done in saved.fired.items()}
        kept = saved.keeper.kept.read()
        place = self.live_plan.start if kept is None else Place.from_json(kept)
        self.history.begin(place.name)
        self.history.by_window = {place: list(entries) for place, entries in saved.published.items()}
        return saved.cursor

    def _launch(self) -> SourceCursor:
        checkpoints = Checkpoints("", {}, Seconds(self.chance.choice([0.0, 3600.0])), world=self.world)
        manifest = checkpoints.read()
        plan, claimed = self.plan_to_store(checkpoints).claimed(str(self.chance.random()))
        self.live_plan = plan
        if manifest is None:
            self.live_plan = replace(plan, start=plan.begin(claimed))
            self.history.begin(NEVER)
            return self.start(SourceCursor(1, Progress()))
        newest = claimed.newest
        if newest.drained:
            raise AssertionError("a drained job does not resume")
        self.live_plan = replace(plan, start=newest.place)
        self.live_plan.settle(claimed)
        if self.chance.random() < self.takes_out:  # as for sources that may decide otherwise what is late
            watermark = max(newest.watermark, passed(self.savepoints, claimed.line))
            self.live_plan.roll_back_rows(watermark, plan.reached(newest.source))
        self.history.begin(newest.name, self.world.published.get(newest.file))
        kept = checkpoints.load(newest)
        for number, seeds in seeds_of(self.job, kept, self.plan.shards).items():
            for shard, snapshot in seeds:
                self.shards[number, shard].inbox.append((MIN_TIMESTAMP, snapshot))
        self.keeper.inbox += [(MIN_TIMESTAMP, parcel) for parcel in carried_in(kept)]
        return self.start(self.rest_of(newest))

    # What a planted mistake may change.

    def plan_to_store(self, checkpoints: Checkpoints) -> LivePlan:
        job, is_open = self.job, len(self.study.log) % 2 == 0
        waiting = {
            output.table: Waiting(self.study.lateness[output.table], aggregation.spec.window.longest)
            for aggregation in job.aggregations
            for output in aggregation.outputs
        }
        return LivePlan(
            *(job.tables, self.world.sinks(job), checkpoints, len(self.shards)),
            has_open_range=is_open,
            waiting=waiting,
            reached=job.source.reached,
            retention=self.retention,
        )

    def resumed(self, saved: Saved) -> LivePlan:
        return rolled_back_to(saved.live_plan, saved.savepoint, self.savepoints)

    def keeper_of(self, plan: LivePlan) -> Keeper:
        return Keeper(plan, Lease(self.lease, self))

    def rest_of(self, newest: Checkpoint) -> SourceCursor:
        progress, position = Progress.from_json(newest.source["progress"]), newest.source["position"]
        return SourceCursor(newest.chunk, progress, position, shift=newest.name - name_of(newest.chunk, READ))

    def start(self, cursor: SourceCursor) -> SourceCursor:
        return cursor

    def timeline_fn(self, timeline: Any, number: int) -> TimelineFn:
        return TimelineFn(timeline, number)

    def ticked(self, tick: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
        yield from ToShardsFn(self.plan.shards).process(tick)

    def partials(self, batch: pa.RecordBatch) -> list[tuple[tuple[int, int], pa.RecordBatch]]:
        """The partials of a batch by aggregation and shard."""
        found = []
        for number, aggregation in enumerate(self.job.aggregations):
            summarize = SummarizeLiveFn(aggregation.summary, number, self.plan.shards)
            found += [((number, shard), part) for shard, part in summarize.process(batch)]
        return found

    # What a runner does.

    def _step(self) -> bool:
        """Does one thing that may be done; False: there is nothing left to do."""
        source, chance = self.source, self.chance
        self._steps += 1
        self.store_fn.start_bundle()
        self.keep_fn.start_bundle()
        if not source.cursor.ended and chance.random() < self.plan.busy:
            self._read()
            return True
        able = [place for place, shard in self.shards.items() if shard.inbox or shard.is_due(source.progress)]
        if self.keeper.inbox or self._keeper_is_due():
            able.append((-1, -1))
        if not able:
            if source.cursor.ended:
                return False
            self._read()
            return True
        place = chance.choice(able)
        shard = self.keeper if place == (-1, -1) else self.shards[place]
        is_due = self._keeper_is_due() if shard is self.keeper else shard.is_due(source.progress)
        if shard.inbox and (not is_due or chance.random() < 0.5):
            at, batch = shard.inbox.pop(chance.randrange(len(shard.inbox)))
            if shard is self.keeper:
                self.keep_fn.process((0, batch), at, shard.waiting, shard.timers)
            else:
                fn = self.timeline_fns[place[0]]
                fn.process((place[1], batch), at, shard.waiting, shard.stored, shard.clock, shard.timers)
        elif shard is self.keeper:
            self._keep()
        else:
            self._close(place, shard)
        return True

    def _keeper_is_due(self) -> bool:
        due = self.keeper.timers.due()
        if due is None or not self.keeper.is_due(self.source.progress):
            return False
        return all(
            (shard.timers.due() is None or shard.timers.waiting[0][0] > due)
            and all(at.micros > due for at, _ in shard.inbox)
            for shard in self.shards.values()
        )

    def _read(self) -> None:
        source, chance = self.source, self.chance
        is_idle = chance.random() < 0.1
        source.flush_chunks = 0 if is_idle else chance.randint(1, self.plan.most_chunks)
        ending = STOP if self.plan.ending == DRAIN else self.plan.ending
        source.asked = "" if is_idle or source.has(source.cursor) else ending
        start = source.cursor.chunk
        outputs = source.call(chance.random() < self.plan.keeps)
        place = (self.plan.shards, start, source.cursor.chunk)
        for number, output in enumerate(outputs):
            tag, stamped = (output.tag, output.value) if isinstance(output, TaggedOutput) else ("batches", output)
            if not isinstance(stamped, TimestampedValue):
                raise AssertionError("the source says when everything was sent")
            if tag == "ticks":
                self._send_tick(stamped)
            elif tag == "batches":
                self._send_batch(stamped, (*place, number))
            else:
                self._label(tag, stamped.timestamp, [stamped.value])

    def _send_tick(self, stamped: TimestampedValue) -> None:
        for shard, tick in self.ticked(stamped.value):
            for number in range(len(self.job.aggregations)):
                self.shards[number, shard].inbox.append((stamped.timestamp, tick))
        self.keeper.inbox.append((stamped.timestamp, stamped.value))

    def _send_batch(self, stamped: TimestampedValue, place: Key) -> None:
        if place not in self.study.sent:
            self.study.sent[place] = self._records(stamped.value)
        partials, dead, books = self.study.sent[place]
        for shard, partial in self.delayed(partials):
            self.shards[shard].inbox.append((stamped.timestamp, partial))
        self._label(DEAD_LETTERS, stamped.timestamp, dead)
        self._label(LEDGER, stamped.timestamp, books)

    def delayed(self, partials: list[Any]) -> list[Any]:
        return partials

    def _records(self, batch: pa.RecordBatch) -> tuple[list[Any], list[pa.RecordBatch], list[pa.RecordBatch]]:
        books: dict[str, list[pa.RecordBatch]] = {"dead_letters": [], "ledger": []}

        def through(fn: Any, batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
            outputs = [output for batch in batches for output in fn.process(batch)]
            for output in outputs:
                if isinstance(output, TaggedOutput):
                    books[output.tag].append(output.value)
            return [output for output in outputs if not isinstance(output, TaggedOutput)]

        clean = through(PreprocessFn(self.job.steps), [batch])
        judged = through(JudgeFn([aggregation.spec for aggregation in self.job.aggregations]), clean)
        return [part for batch in judged for part in self.partials(batch)], books["dead_letters"], books["ledger"]

    def _label(self, tag: str, at: Timestamp, batches: Sequence[pa.RecordBatch]) -> None:
        table = {"dead_letters": DEAD_LETTERS, "ledger": LEDGER}[tag]
        for batch in batches:
            self.keeper.inbox += [(at, labelled) for labelled in LabelFn(table).process(batch)]

    def _close(self, place: tuple[int, int], shard: Shard) -> None:
        at, tag = shard.timers.waiting.pop(0)
        fn = self.timeline_fns[place[0]]
        tick = self.history.tick(tag)
        for output in list(fn.close(place[1], tag, shard.waiting, shard.stored, shard.clock)):
            label = label_of(output)
            if label["kind"] == ROWS:
                self.history.published(label["table"], output.to_pylist(), tick, self.study)
            for kept in self.store_fn.process(output):
                self.keeper.inbox.append((Timestamp(micros=at), kept))
        done = self.fired.setdefault(tick.name, {})
        done[place] = 1
        if len(done) == len(self.shards) and tick.watermark != END:
            self._check_closed(tick.watermark)

    def _check_closed(self, watermark: int) -> None:
        """Raises Wrong unless every window that is due by a tick that all shards have handled is in the database."""
        manifest = self.world.manifest
        for table, windows in self.study.closing.items():
            rows, mark = self.world.tables[table], manifest.expired.get(table) if manifest is not None else None
            for when, key in windows:
                if mark is not None and when <= mark.watermark:
                    continue
                if when <= watermark and not (rows.get(key) or {"final": False})["final"]:
                    raise Wrong(f"{table} {key}: was due at {when}, and is not final at {watermark}")

    def _keep(self) -> None:
        _, tag = self.keeper.timers.waiting.pop(0)
        self.world.witnesses[threading.get_ident()] = self.history.entries
        for kept in list(self.keep_fn.keep(tag, self.keeper.waiting, self.keeper.kept)):
            self.history.kept(tick_of(kept).name)

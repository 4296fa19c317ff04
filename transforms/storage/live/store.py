"""Live storing, as Beam runs it: rows as they come, and a checkpoint after all that was stored before it."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders import BytesCoder, TupleCoder, VarIntCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec, TimerSpec, on_timer

from transforms.errors import SinkError
from transforms.process.progress import Bulletin
from transforms.record.coder import RecordBatchCoder
from transforms.storage.checkpoint.history import Place
from transforms.storage.checkpoint.snapshots import write_snapshots
from transforms.storage.live.keeper import Keeper, Lease
from transforms.storage.live.plan import LivePlan
from transforms.storage.tables import DEAD_LETTERS, LEDGER
from transforms.time.moment import KEEPING, moment, tick_after
from transforms.time.tick import (
    RETRACTED,
    ROWS,
    TICK,
    Tick,
    content_of,
    label_of,
    parcel,
    tick_of,
    tick_parcel,
)

PATIENCE_SECONDS: Final = 900.0
"""How long a sink may be unreachable before the job gives up."""


def patiently(action: Callable[[], Any], bulletin: Bulletin, patience: float = PATIENCE_SECONDS) -> Any:
    """Repeats an action on a sink until it works: a database may be restarting, or a disk full.

    Raises:
        SinkError: the sink's error, if it could not be written for `patience` seconds, or if a retry cannot help.
    """
    began, pause, trouble = time.monotonic(), 0.1, ""
    while True:
        try:
            result = action()
        except SinkError as error:
            if error.is_final or time.monotonic() - began > patience:
                raise
            bulletin.replace_trouble(trouble, str(error))
            trouble = str(error)
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
        else:
            bulletin.replace_trouble(trouble)
            return result


class StoreRowsFn(beam.DoFn):
    """Stores parcels of rows in databases at once, and passes on every parcel that a checkpoint needs.

    Retractions go no further: only sinks that store rows at once hold provisional rows.
    """

    def __init__(self, plan: LivePlan):
        self._plan = plan
        self._wait = {table for sink in plan.sinks if sink.stores_checkpoints for table in sink.tables}

    def setup(self) -> None:
        self._lease = Lease(self._plan.lease)

    def start_bundle(self) -> None:
        self._lease.begin()

    def process(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        label = label_of(batch)
        kind, table = label["kind"], label.get("table", "")

        def store() -> None:
            self._lease.check()
            action = self._plan.store_rows if kind == ROWS else self._plan.retract
            action(table, content_of(batch))

        if kind in (ROWS, RETRACTED):
            patiently(store, self._plan.bulletin)
        if kind == ROWS:
            # Files hold final rows only, so provisional rows do not wait for a checkpoint.
            batch = batch.filter(batch["final"])
        if kind not in (ROWS, RETRACTED) or (kind == ROWS and table in self._wait and batch.num_rows):
            yield batch


class LabelFn(beam.DoFn):
    """Batches of one table to parcels."""

    def __init__(self, table: str):
        self._table = table

    def process(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        if batch.num_rows:
            yield parcel(batch, ROWS, table=self._table)


class KeepFn(beam.DoFn):
    """Parcels and ticks, all of key 0, to the ticks at which a checkpoint was written.

    Its state holds the last checkpoint, since an engine may restore an earlier state.
    """

    WAITING = BagStateSpec("waiting", TupleCoder((VarIntCoder(), RecordBatchCoder())))
    KEPT = ReadModifyWriteStateSpec("kept", BytesCoder())
    KEEP = TimerSpec("keep", TimeDomain.WATERMARK)

    def __init__(self, plan: LivePlan):
        self._plan = plan

    def setup(self) -> None:
        self._keeper = Keeper(self._plan)

    def start_bundle(self) -> None:
        self._keeper.begin()

    def teardown(self) -> None:
        self._keeper.close()

    def process(
        self,
        element: tuple[int, pa.RecordBatch],
        timestamp: Any = beam.DoFn.TimestampParam,
        waiting: Any = beam.DoFn.StateParam(WAITING),
        keep: Any = beam.DoFn.TimerParam(KEEP),
    ) -> None:
        _, batch = element
        if label_of(batch)["kind"] == TICK:
            tick = tick_of(batch)
            if tick.keeps:
                keep.set(moment(tick.name, KEEPING), dynamic_timer_tag=tick.to_json())
        else:
            waiting.add((tick_after(timestamp), batch))

    @on_timer(KEEP)  # type: ignore[untyped-decorator]  # Beam has no types for it
    def keep(
        self,
        tag: Any = beam.DoFn.DynamicTimerTagParam,
        waiting: Any = beam.DoFn.StateParam(WAITING),
        kept: Any = beam.DoFn.StateParam(KEPT),
    ) -> Iterator[pa.RecordBatch]:
        tick, before = Tick.from_json(tag), kept.read()
        before = self._plan.start if before is None else Place.from_json(before)
        parcels: list[tuple[int, pa.RecordBatch]] = []
        later: list[tuple[int, pa.RecordBatch]] = []
        for name, batch in waiting.read():
            (parcels if name <= tick.name else later).append((name, batch))
        self._keeper.turn(before)
        try:
            place, carried = patiently(
                lambda: self._keeper.keep(tick, [batch for _, batch in parcels], before), self._plan.bulletin
            )
        except BaseException:
            self._keeper.close()
            raise
        kept.write(place.to_json())
        waiting.clear()
        for entry in (*later, *((tick.name, batch) for batch in carried)):
            waiting.add(entry)
        yield tick_parcel(replace(tick, source={}))


class SaveFn(beam.DoFn):
    """Writes snapshots to files of a folder; emits their paths."""

    def __init__(self, folder: str):
        self._folder = folder

    def process(self, snapshot: pa.RecordBatch) -> Iterator[str]:
        label = label_of(snapshot)
        path = f"{self._folder}/{label['aggregation']}-{label['shard']}.arrows"
        write_snapshots(path, [snapshot])
        yield path


class LiveResults(NamedTuple):
    """Parcels of retractions, rows and snapshots; dead letters and ledger as batches; and ticks."""

    dead_letters: beam.PCollection[pa.RecordBatch]
    ledger: beam.PCollection[pa.RecordBatch]
    parcels: beam.PCollection[pa.RecordBatch]
    ticks: beam.PCollection[pa.RecordBatch]


@dataclass(eq=False, kw_only=True)
class StoreLive(beam.PTransform):
    """Stores what a live job makes, and then keeps checkpoints.

    In: LiveResults. Out: the ticks at which a checkpoint was written.

    Args:
        seeds: parcels that the last checkpoint left for the next one.
    """

    plan: LivePlan
    seeds: Sequence[pa.RecordBatch] = ()

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, results: LiveResults) -> beam.PCollection[pa.RecordBatch]:
        books = [
            batches | f"Label {name}" >> beam.ParDo(LabelFn(name)).with_output_types(pa.RecordBatch)
            for name, batches in ((DEAD_LETTERS, results.dead_letters), (LEDGER, results.ledger))
        ]
        seeds = results.ticks.pipeline | "Seeds" >> beam.Create(list(self.seeds), reshuffle=False).with_output_types(
            pa.RecordBatch
        )
        stored = results.parcels | "Store rows" >> beam.ParDo(StoreRowsFn(self.plan)).with_output_types(pa.RecordBatch)
        return (
            (*books, stored, results.ticks, seeds)
            | "Parcels" >> beam.Flatten()
            | "Together" >> beam.WithKeys(0).with_output_types(tuple[int, pa.RecordBatch])
            | "Keep" >> beam.ParDo(KeepFn(self.plan)).with_output_types(pa.RecordBatch)
        )

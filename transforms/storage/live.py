"""Live storing: rows of windows at once, everything else at checkpoints, nothing lost and nothing twice.

Rows of closing windows go into databases the moment they are known: upserts by the table's key, so that doing it
again after a restart changes nothing. Dead letters, the ledger and Parquet files wait for the next checkpoint, which
is written behind all of them. What came after the last checkpoint is made again by whoever goes on from it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, Final

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders import TupleCoder, VarIntCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec, TimerSpec, on_timer

from transforms import ledger
from transforms.coder import RecordBatchCoder
from transforms.progress import BULLETIN
from transforms.storage import parquet_log, sql
from transforms.storage.checkpoint import NOTHING, Checkpoint, CheckpointFolder, write_snapshots
from transforms.storage.error import SinkError
from transforms.storage.publish import DEAD_LETTERS, LEDGER, Target, by_url, sql_table
from transforms.storage.records import stamped
from transforms.storage.staging import Table
from transforms.tick import (
    KEEPING,
    ROWS,
    SNAPSHOT,
    TICK,
    Tick,
    content_of,
    label_of,
    moment,
    parcel,
    tick_after,
    tick_of,
    tick_parcel,
)
from transforms.watermark import END

PATIENCE_SECONDS: Final = 900.0
"""How long a sink may be out of reach until the job gives up."""


@dataclass(frozen=True)
class LivePlan:
    """What a live job stores, and where.

    Args:
        job: the name that owns the folders.
        tables: every output table by name.
        checkpoints: where the job keeps what it goes on from.
        snapshots: how many a whole checkpoint has.
        attempts: how often records were replayed before, by source and position.
        start: the name of the checkpoint that it begins at.
    """

    job: str
    tables: Mapping[str, Table]
    targets: Sequence[Target]
    checkpoints: CheckpointFolder
    snapshots: int
    attempts: Mapping[tuple[str, int], int] = field(default_factory=dict)
    start: int = NOTHING

    def begin(self) -> None:
        """Empties every table: a job that goes on from nothing has no rows yet."""
        for target in self.targets:
            if target.folder is not None:
                parquet_log.begin(target.folder, self.job)
        for url, names in by_url(self.targets).items():
            _publish(url, {sql_table(self.tables[name]): [] for name in names}, replace=True)

    def rewind(self, name: int) -> None:
        """Takes back files that were written after a checkpoint; rows of databases are written over."""
        self.checkpoints.rewind(name)
        for target in self.targets:
            if target.folder is not None:
                parquet_log.rewind(target.folder, self.job, name)

    def store_rows(self, table: str, rows: pa.RecordBatch) -> None:
        """Upserts rows of a table into the databases that hold it."""
        for url in by_url(target for target in self.targets if target.table == table):
            _publish(url, {sql_table(self.tables[table]): [rows]}, replace=False)
        BULLETIN.show(table, rows)

    def keep(self, tick: Tick, parcels: Iterable[pa.RecordBatch], before: int) -> Checkpoint:
        """Stores everything that waited for a checkpoint, and then the checkpoint.

        Args:
            before: the name of the checkpoint before. What was stored since was stored by this job too: it failed, and
                its engine took it back to where it had been, so all of that comes again.
        """
        self.rewind(before)
        contents: dict[str, list[pa.RecordBatch]] = {name: [] for name in self.tables}
        snapshots = []
        for batch in parcels:
            label = label_of(batch)
            if label["kind"] == SNAPSHOT:
                snapshots.append(batch)
            else:
                contents[label["table"]].append(content_of(batch))
        if len(snapshots) != self.snapshots:
            raise AssertionError(f"tick {tick.name} has {len(snapshots)} snapshots, must have {self.snapshots}")
        book = ledger.merge(contents[LEDGER])
        contents[LEDGER] = [book] if book.num_rows else []
        now = datetime.now(timezone.utc)
        contents[DEAD_LETTERS] = [stamped(letters, now, self.attempts) for letters in contents[DEAD_LETTERS]]
        for target in self.targets:
            if target.folder is not None:
                parquet_log.append(
                    target.folder, self.tables[target.table], contents[target.table], self.job, tick.name
                )
        books = (target for target in self.targets if target.table in (DEAD_LETTERS, LEDGER) and contents[target.table])
        for url, names in by_url(books).items():
            _publish(url, {sql_table(self.tables[name]): contents[name] for name in names}, replace=False)
        taken = time.time()
        drained = tick.watermark == END
        checkpoint = Checkpoint(tick.name, tick.chunk, tick.watermark, tick.source, taken, drained)
        self.checkpoints.keep(checkpoint, snapshots)
        reasons = Counter(reason for letters in contents[DEAD_LETTERS] for reason in letters["reason"].to_pylist())
        BULLETIN.account(ledger.totals(book), reasons)
        BULLETIN.set(checkpoint=taken)
        return checkpoint

    def pack(self, tick: Tick) -> None:
        """Joins small files behind a checkpoint; what fails today is done at the next one."""
        for target in self.targets:
            if target.folder is not None:
                with suppress(SinkError):
                    parquet_log.pack(target.folder, self.job, tick.name)


def patiently(action: Callable[[], Any], patience: float = PATIENCE_SECONDS) -> Any:
    """Does something to a sink until it works: a database may be restarting, a disk full.

    Raises:
        SinkError: what the sink says, when it could not be written for `patience` seconds.
    """
    began, pause, told = time.monotonic(), 0.1, ""
    while True:
        try:
            result = action()
        except SinkError as error:
            if time.monotonic() - began > patience:
                raise
            told = str(error)
            BULLETIN.set(trouble=told)
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
        else:
            if told and BULLETIN.trouble == told:  # another sink's trouble is not over
                BULLETIN.set(trouble="")
            return result


def _publish(url: str, tables: Mapping[sql.SqlTable, Sequence[pa.RecordBatch]], *, replace: bool) -> None:
    try:
        sql.publish(url, tables, replace=replace)
    except sql.SqlSinkError as error:
        raise SinkError(str(error)) from None


class StoreRowsFn(beam.DoFn):
    """Parcels of rows into databases, at once; and every parcel that a checkpoint needs on."""

    def __init__(self, plan: LivePlan):
        self._plan = plan
        self._has_folder = {target.table for target in plan.targets if target.folder is not None}

    def process(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        label = label_of(batch)
        if label["kind"] == ROWS:
            patiently(lambda: self._plan.store_rows(label["table"], content_of(batch)))
            # Files hold final rows only; what may still change has no checkpoint to wait for.
            batch = batch.filter(batch["final"])
        if label["kind"] != ROWS or (label["table"] in self._has_folder and batch.num_rows):
            yield batch


class LabelFn(beam.DoFn):
    """Batches of one table to parcels."""

    def __init__(self, table: str):
        self._table = table

    def process(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        if batch.num_rows:
            yield parcel(batch, ROWS, table=self._table)


class KeepFn(beam.DoFn):
    """Parcels and ticks, all of key 0, to the ticks that a checkpoint was written at.

    Which one was the last is part of its state, for an engine that takes this state back to an earlier one.
    """

    WAITING = BagStateSpec("waiting", TupleCoder((VarIntCoder(), RecordBatchCoder())))
    KEPT = ReadModifyWriteStateSpec("kept", VarIntCoder())
    KEEP = TimerSpec("keep", TimeDomain.WATERMARK)

    def __init__(self, plan: LivePlan):
        self._plan = plan

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
        before = self._plan.start if before is None else before
        parcels: list[tuple[int, pa.RecordBatch]] = []
        later: list[tuple[int, pa.RecordBatch]] = []
        for name, batch in waiting.read():
            (parcels if name <= tick.name else later).append((name, batch))
        patiently(lambda: self._plan.keep(tick, [batch for _, batch in parcels], before))
        self._plan.pack(tick)
        kept.write(tick.name)
        waiting.clear()
        for entry in later:
            waiting.add(entry)
        yield tick_parcel(replace(tick, source={}))


class SaveFn(beam.DoFn):
    """Snapshots to files of a folder, whose paths it gives."""

    def __init__(self, folder: str):
        self._folder = folder

    def process(self, snapshot: pa.RecordBatch) -> Iterator[str]:
        label = label_of(snapshot)
        path = f"{self._folder}/{label['aggregation']}-{label['shard']}.arrows"
        write_snapshots(path, [snapshot])
        yield path


@dataclass(eq=False, kw_only=True)
class StoreLive(beam.PTransform):
    """Stores what a live job makes, and keeps checkpoints behind it.

    In: a dictionary with `parcels` of rows and snapshots, `dead_letters` and `ledger` as batches, and `ticks`.
    Out: the ticks at which a checkpoint was written.
    """

    plan: LivePlan

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, inputs: Mapping[str, Any]) -> beam.PCollection[pa.RecordBatch]:
        books = [
            inputs[name] | f"Label {name}" >> beam.ParDo(LabelFn(name)).with_output_types(pa.RecordBatch)
            for name in (DEAD_LETTERS, LEDGER)
        ]
        stored = inputs["parcels"] | "Store rows" >> beam.ParDo(StoreRowsFn(self.plan)).with_output_types(
            pa.RecordBatch
        )
        return (
            (*books, stored, inputs["ticks"])
            | "Parcels" >> beam.Flatten()
            | "Together" >> beam.WithKeys(0).with_output_types(tuple[int, pa.RecordBatch])
            | "Keep" >> beam.ParDo(KeepFn(self.plan)).with_output_types(pa.RecordBatch)
        )

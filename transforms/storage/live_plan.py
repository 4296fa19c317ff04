"""What a live job stores, free of Beam: rows at once, everything else at checkpoints, and back again.

Rows of closing windows go into databases the moment they are known: upserts by the table's key, so that doing it
again after a restart changes nothing. Dead letters, the ledger and Parquet files wait for the next checkpoint, which
is written behind all of them. What came after the last checkpoint is made again by whoever goes on from it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Final

import pyarrow as pa

from transforms import ledger
from transforms.progress import BULLETIN
from transforms.storage import parquet_log, sql, topics
from transforms.storage.checkpoint import NOTHING, Checkpoint, CheckpointFolder, NotShared, Place, TakenOver
from transforms.storage.error import SinkError
from transforms.storage.kafka import KafkaFenced
from transforms.storage.publish import DEAD_LETTERS, LEDGER, Target, by_url, sql_table
from transforms.storage.records import stamped
from transforms.storage.staging import Table
from transforms.storage.topics import Topics, TopicSink
from transforms.tick import ROWS, SNAPSHOT, Tick, content_of, label_of, parcel
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
        start: where it begins.
        topics: those that it fills.
        launch: which launch of the job it is; empty: nobody asks.
        grows: whether the last ledger row of a source may still grow, because its range was not read to its end.
    """

    job: str
    tables: Mapping[str, Table]
    targets: Sequence[Target]
    checkpoints: CheckpointFolder
    snapshots: int
    attempts: Mapping[tuple[str, int], int] = field(default_factory=dict)
    start: Place = field(default_factory=Place)
    topics: Sequence[TopicSink] = ()
    launch: str = ""
    grows: bool = False

    def begin(self) -> Place:
        """Empties every table: a job that goes on from nothing has no rows yet. Gives where it begins."""
        for target in self.targets:
            if target.folder is not None:
                parquet_log.begin(target.folder, self.job)
        for url, names in by_url(self.targets).items():
            _publish(url, {sql_table(self.tables[name]): [] for name in names}, replace=True)
        return Place(NOTHING, topics.begin(self.topics, self.tables, self.job, self.checkpoints.state))

    def writing(self) -> Topics:
        """The topics as this process writes them."""
        return Topics(self.topics, self.tables, self.job)

    def rewind(self, name: int) -> None:
        """Takes back files that were written after a checkpoint; rows of databases are written over."""
        self.checkpoints.rewind(name)
        for target in self.targets:
            if target.folder is not None:
                parquet_log.rewind(target.folder, self.job, name)

    def widen(self) -> None:
        """Adds the columns to tables of databases that the job was given while it ran."""
        for url, names in by_url(self.targets).items():
            _publish(url, {sql_table(self.tables[name]): [] for name in names}, replace=False)

    def store_rows(self, table: str, rows: pa.RecordBatch) -> None:
        """Upserts rows of a table into the databases that hold it."""
        for url in by_url(target for target in self.targets if target.table == table):
            _publish(url, {sql_table(self.tables[table]): [rows]}, replace=False)
        BULLETIN.show(table, rows)

    def keep(
        self, tick: Tick, parcels: Iterable[pa.RecordBatch], before: Place, writing: Topics
    ) -> tuple[Place, list[pa.RecordBatch]]:
        """Stores everything that waited for a checkpoint, and then the checkpoint.

        Args:
            before: the checkpoint before. What was stored since was stored by this job too: it failed, and its engine
                took it back to where it had been, so all of that comes again.

        Returns:
            Where the job stands now, and the parcels that belong to the next checkpoint as well.
        """
        if self.launch:
            self.checkpoints.check_claim(self.launch)
        self.rewind(before.name)
        waited = _Waited.of(parcels, self.tables)
        if len(waited.snapshots) != self.snapshots:
            raise AssertionError(f"tick {tick.name} has {len(waited.snapshots)} snapshots, must have {self.snapshots}")
        now = datetime.now(timezone.utc)
        contents = waited.contents
        contents[DEAD_LETTERS] = [stamped(letters, now, self.attempts) for letters in contents[DEAD_LETTERS]]
        book = ledger.merge(contents[LEDGER])
        growing = self._store_files(tick, contents, book)
        contents[LEDGER] = [book] if book.num_rows else []
        self._store_books(contents)
        reached = writing.publish(contents)
        taken = time.time()
        drained = tick.watermark == END
        checkpoint = Checkpoint(tick.name, tick.chunk, tick.watermark, tick.source, taken, drained, reached)
        carried = [parcel(growing, ROWS, table=LEDGER, carried=True)] if growing.num_rows else []
        self.checkpoints.keep(checkpoint, [*waited.snapshots, *carried])
        reasons = Counter(reason for letters in contents[DEAD_LETTERS] for reason in letters["reason"].to_pylist())
        BULLETIN.account(ledger.totals(ledger.merge(waited.fresh)), reasons)
        BULLETIN.set(checkpoint=taken)
        return Place(tick.name, reached), carried

    def _store_files(
        self, tick: Tick, contents: Mapping[str, Sequence[pa.RecordBatch]], book: pa.RecordBatch
    ) -> pa.RecordBatch:
        """Appends to the Parquet folders; gives the rows of the ledger that may still grow, which only lie beside."""
        done, growing = ledger.divide(book) if self.grows else (book, book.slice(0, 0))
        for target in self.targets:
            if target.folder is None:
                continue
            table, rows = self.tables[target.table], contents[target.table]
            if target.table == LEDGER:
                rows = [done] if done.num_rows else []
                if self.grows:
                    parquet_log.put_tail(target.folder, table, growing, self.job, tick.name)
            parquet_log.append(target.folder, table, rows, self.job, tick.name)
        return growing

    def _store_books(self, contents: Mapping[str, Sequence[pa.RecordBatch]]) -> None:
        """Upserts dead letters and ledger into databases, whose other rows were stored as they came."""
        books = (target for target in self.targets if target.table in (DEAD_LETTERS, LEDGER) and contents[target.table])
        for url, names in by_url(books).items():
            _publish(url, {sql_table(self.tables[name]): contents[name] for name in names}, replace=False)

    def pack(self, tick: Tick) -> None:
        """Joins small files behind a checkpoint; what fails today is done at the next one."""
        for target in self.targets:
            if target.folder is not None:
                with suppress(SinkError):
                    parquet_log.pack(target.folder, self.job, tick.name)


@dataclass(frozen=True)
class _Waited:
    """What waited for a checkpoint: snapshots, rows by table, and those of the ledger that none before it had."""

    snapshots: list[pa.RecordBatch]
    contents: dict[str, list[pa.RecordBatch]]
    fresh: list[pa.RecordBatch]

    @staticmethod
    def of(parcels: Iterable[pa.RecordBatch], tables: Iterable[str]) -> "_Waited":
        waited = _Waited([], {name: [] for name in tables}, [])
        for batch in parcels:
            label = label_of(batch)
            if label["kind"] == SNAPSHOT:
                waited.snapshots.append(batch)
                continue
            content = content_of(batch)
            waited.contents[label["table"]].append(content)
            if label["table"] == LEDGER and not label.get("carried"):
                waited.fresh.append(content)
        return waited


def patiently(action: Callable[[], Any], patience: float = PATIENCE_SECONDS) -> Any:
    """Does something to a sink until it works: a database may be restarting, a disk full.

    Raises:
        SinkError: what the sink says, when it could not be written for `patience` seconds.
    """
    began, pause, told = time.monotonic(), 0.1, ""
    while True:
        try:
            result = action()
        except (KafkaFenced, NotShared, TakenOver):
            raise
        except SinkError as error:
            if time.monotonic() - began > patience:
                raise
            BULLETIN.retell(told, str(error))
            told = str(error)
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
        else:
            BULLETIN.retell(told)
            return result


def _publish(url: str, tables: Mapping[sql.SqlTable, Sequence[pa.RecordBatch]], *, replace: bool) -> None:
    try:
        sql.publish(url, tables, replace=replace)
    except sql.SqlSinkError as error:
        raise SinkError(str(error)) from None

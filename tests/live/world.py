"""What survives a kill, in memory: a database, folders of files and a manifest, with a step at each change.

The order of changes is that of the real writers: files beside the live ones, then the manifest that names them, by
compare-and-set, then what the folders show.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pyarrow as pa

from dataflow.job.plan import Job
from transforms.errors import CheckpointDamaged, TableLost, TakenOver
from transforms.storage.checkpoint.expiry import Mark
from transforms.storage.checkpoint.folder import CheckpointFolder
from transforms.storage.checkpoint.manifest import Checkpoint, Manifest
from transforms.storage.parquet.sink import ParquetSink
from transforms.storage.sink import Fence, Known, Sink
from transforms.storage.sql.sink import SqlSink
from transforms.storage.sql.table import SqlTable
from transforms.storage.tables import Table

Rows = dict[tuple[Any, ...], dict[str, Any]]


class Killed(Exception):
    """The process is gone."""


class Wrong(AssertionError):
    """What the simulator exists to find."""


@dataclass
class World:
    """Everything durable. `changed` is called after every single change, and may kill."""

    tables: dict[str, Rows] = field(default_factory=dict)
    writers: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    """Of each table of the database: the state that owns it, the launch and the attempt that may write it."""
    files: dict[str, dict[str, Sequence[tuple[int, pa.RecordBatch]]]] = field(default_factory=dict)
    """Of each folder, the files by name, and in them batches with the ticks they are of."""
    shown: dict[str, list[str]] = field(default_factory=dict)
    beside: dict[str, set[int]] = field(default_factory=dict)
    """Of each folder, the attempts that have made a folder which is to take its place."""
    snapshots: dict[str, Sequence[pa.RecordBatch]] = field(default_factory=dict)
    published: dict[str, Any] = field(default_factory=dict)
    """Of each checkpoint's file, what had been published when it was written."""
    witnesses: dict[int, Callable[[], Any]] = field(default_factory=dict)
    """Of each thread that keeps checkpoints, who knows what has been published."""
    manifest: Manifest | None = None
    changed: Callable[[], None] = lambda: None
    protects_final: bool = True
    upserts: bool = True
    fences: bool = True

    @property
    def checkpoints(self) -> Sequence[Checkpoint]:
        return self.manifest.checkpoints if self.manifest is not None else ()

    @property
    def taken_back(self) -> bool:
        return self.manifest is not None and self.manifest.taken_back

    def copy(self) -> "World":
        """The world as it is now."""
        return World(
            {name: dict(rows) for name, rows in self.tables.items()},
            dict(self.writers),
            {name: dict(files) for name, files in self.files.items()},
            {name: list(names) for name, names in self.shown.items()},
            {name: set(attempts) for name, attempts in self.beside.items()},
            dict(self.snapshots),
            dict(self.published),
            manifest=self.manifest,
            protects_final=self.protects_final,
            upserts=self.upserts,
            fences=self.fences,
        )

    # A database.

    def publish(
        self, url: str, tables: Mapping[SqlTable, Iterable[pa.RecordBatch]], *, replace: bool, fence: Fence | None
    ) -> None:
        """One transaction of the database, of a live job."""
        assert fence is not None
        self._guard(tables, fence)
        for table, batches in tables.items():
            rows = {} if replace else dict(self.tables.get(table.name, {}))
            for row in (row for batch in batches for row in batch.to_pylist()):
                key = tuple(row[name] for name in table.key)
                if not self.upserts:
                    key += (len(rows),)
                stands = rows.get(key)
                if not (self.protects_final and stands and stands.get("final") and not row["final"]):
                    if stands and stands.get("final") and not row["final"]:
                        raise Wrong(f"{table.name} {key}: was final and is not any more")
                    rows[key] = row
            self.tables[table.name] = rows
        self.changed()

    def retract(self, url: str, tables: Mapping[SqlTable, Sequence[pa.RecordBatch]], fence: Fence) -> None:
        """One transaction that takes out provisional rows, window by window."""
        self._guard(tables, fence)
        for table, batches in tables.items():
            for window in (row for batch in batches for row in batch.to_pylist()):
                start, end, *key = (window[name] for name in table.key)
                self.tables[table.name] = {
                    place: row
                    for place, row in self.tables[table.name].items()
                    if row["final"]
                    or list(place[2 : len(table.key)]) != key
                    or not (start <= place[0] and place[1] <= end)
                    or place[:2] == (start, end)
                }
        self.changed()

    def roll_back(self, url: str, tables: Mapping[SqlTable, Known], fence: Fence) -> None:
        """One transaction that takes rows out, row by row, as the documentation says it."""
        self._guard(tables, fence)
        for table, known in tables.items():

            def stays(row: Mapping[str, Any], known: Known = known) -> bool:
                if known.position:
                    return bool(row[known.position] < known.reached.get(row["source"], -1))
                end = int(row["window_end"].timestamp() * 1e6)
                closed = known.watermark - known.lateness
                return bool(end <= closed if row["final"] else closed < end <= known.watermark)

            self.tables[table.name] = {key: row for key, row in self.tables[table.name].items() if stays(row)}
        self.changed()

    def expire(self, url: str, tables: Mapping[SqlTable, Known], fence: Fence) -> None:
        """One transaction that takes out what has been there for long; the manifest has given it up before."""
        self._guard(tables, fence)
        for table, known in tables.items():
            mark = self.manifest.expired.get(table.name) if self.manifest is not None else None
            if mark is None or not _is_given_up(known, mark):
                raise Wrong(f"{table.name}: rows go that the manifest has not given up")

            def goes(row: Mapping[str, Any], known: Known = known) -> bool:
                if known.position:
                    return bool(row[known.position] < known.reached.get(row["source"], -1))
                end = int(row["window_end"].timestamp() * 1e6)
                return bool(row["final"] and end <= known.watermark - known.lateness)

            self.tables[table.name] = {key: row for key, row in self.tables[table.name].items() if not goes(row)}
        self.changed()

    def _guard(self, tables: Iterable[SqlTable], fence: Fence) -> None:
        for table in tables:
            if fence.takes:
                if self.fences and self.writers.get(table.name, ("", 0, 0))[1] > fence.launch:
                    raise TakenOver("another launch has taken the database")
                self.writers[table.name] = (fence.owner, fence.launch, fence.attempt or 0)
            elif self.fences:
                owner, launch, attempt = self.writers[table.name]
                if (owner, launch) != (fence.owner, fence.launch) or (fence.attempt or attempt) < attempt:
                    raise TakenOver("another writes the database")
                self.writers[table.name] = (owner, launch, max(fence.attempt or 0, attempt))

    # Folders of files, in place of `transforms.storage.parquet.growing`.

    def append(self, path: str, table: Table, batches: Iterable[pa.RecordBatch], tick: int, attempt: int) -> list[str]:
        return self._put(path, f"part-{tick:012d}-{attempt}.parquet", tick, batches)

    def put_tail(self, path: str, table: Table, rows: pa.RecordBatch, tick: int, attempt: int) -> list[str]:
        return self._put(path, f"tail-{tick:012d}-{attempt}.parquet", tick, [rows])

    def _put(self, path: str, name: str, tick: int, batches: Iterable[pa.RecordBatch]) -> list[str]:
        rows = [(tick, batch) for batch in batches if batch.num_rows]
        if not rows:
            return []
        self.files[path][name] = rows
        self.changed()
        return [name]

    def is_tail(self, name: str) -> bool:
        return name.startswith("tail")

    def rewound(self, path: str, files: Sequence[str], tick: int, attempt: int) -> list[str]:
        names = []
        for name in files:
            left = [entry for entry in self._batches(path, name) if entry[0] <= tick]
            if len(left) == len(self._batches(path, name)):
                names.append(name)
            elif left:
                names.append(f"pack-{max(each for each, _ in left):012d}-{attempt}.parquet")
                self.files[path][names[-1]] = left
                self.changed()
        return names

    def without(self, path: str, files: Sequence[str], through: int, tick: int, attempt: int) -> list[str]:
        names = []
        for name in files:
            left = [entry for entry in self._batches(path, name) if entry[0] > through]
            if len(left) == len(self._batches(path, name)):
                names.append(name)
            elif left:
                names.append(f"pack-{max(each for each, _ in left):012d}-{attempt}-{tick}.parquet")
                self.files[path][names[-1]] = left
                self.changed()
        return names

    def _batches(self, path: str, name: str) -> Sequence[tuple[int, pa.RecordBatch]]:
        if name not in self.files[path]:  # another has taken it out since this process read the manifest
            raise TableLost(f"{path}/{name} is gone")
        return self.files[path][name]

    def packed(self, path: str, files: Sequence[str], tick: int, attempt: int) -> list[str]:
        settled = [name for name in files if not self.is_tail(name)]
        if len(settled) <= 3:
            return list(files)
        joined = f"pack-{tick:012d}-{attempt}.parquet"
        self.files[path][joined] = [entry for name in settled for entry in self._batches(path, name)]
        self.changed()
        return [joined, *filter(self.is_tail, files)]

    def Showing(self, job: str, owner: str, attempt: int, check: Callable[[], None]) -> "_Showing":
        return _Showing(self, attempt, check)

    def sinks(self, job: Job) -> list[Sink]:
        """The sinks of a job, storing here."""
        return [self._in_place_of(sink) for sink in job.sinks]

    def _in_place_of(self, sink: Sink) -> Sink:
        kind = {ParquetSink: Folders, SqlSink: Database}[type(sink)]
        return kind(**{each.name: getattr(sink, each.name) for each in fields(sink)}, world=self)

    def rows_of(self, sink: Sink, table: str) -> list[dict[str, Any]]:
        """What a reader of a table finds in a sink."""
        if isinstance(sink, ParquetSink):
            path = sink.folder_of[table]
            return [
                row for name in self.shown[path] for _, batch in self.files[path][name] for row in batch.to_pylist()
            ]
        return list(self.tables[table].values())

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Sees everything that is changed meanwhile."""
        yield


@dataclass(frozen=True, kw_only=True)
class Folders(ParquetSink):
    """Parquet folders in a world."""

    world: World

    @property
    def growing(self) -> World:
        return self.world


@dataclass(frozen=True, kw_only=True)
class Database(SqlSink):
    """A database in a world."""

    world: World

    @property
    def database(self) -> World:
        return self.world


def _is_given_up(known: Known, mark: Mark) -> bool:
    if known.position:
        return all(first <= mark.reached.get(source, -1) for source, first in known.reached.items())
    return bool(known.watermark <= mark.watermark)


@dataclass(frozen=True)
class _Showing:
    world: World
    attempt: int
    check: Callable[[], None]

    def show(self, path: str, files: Sequence[str]) -> None:
        world = self.world
        there = dict(world.files.setdefault(path, {}))
        self.check()
        # What others have made to take the folder's place goes, and what they wrote beside it.
        world.beside[path] = {self.attempt}
        if any(name not in there for name in files):
            raise TableLost(f"{path}: a live file is gone")
        world.changed()
        self.check()
        world.changed()
        if self.attempt not in world.beside[path]:
            raise TakenOver(f"{path}: what was to take its place is gone")
        world.shown[path] = list(files)
        world.files[path] = {name: rows for name, rows in world.files[path].items() if name in files}
        world.changed()


@dataclass(frozen=True)
class Checkpoints(CheckpointFolder):
    """Checkpoints in a world; which of them are kept, and who may write, is the real folder's decision."""

    world: World = field(default_factory=World)

    def root(self) -> Manifest | None:
        return self.world.manifest

    def commit(self, before: Manifest, after: Manifest) -> Manifest:
        number = self.world.manifest.number if self.world.manifest is not None else 0
        if before.number != number:
            raise self._taken_over()
        self.world.manifest = replace(after, number=number + 1)
        self.world.changed()
        named = {entry.file for entry in (*before.checkpoints, *after.checkpoints)}
        self.world.snapshots = {
            name: kept
            for name, kept in self.world.snapshots.items()
            if name in named or int(name.partition("-")[2]) > after.attempt
        }
        self.world.changed()
        return replace(after, number=number + 1)

    def claim(self, launch: str, *, anew: bool = False) -> Manifest:
        before = self.root() or Manifest.new(self.identity)
        return self.commit(before, replace(before, launch=launch, attempt=before.attempt + 1))

    def load(self, checkpoint: Checkpoint) -> list[pa.RecordBatch]:
        if checkpoint.file not in self.world.snapshots:
            raise CheckpointDamaged(f"{checkpoint.file} is gone")
        return list(self.world.snapshots[checkpoint.file])

    def put(self, checkpoint: Checkpoint, snapshots: Iterable[pa.RecordBatch], attempt: int) -> Checkpoint:
        file = f"{checkpoint.name:012d}-{attempt}"
        self.world.snapshots[file] = list(snapshots)
        if (witness := self.world.witnesses.get(threading.get_ident())) is not None:
            self.world.published[file] = witness()
        self.world.changed()
        return replace(checkpoint, file=file)

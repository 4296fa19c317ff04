"""What survives a kill, in memory: a database, folders of files and checkpoints, with a step at each change.

The order of changes is that of the real writers: a file, then the manifest that names it, then what is removed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pyarrow as pa

from transforms.storage import live_plan as storing
from transforms.storage.checkpoint import Checkpoint, CheckpointFolder, Manifest
from transforms.storage.staging import Table

Rows = dict[tuple[Any, ...], dict[str, Any]]


class Killed(Exception):
    """The process is gone."""


class Wrong(AssertionError):
    """What the simulator exists to find."""


@dataclass
class World:
    """Everything durable. `changed` is called after every single change, and may kill."""

    tables: dict[str, Rows] = field(default_factory=dict)
    files: dict[str, dict[str, Sequence[tuple[int, pa.RecordBatch]]]] = field(default_factory=dict)
    """Of each folder, the files by name, and in them batches with the ticks they are of."""
    manifests: dict[str, list[str]] = field(default_factory=dict)
    snapshots: dict[int, Sequence[pa.RecordBatch]] = field(default_factory=dict)
    checkpoints: tuple[Checkpoint, ...] = ()
    taken_back: bool = False
    changed: Callable[[], None] = lambda: None
    protects_final: bool = True
    upserts: bool = True

    def copy(self) -> "World":
        """The world as it is now."""
        return World(
            {name: dict(rows) for name, rows in self.tables.items()},
            {name: dict(files) for name, files in self.files.items()},
            {name: list(names) for name, names in self.manifests.items()},
            dict(self.snapshots),
            self.checkpoints,
            self.taken_back,
            protects_final=self.protects_final,
            upserts=self.upserts,
        )

    def publish(self, url: str, tables: Mapping[Any, Sequence[pa.RecordBatch]], *, replace: bool) -> None:
        """One transaction of the database."""
        for table, batches in tables.items():
            rows = {} if replace else dict(self.tables[table.name])
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

    def begin(self, path: str, job: str) -> None:
        self._keep_only(path, [])

    def rewind(self, path: str, job: str, tick: int) -> None:
        names = []
        for name in self.manifests[path]:
            left = [entry for entry in self.files[path][name] if entry[0] <= tick]
            if len(left) == len(self.files[path][name]):
                names.append(name)
            elif left:
                names.append(f"pack-{max(each for each, _ in left):012d}")
                self.files[path][names[-1]] = left
                self.changed()
        if names != self.manifests[path] or names != list(self.files[path]):
            self._keep_only(path, names)

    def append(self, path: str, table: Table, batches: Iterable[pa.RecordBatch], job: str, tick: int) -> None:
        rows = [batch for batch in batches if batch.num_rows]
        if not rows:
            return
        name = f"part-{tick:012d}"
        self.files[path][name] = [(tick, batch) for batch in rows]
        self.changed()
        self.manifests[path] = [*(other for other in self.manifests[path] if other != name), name]
        self.changed()

    def put_tail(self, path: str, table: Table, rows: pa.RecordBatch, job: str, tick: int) -> None:
        for earlier in [other for other in self.manifests[path] if other.startswith("tail")]:
            self.manifests[path].remove(earlier)
            self.changed()
        if rows.num_rows:
            self.files[path][f"tail-{tick:012d}"] = [(tick, rows)]
            self.manifests[path] = [*self.manifests[path], f"tail-{tick:012d}"]
            self.changed()

    def pack(self, path: str, job: str, tick: int) -> None:
        tails = [name for name in self.manifests[path] if name.startswith("tail")]
        names = [name for name in self.manifests[path] if name not in tails]
        if len(names) > 3:
            packed = f"pack-{tick:012d}"
            self.files[path][packed] = [entry for name in names for entry in self.files[path][name]]
            self.changed()
            self._keep_only(path, [packed, *tails])

    def _keep_only(self, path: str, names: list[str]) -> None:
        self.manifests[path] = names
        self.changed()
        self.files[path] = {name: rows for name, rows in self.files.get(path, {}).items() if name in names}
        self.changed()

    def rows_in_files(self, path: str) -> list[dict[str, Any]]:
        """What a reader of a folder finds."""
        return [
            row for name in self.manifests[path] for _, batch in self.files[path][name] for row in batch.to_pylist()
        ]

    @contextmanager
    def as_sinks(self) -> Iterator[None]:
        """Lets live plans store here."""
        with mock.patch.object(storing, "parquet_log", self), mock.patch.object(storing, "_publish", self.publish):
            yield


@dataclass(frozen=True)
class Checkpoints(CheckpointFolder):
    """Checkpoints in a world; which of them are kept is the real folder's decision."""

    world: World = field(default_factory=World)

    def read(self) -> Manifest | None:
        return Manifest({}, self.world.checkpoints) if self.world.checkpoints else None

    def rewind(self, name: int) -> None:
        kept = tuple(entry for entry in self.world.checkpoints if entry.name <= name)
        if kept != self.world.checkpoints:
            self.world.taken_back = not kept
            if kept:
                self.world.checkpoints = kept
            self.world.changed()

    def load(self, checkpoint: Checkpoint) -> list[pa.RecordBatch]:
        return list(self.world.snapshots[checkpoint.name])

    def keep(self, checkpoint: Checkpoint, snapshots: Iterable[pa.RecordBatch]) -> Manifest:
        self.world.snapshots[checkpoint.name] = list(snapshots)
        self.world.changed()
        kept = [entry for entry in self.world.checkpoints if entry.name < checkpoint.name]
        self.world.checkpoints = tuple(self._wanted([*kept, checkpoint]))
        self.world.taken_back = False
        self.world.changed()
        names = {entry.name for entry in self.world.checkpoints}
        self.world.snapshots = {name: kept for name, kept in self.world.snapshots.items() if name in names}
        self.world.changed()
        return Manifest({}, self.world.checkpoints)

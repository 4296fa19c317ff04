"""Parquet folders as a sink: a folder a table, whose live files a manifest names."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from transforms.errors import SinkError, StateRefused
from transforms.location import NamedPath, folder_name, identity, resolved
from transforms.record import ledger
from transforms.specification import Spec
from transforms.storage.checkpoint.manifest import Manifest
from transforms.storage.parquet import folder as parquet
from transforms.storage.parquet import growing
from transforms.storage.parquet.adoption import files_in, has_rows_of_others, moved_from
from transforms.storage.parquet.spec import ParquetSinkSpec, ParquetTarget
from transforms.storage.sink import Fence, Files, Showing, Sink, Staged, Stored, Use
from transforms.storage.tables import LEDGER, Table


class ShowsFolders(Protocol):
    """Makes folders show their live files."""

    def show(self, path: str, files: Sequence[str]) -> None:
        """Makes a folder show exactly these files."""


class GrowingFolders(Protocol):
    """The functions of `transforms.storage.parquet.growing`, or of a stand-in for file systems."""

    def append(
        self, path: str, table: Table, batches: Iterable[pa.RecordBatch], tick: int, attempt: int
    ) -> list[str]: ...

    def put_tail(self, path: str, table: Table, rows: pa.RecordBatch, tick: int, attempt: int) -> list[str]: ...

    def is_tail(self, name: str) -> bool: ...

    def rewound(self, path: str, files: Sequence[str], tick: int, attempt: int) -> list[str]: ...

    def without(self, path: str, files: Sequence[str], through: int, tick: int, attempt: int) -> list[str]: ...

    def packed(self, path: str, files: Sequence[str], tick: int, attempt: int) -> list[str]: ...

    def Showing(  # noqa: N802  # a class of the module
        self, job: str, owner: str, attempt: int, check: Callable[[], None]
    ) -> ShowsFolders: ...


@dataclass(frozen=True, kw_only=True)
class ParquetSink(Sink):
    """Folders of Parquet files.

    Args:
        folder_of: the folder of each table.
        path: the folder that holds them; None: there is one table, in a folder that is given directly.
    """

    folder_of: Mapping[str, str]
    path: str | None = None

    kind: ClassVar[str] = "parquet"
    spec: ClassVar[type[Spec]] = ParquetSinkSpec
    journal: ClassVar[str] = "folders"

    @property
    def growing(self) -> GrowingFolders:
        """Adds files to folders."""
        return growing

    @classmethod
    def of(cls, spec: ParquetSinkSpec, job: str, tables: Mapping[str, Table]) -> "ParquetSink":
        """The sink that a job file describes."""
        path = spec.parquet.path
        return cls(
            job=job, tables=tables, folder_of={name: f"{path}/{folder_name(name)}" for name in tables}, path=path
        )

    @classmethod
    def of_one(cls, path: str, job: str, table: Table) -> "ParquetSink":
        """The sink of a single table, in a folder that is given directly."""
        return cls(job=job, tables={table.name: table}, folder_of={table.name: path})

    @classmethod
    def resolved(cls, spec: ParquetSinkSpec, folder: str) -> ParquetSinkSpec:
        return ParquetSinkSpec(parquet=ParquetTarget(path=resolved(spec.parquet.path, folder)))

    @classmethod
    def paths(cls, spec: ParquetSinkSpec) -> Iterator[NamedPath]:
        yield NamedPath(("parquet", "path"), spec.parquet.path, written=True)

    def uses(self) -> Iterator[Use]:
        if self.path is not None:
            yield Use(self.path, frozenset({identity(self.path)}))
        for table, folder in self.folder_of.items():
            yield Use(folder, frozenset({identity(folder)}), table)

    def writes_over(self, path: str) -> str | None:
        place: Hashable = identity(path.rpartition("/")[0] or "/")
        table = next((table for table, folder in self.folder_of.items() if identity(folder) == place), None)
        return f"lies in the folder of {table}, which this job writes" if table is not None else None

    def places(self) -> list[str]:
        return [self.path] if self.path is not None else list(self.folder_of.values())

    def check(self) -> None:
        for folder in sorted(self.folder_of.values()):
            parquet.check(folder, self.job)

    # A bounded run.

    def prepare(self, staged: Staged, run: str) -> list[Mapping[str, Any]]:
        done: list[parquet.Folder] = []
        try:
            for name, folder in self.folder_of.items():
                done.append(parquet.prepare(folder, self.tables[name], staged[name], run, self.job))
        except BaseException:
            parquet.discard(done)
            raise
        return [asdict(folder) for folder in done]

    @classmethod
    def finish(cls, prepared: Sequence[Mapping[str, Any]]) -> None:
        parquet.finish([parquet.Folder.from_json(entry) for entry in prepared])

    @classmethod
    def discard(cls, prepared: Sequence[Mapping[str, Any]]) -> None:
        parquet.discard([parquet.Folder.from_json(entry) for entry in prepared])

    # A live job.

    def full(self, owner: str | None) -> list[str]:
        return [folder for folder in self.folders if has_rows_of_others(folder, owner)]

    @property
    def folders(self) -> Sequence[str]:
        return list(self.folder_of.values())

    def adopted(self, manifest: Manifest, left: Files) -> Files:
        files: dict[str, Sequence[str]] = {}
        for folder in self.folders:
            if folder in manifest.files:
                files[folder] = manifest.files[folder]
                if others := [name for name in files[folder] if not parquet.is_ours(name)]:
                    raise StateRefused(
                        f"{folder} holds files of a sink of another kind ({others[0]}); give the new sink another path"
                    )
            elif (before := moved_from(folder, left)) is not None:
                files[folder] = left[before]
            else:
                files[folder] = files_in(folder, self.job, manifest)
        return files

    def checkpointed(self, files: Files, stored: Stored) -> Files:
        live: dict[str, Sequence[str]] = {}
        for name, folder in self.folder_of.items():
            table, tick, attempt = self.tables[name], stored.tick, stored.attempt
            if name in stored.expired:
                names = self.growing.without(folder, files[folder], stored.expired[name], tick, attempt)
            else:
                names = self.growing.packed(folder, files[folder], tick, attempt)
            if name == LEDGER and stored.growing is not None:
                names = [each for each in names if not self.growing.is_tail(each)]
                names += self.growing.put_tail(folder, table, stored.growing, tick, attempt)
            live[folder] = [*names, *self.growing.append(folder, table, stored.contents[name], tick, attempt)]
        return live

    def show(self, files: Files, showing: Showing) -> None:
        shows = self.growing.Showing(self.job, showing.owner, showing.attempt, showing.check)
        for folder in self.folders:
            if folder in files:  # otherwise the folder is that of a new sink, which begins with a launch
                shows.show(folder, files[folder])

    def rolled_back(self, files: Files, tick: int, attempt: int) -> Files:
        return {
            folder: self.growing.rewound(folder, files[folder], tick, attempt)
            for folder in self.folders
            if folder in files
        }

    def restored(self, rows: Mapping[str, pa.Table], stored: Stored, fence: Fence) -> Files:
        live: dict[str, Sequence[str]] = {}
        for name, found in rows.items():
            folder, table, names = self.folder_of[name], self.tables[name], list[str]()
            if name == LEDGER and stored.growing is not None:
                names = self.growing.put_tail(folder, table, stored.growing, stored.tick, stored.attempt)
                key = list(ledger.KEY)
                found = found.join(pa.table(stored.growing.select(key)), key, join_type="left anti")
                found = found.select(table.schema.names).cast(table.schema)
            batches = found.combine_chunks().to_batches()
            live[folder] = [*self.growing.append(folder, table, batches, stored.tick, stored.attempt), *names]
        return live

    def continued(self, stored: Stored | None) -> Files:
        live: dict[str, Sequence[str]] = {
            folder: parquet.read_manifest(folder)["files"] for folder in self.folder_of.values()
        }
        folder = self.folder_of.get(LEDGER)
        if stored is not None and stored.growing is not None and folder is not None:
            table, tick, attempt = self.tables[LEDGER], stored.tick, stored.attempt
            live[folder] = [
                *self.growing.append(folder, table, stored.contents[LEDGER], tick, attempt),
                *self.growing.put_tail(folder, table, stored.growing, tick, attempt),
            ]
        return live

    def sweep(self) -> None:
        for folder in self.folders:
            growing.sweep(folder, age=0.5)

    # Reading back.

    def read(self, table: str) -> pa.Table:
        return parquet.read(self.folder_of[table], self.tables[table].schema)

    def whole(self, table: str, files: Files) -> pa.Table | None:
        folder = self.folder_of[table]
        try:
            return growing.read(folder, files[folder], self.tables[table].schema)
        except SinkError:
            return None

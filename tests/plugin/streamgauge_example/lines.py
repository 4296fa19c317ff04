"""JSON lines as a sink: a folder a table, with a list of the files that count."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from transforms.errors import SinkError
from transforms.location import NamedPath, identity, resolved
from transforms.specification import Spec
from transforms.storage.checkpoint.manifest import Manifest
from transforms.storage.sink import Fence, Files, Showing, Sink, Staged, Stored, Use
from transforms.storage.staging import read_staged
from transforms.storage.tables import Table

LIST = "files.json"


class LinesTarget(Spec):
    path: str


class LinesSinkSpec(Spec):
    """Tables as JSON lines."""

    lines: LinesTarget


@dataclass(frozen=True, kw_only=True)
class LinesSink(Sink):
    path: str

    kind: ClassVar[str] = "lines"
    spec: ClassVar[type[Spec]] = LinesSinkSpec
    journal: ClassVar[str] = "lines"

    @classmethod
    def of(cls, spec: LinesSinkSpec, job: str, tables: Mapping[str, Table]) -> "LinesSink":
        return cls(job=job, tables=tables, path=spec.lines.path)

    @classmethod
    def resolved(cls, spec: LinesSinkSpec, folder: str) -> LinesSinkSpec:
        return LinesSinkSpec(lines=LinesTarget(path=resolved(spec.lines.path, folder)))

    @classmethod
    def paths(cls, spec: LinesSinkSpec) -> Iterator[NamedPath]:
        yield NamedPath(("lines", "path"), spec.lines.path, stays=True)

    def uses(self) -> Iterator[Use]:
        yield Use(self.path, frozenset({identity(self.path)}))

    def places(self) -> list[str]:
        return [self.path]

    def check(self) -> None:
        if Path(self.path).is_file():
            raise SinkError(f"{self.path} is a file, and must be a folder")

    # A bounded run.

    def prepare(self, staged: Staged, run: str) -> list[Mapping[str, Any]]:
        entries: list[Mapping[str, Any]] = []
        for name, folder in self._folders.items():
            file = f"run-{run}.jsonl"
            rows = _write(Path(folder, file), read_staged(staged[name]))
            entries.append({"folder": folder, "files": [file] if rows else []})
        return entries

    @classmethod
    def finish(cls, prepared: Sequence[Mapping[str, Any]]) -> None:
        for entry in prepared:
            _list(entry["folder"], entry["files"])

    @classmethod
    def discard(cls, prepared: Sequence[Mapping[str, Any]]) -> None:
        for entry in prepared:
            for name in entry["files"]:
                Path(entry["folder"], name).unlink(missing_ok=True)

    # A live job.

    @property
    def folders(self) -> Sequence[str]:
        return list(self._folders.values())

    def adopted(self, manifest: Manifest, left: Files) -> Files:
        return {folder: manifest.files.get(folder, []) for folder in self.folders}

    def checkpointed(self, files: Files, stored: Stored) -> Files:
        live: dict[str, Sequence[str]] = {}
        for name, folder in self._folders.items():
            rows = [*stored.contents[name]]
            if name == "ledger" and stored.growing is not None:
                raise SinkError(f"{self.path} does not take a ledger whose rows still grow")
            file = f"{stored.tick:012d}-{stored.attempt}.jsonl"
            new = [file] if _write(Path(folder, file), rows) else []
            through = stored.expired.get(name, -1)
            live[folder] = [*(name for name in files[folder] if _tick_of(name) > through), *new]
        return live

    def show(self, files: Files, showing: Showing) -> None:
        showing.check()
        for folder in self.folders:
            if folder in files:
                _list(folder, files[folder])

    def rolled_back(self, files: Files, tick: int, attempt: int) -> Files:
        return {folder: [name for name in files[folder] if _tick_of(name) <= tick] for folder in self.folders}

    def restored(self, rows: Mapping[str, pa.Table], stored: Stored, fence: Fence) -> Files:
        live = {}
        for name, found in rows.items():
            file = f"{stored.tick:012d}-{stored.attempt}-again.jsonl"
            live[self._folders[name]] = [file] if _write(Path(self._folders[name], file), found.to_batches()) else []
        return live

    def continued(self, stored: Stored | None) -> Files:
        return {folder: _listed(folder) for folder in self.folders}

    # Reading back.

    def read(self, table: str) -> pa.Table:
        return self._read(table, _listed(self._folders[table]))

    def whole(self, table: str, files: Files) -> pa.Table | None:
        try:
            return self._read(table, files[self._folders[table]])
        except FileNotFoundError:
            return None

    def _read(self, table: str, names: Sequence[str]) -> pa.Table:
        schema, folder = self.tables[table].schema, self._folders[table]
        lines = [line for name in names for line in Path(folder, name).read_text().splitlines()]
        columns: dict[str, list[Any]] = {name: [] for name in schema.names}
        for line in lines:
            for name, value in json.loads(line).items():
                columns[name].append(bytes.fromhex(value) if _is_binary(schema, name) and value is not None else value)
        return pa.table(
            [
                pa.array(columns[name], pa.int64()).cast(kind)
                if pa.types.is_timestamp(kind)
                else pa.array(columns[name], kind)
                for name, kind in zip(schema.names, schema.types, strict=True)
            ],
            schema=schema,
        )

    @property
    def _folders(self) -> dict[str, str]:
        return {name: f"{self.path}/{name}" for name in self.tables}


def _is_binary(schema: pa.Schema, name: str) -> bool:
    return bool(pa.types.is_binary(schema.field(name).type))


def _write(path: Path, batches: Iterable[pa.RecordBatch]) -> int:
    """Writes rows as lines, times as µs and bytes as digits; gives how many there are."""
    lines = []
    for batch in batches:
        times = [pa.types.is_timestamp(kind) for kind in batch.schema.types]
        columns = [
            (column.cast(pa.int64()) if is_time else column).to_pylist()
            for column, is_time in zip(batch.columns, times, strict=True)
        ]
        for row in zip(*columns, strict=True):
            shown = {
                name: value.hex() if isinstance(value, bytes) else value
                for name, value in zip(batch.schema.names, row, strict=True)
            }
            lines.append(json.dumps(shown) + "\n")
    if lines:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines))
    return len(lines)


def _tick_of(name: str) -> int:
    """The checkpoint of a file; 0: it is of a bounded run, which no checkpoint precedes."""
    return 0 if name.startswith("run-") else int(name[:12])


def _listed(folder: str) -> list[str]:
    """The files that count."""
    names: list[str] = json.loads(Path(folder, LIST).read_text()) if Path(folder, LIST).exists() else []
    return names


def _list(folder: str, files: Sequence[str]) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    if lost := [name for name in files if not Path(folder, name).exists()]:
        raise SinkError(f"{folder} has lost {lost[0]}; `rebuild` makes it again")
    Path(folder, f".{LIST}").write_text(json.dumps(list(files)))
    os.replace(Path(folder, f".{LIST}"), Path(folder, LIST))

"""Databases as a sink: rows are stored by key as soon as they are known, and a fence guards the right to write."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import pyarrow as pa

from transforms.errors import SinkError
from transforms.location import NamedPath, identity, resolved
from transforms.specification import Spec
from transforms.storage.sink import Fence, Files, Known, Sink, Staged, Stored, Use
from transforms.storage.sql import publication
from transforms.storage.sql.database import in_schema, parsed, schema_of
from transforms.storage.sql.error import shown
from transforms.storage.sql.fit import file_of, misfits, place_of, unusable, unusable_schema
from transforms.storage.sql.spec import SqlSinkSpec, SqlTarget
from transforms.storage.sql.table import SqlTable
from transforms.storage.staging import read_staged
from transforms.storage.tables import Table


class Database(Protocol):
    """The functions of `transforms.storage.sql.publication`, or of a stand-in for a database."""

    def publish(
        self, url: str, tables: Mapping[SqlTable, Iterable[pa.RecordBatch]], *, replace: bool, fence: Fence | None
    ) -> object: ...

    def retract(self, url: str, tables: Mapping[SqlTable, Sequence[pa.RecordBatch]], fence: Fence) -> None: ...

    def roll_back(self, url: str, tables: Mapping[SqlTable, Known], fence: Fence) -> None: ...

    def expire(self, url: str, tables: Mapping[SqlTable, Known], fence: Fence) -> None: ...


@dataclass(frozen=True, kw_only=True)
class SqlSink(Sink):
    """Tables of a database."""

    url: str

    kind: ClassVar[str] = "sql"
    spec: ClassVar[type[Spec]] = SqlSinkSpec
    stores_at_once: ClassVar[bool] = True
    stores_checkpoints: ClassVar[bool] = False

    @property
    def database(self) -> Database:
        """The functions that read and write."""
        return publication

    @classmethod
    def of(cls, spec: SqlSinkSpec, job: str, tables: Mapping[str, Table]) -> "SqlSink":
        """The sink that a job file describes."""
        return cls(job=job, tables=tables, url=spec.sql.url)

    @classmethod
    def resolved(cls, spec: SqlSinkSpec, folder: str) -> SqlSinkSpec:
        """The specification with an absolute path and its schema in the URL; a wrong one stays unchanged."""
        match = re.fullmatch(r"(sqlite(?:\+\w+)?:///)([^/:?][^?]*)(\?.*)?", spec.sql.url)
        url = f"{match[1]}{resolved(match[2], folder)}{match[3] or ''}" if match else spec.sql.url
        schema = spec.sql.schema_name
        if schema is not None and unusable(url) is None and unusable_schema(url, schema) is None:
            url = in_schema(url, schema)
        return SqlSinkSpec(sql=SqlTarget(url=url))

    @classmethod
    def paths(cls, spec: SqlSinkSpec) -> Iterator[NamedPath]:
        if (file := file_of(spec.sql.url)) is not None:
            yield NamedPath(("sql", "url"), file, stays=True)

    @classmethod
    def mistakes(cls, spec: SqlSinkSpec) -> Iterator[tuple[tuple[str, ...], str]]:
        if (why := unusable(spec.sql.url)) is not None:
            yield ("sql", "url"), why
        elif spec.sql.schema_name is not None and (why := unusable_schema(spec.sql.url, spec.sql.schema_name)):
            yield ("sql", "schema"), why

    def misfits(self) -> Iterator[tuple[str, str]]:
        fit: list[SqlTable] = []
        for table in self.tables.values():
            try:
                fit.append(_sql_table(table))
            except ValueError as error:
                yield table.name, f"the table {table.name} cannot be in a database: {error}"
        yield from misfits(self.url, fit)

    def uses(self) -> Iterator[Use]:
        if (where := place_of(self.url)) is not None:
            yield Use(shown(parsed(self.url)), frozenset({where}))

    def writes_over(self, path: str) -> str | None:
        file = file_of(self.url)
        is_file = file is not None and identity(file) == identity(path)
        return "is the file of a database, which this job writes" if is_file else None

    def places(self) -> list[str]:
        url = parsed(self.url)
        schema = schema_of(url)
        return [f"{shown(url)}, schema {schema}" if schema else shown(url)]

    def check(self) -> None:
        publication.check(self.url, self._of(self.tables))

    def publish(self, staged: Staged) -> None:
        rows = {table: read_staged(staged[table.name]) for table in self._of(self.tables)}
        self.database.publish(self.url, rows, replace=True, fence=None)

    # A live job.

    def full(self, owner: str | None) -> list[str]:
        return publication.full(self.url, self._of(self.tables), owner)

    @property
    def identity(self) -> str:
        """A digest of the URL, since the URL holds secrets."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:16]

    def take(self, fence: Fence, *, empty: bool) -> None:
        self.database.publish(self.url, {table: [] for table in self._of(self.tables)}, replace=empty, fence=fence)

    def store(self, contents: Mapping[str, Sequence[pa.RecordBatch]], fence: Fence) -> None:
        rows = {table: contents[table.name] for table in self._of(contents)}
        self.database.publish(self.url, rows, replace=False, fence=fence)

    def retract(self, windows: Mapping[str, Sequence[pa.RecordBatch]], fence: Fence) -> None:
        self.database.retract(self.url, {table: windows[table.name] for table in self._of(windows)}, fence)

    def expire(self, known: Mapping[str, Known], fence: Fence) -> None:
        self.database.expire(self.url, {table: known[table.name] for table in self._of(known)}, fence)

    def roll_back(self, known: Mapping[str, Known], fence: Fence) -> None:
        self.database.roll_back(self.url, {table: known[table.name] for table in self._of(known)}, fence)

    def last_closed(self, tables: Iterable[str]) -> int | None:
        return publication.last_closed(self.url, self._of(tables))

    def restored(self, rows: Mapping[str, pa.Table], stored: Stored, fence: Fence) -> Files:
        found = {table: rows[table.name].to_batches() for table in self._of(rows)}
        self.database.publish(self.url, found, replace=True, fence=fence)
        return {}

    # Reading back.

    def read(self, table: str) -> pa.Table:
        return publication.read(self.url, self._sql_tables[table])

    def whole(self, table: str, files: Files) -> pa.Table | None:
        try:
            is_there = publication.is_there(self.url, self._sql_tables[table])
            return self.read(table) if is_there else None
        except SinkError:
            return None

    @cached_property
    def _sql_tables(self) -> Mapping[str, SqlTable]:
        return {name: _sql_table(table) for name, table in self.tables.items()}

    def _of(self, names: Iterable[str]) -> list[SqlTable]:
        return [self._sql_tables[name] for name in names if name in self.tables]


def _sql_table(table: Table) -> SqlTable:
    """A table as a database has it.

    Raises:
        ValueError: if no database can hold it.
    """
    return SqlTable(name=table.name, key=table.key, schema=table.schema)

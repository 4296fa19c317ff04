"""Parquet folders: published whole, by rename, after everything was written next to them.

`prepare` copies staged files into a hidden folder next to the live ones; the journal of the publication records them;
`finish` makes them live and may be repeated: after a crash in between, the next start does so.
A manifest in each folder names the live files, so nothing else is ever removed.
"""

import json
import os
import re
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, Final

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from transforms import location
from transforms.errors import SinkError
from transforms.process import durable
from transforms.storage.error import as_sink_error, sentence
from transforms.storage.staging import Receipt
from transforms.storage.tables import Table

MANIFEST: Final = "_manifest.json"
REMOTE_SECONDS: Final = 20.0
"""How long a remote filesystem may take to answer."""
_OURS: Final = re.compile(
    r"part-\d{5}-\d{8}T\d{12}\.parquet"  # of a bounded run
    r"|(?:part|pack|tail)-(?P<tick>\d{12})(?:-\d+){0,2}\.parquet|tail\.parquet"  # of a live job
)
"""Names of our files; the files of other writers, such as Spark, have other names."""
_LOOKS: Final = 5
"""How often a folder is read again if its files vanish during the reading."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A table's files, prepared in `incoming` and about to be the live ones of `path`."""

    path: str
    incoming: str
    files: tuple[str, ...]
    job: str

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "Folder":
        """The value that a journal holds."""
        return Folder(**{**content, "files": tuple(content["files"])})


def check(path: str, job: str) -> None:
    """Raises SinkError if a table's folder cannot be written to, or holds Parquet files that are not this job's."""
    if location.is_local(path):
        return _check(path, job)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            _check(path, job)
        except BaseException as error:  # noqa: BLE001  # the waiting thread raises it again
            failures.append(error)

    thread = threading.Thread(target=work, name="check", daemon=True)
    thread.start()
    thread.join(REMOTE_SECONDS)
    if thread.is_alive():  # some filesystems retry for many minutes
        raise SinkError(f"{path} cannot be reached: no answer in {REMOTE_SECONDS:g} s")
    if failures and isinstance(failures[0], SinkError):
        raise failures[0]
    if failures:  # drivers raise their own exceptions
        raise SinkError(f"{path} cannot be reached: {sentence('', failures[0]).removeprefix(': ')}") from failures[0]
    return None


def _check(path: str, job: str) -> None:
    system, inside = fsspec.core.url_to_fs(path)
    with as_sink_error(path):
        if is_local(system):
            durable.check_folder(inside)
        try:
            system.info(inside)  # exists() of some filesystems takes any failure for absence
        except FileNotFoundError:
            return
        manifest = read_manifest(path)
        owner = manifest.get("job", job)
        if owner != job:
            raise SinkError(f"{path} belongs to the job {owner}; give this job another path")
        live = set(manifest.get("files", []))
        foreign = [name for name in _parquet_files(system, inside) if name not in live]
        # A killed publication leaves files with names of our form; the next start completes it.
        foreign = [name for name in foreign if not is_ours(name)]
        if foreign:
            raise SinkError(f"{path} holds {foreign[0]}, which Streamgauge did not write; give the job another path")


def prepare(path: str, table: Table, receipts: Sequence[Receipt], run: str, job: str) -> Folder:
    """Copies staged files next to the live ones; an empty table gets one file without rows."""
    incoming = f"{path}/.incoming-{run}"
    names = tuple(f"part-{index:05d}-{run}.parquet" for index in range(max(len(receipts), 1)))
    try:
        if not receipts:
            with writing(f"{incoming}/{names[0]}") as file:
                pq.write_table(table.schema.empty_table(), file, compression="zstd")
        for name, receipt in zip(names, receipts, strict=False):
            with (
                fsspec.open(receipt.path, "rb") as staged,
                writing(f"{incoming}/{name}") as file,
            ):
                shutil.copyfileobj(staged, file, 1 << 20)
        # Here, not when the files become live: from then on no step may need space on the disk.
        with writing(f"{incoming}/{MANIFEST}") as file:
            file.write(json.dumps({"job": job, "run": run, "files": list(names)}, indent=1).encode())
    except OSError as error:
        discard([Folder(path, incoming, names, job)])
        raise SinkError(sentence(path, error)) from error
    return Folder(path, incoming, names, job)


def discard(folders: Sequence[Folder]) -> None:
    """Removes what was prepared and will not be published."""
    for folder in folders:
        system, inside = fsspec.core.url_to_fs(folder.incoming)
        if system.exists(inside):
            system.rm(inside, recursive=True)


def finish(folders: Sequence[Folder]) -> None:
    """Makes the prepared files the live ones; safe to repeat after a crash at any point."""
    for folder in folders:
        with as_sink_error(folder.path):
            _finish(folder)


def _finish(folder: Folder) -> None:
    system, inside = fsspec.core.url_to_fs(folder.path)
    _, incoming = fsspec.core.url_to_fs(folder.incoming)
    before = set(read_manifest(folder.path).get("files", []))
    for name in folder.files:
        if system.exists(f"{incoming}/{name}"):
            rename(system, f"{incoming}/{name}", f"{inside}/{name}")
    # The manifest never names a missing file: it changes after the new files appear and before the old ones go.
    if system.exists(f"{incoming}/{MANIFEST}"):
        rename(system, f"{incoming}/{MANIFEST}", f"{inside}/{MANIFEST}")
    if is_local(system):
        durable.keep_entries(inside)
    stale = {name for name in _parquet_files(system, inside) if is_ours(name)} | before
    for name in sorted(stale - set(folder.files)):
        if system.exists(f"{inside}/{name}"):
            system.rm_file(f"{inside}/{name}")
    for leftover in system.glob(f"{_escaped(inside)}/.incoming-*"):
        system.rm(leftover, recursive=True)


def read(path: str, schema: pa.Schema | None = None) -> pa.Table:
    """The live rows of a table's folder; if there is no table, an empty one with the columns of `schema`, if given.

    Raises:
        SinkError: if a file cannot be read, is damaged, or is gone.
    """
    for _ in range(_LOOKS):
        files = read_manifest(path).get("files")
        if files is None:
            if schema is None:
                raise SinkError(f"{path} holds no table")
            return schema.empty_table()
        try:
            tables = [read_file(f"{path}/{name}") for name in files]
        except FileNotFoundError as error:  # a live job may have packed the file meanwhile
            gone = error
            continue
        except (OSError, pa.ArrowException) as error:
            raise SinkError(sentence(path, error)) from error
        if schema is None:
            return pa.concat_tables(tables, promote_options="default")
        # Rows stored before a statistic joined the job have no column for it.
        return pa.concat_tables([schema.empty_table(), *tables], promote_options="default").select(schema.names)
    raise SinkError(sentence(path, gone)) from gone


def read_file(path: str) -> pa.Table:
    """The rows of a Parquet file, whose page checksums are verified.

    Raises:
        OSError, pa.ArrowException: if it cannot be read, or is damaged.
    """
    with fsspec.open(path, "rb") as file:
        return pq.read_table(file, page_checksum_verification=True)


def rows_in(path: str) -> int:
    """How many rows the live files of a table's folder hold, not counting missing files."""
    rows = 0
    for name in read_manifest(path).get("files", []):
        with suppress(FileNotFoundError), fsspec.open(f"{path}/{name}", "rb") as file:
            rows += pq.read_metadata(file).num_rows
    return rows


def read_manifest(path: str) -> Mapping[str, Any]:
    """The manifest of a table's folder; empty where there is none.

    Raises:
        SinkError: if another program wrote the file of that name.
    """
    system, inside = fsspec.core.url_to_fs(path)
    if not system.exists(f"{inside}/{MANIFEST}"):
        return {}
    try:
        with fsspec.open(f"{path}/{MANIFEST}", "rb") as file:
            content: Mapping[str, Any] = json.load(file)
        names = [*content["files"], content["job"], content["run"]]
    except (ValueError, KeyError, TypeError):
        names = [None]
    if not all(isinstance(name, str) and "/" not in name for name in names):
        raise SinkError(f"{path} holds a {MANIFEST} that Streamgauge did not write; give the job another path")
    return content


def is_ours(name: str) -> bool:
    """Whether a name has the form that live jobs and bounded runs give.

    >>> is_ours("part-000000000004-1.parquet"), is_ours("part-00000-1f.snappy.parquet")
    (True, False)
    """
    return _OURS.fullmatch(name) is not None


def tick_of(name: str) -> int:
    """The tick in the name of a live job's file; -1: the name has none, as in a bounded run."""
    found = _OURS.fullmatch(name)
    return int(found["tick"]) if found and found["tick"] else -1


def names_in(system: Any, inside: str) -> list[str]:
    """The names in a folder; none if there is no folder."""
    if not system.isdir(inside):
        return []
    return [os.path.basename(entry.rstrip("/")) for entry in system.ls(inside, detail=False)]


def _parquet_files(system: Any, inside: str) -> list[str]:
    return [name for name in names_in(system, inside) if name.endswith(".parquet")]


def is_local(system: Any) -> bool:
    """Whether a filesystem is local."""
    return "file" in (system.protocol if isinstance(system.protocol, tuple | list) else (system.protocol,))


@contextmanager
def writing(path: str) -> Iterator[IO[bytes]]:
    """A file to write to, on any filesystem; a local one appears in one step and survives a power cut.

    Raises:
        OSError: if the filesystem refuses.
    """
    system, inside = fsspec.core.url_to_fs(path)
    with durable.replacing(inside) if is_local(system) else fsspec.open(path, "wb") as file:
        yield file


def rename(system: Any, source: str, target: str) -> None:
    """Moves a file over another, in one step where the filesystem can."""
    if is_local(system):
        os.replace(source, target)
    else:
        system.mv(source, target)


def _escaped(path: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)

"""Parquet folders that grow: a live job adds a file at each checkpoint that has rows, named by its tick.

The job's manifest says which files are live. A file is first written under a hidden name that no other attempt uses.
Once the manifest names it, `Showing` gives it its own name: what a folder shows is what counts. Small files are packed
together; a packed file says which rows belong to which tick, since an engine may be rolled back to a place of long
ago.

A folder changes in one step if the file system can exchange two folders. Elsewhere a reader that lists the folder
during a change may see a packed file together with the files that it replaces. A writer that was stopped between
writing and showing, and was overtaken, finds its hidden file gone.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import escape, glob
from typing import Any, Final

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import TableLost
from transforms.process import durable
from transforms.storage.error import as_sink_error
from transforms.storage.parquet.exchange import exchanged
from transforms.storage.parquet.folder import (
    MANIFEST,
    is_local,
    is_ours,
    names_in,
    read_file,
    read_manifest,
    rename,
    tick_of,
    writing,
)
from transforms.storage.tables import Table, fit

RUN: Final = "live"
_OLD_TAIL: Final = "tail.parquet"
_HIDDEN: Final = ".next"
_NEXT, _OLD = "next", "old"
_LISTED_SECONDS: Final = 5.0
"""Longer than listing a folder takes."""
_MOST_FILES: Final = 32
_LARGE_BYTES: Final = 64 << 20
_TICKS: Final = b"streamgauge.ticks"
"""A file's metadata: its ticks in the order of their rows, and how many rows each has."""


def hidden(name: str) -> str:
    """The hidden name of a file until it is live: no pattern for Parquet files matches it.

    >>> hidden("part-000000000004-1.parquet")
    '.part-000000000004-1.parquet.next'
    """
    return f".{name}{_HIDDEN}"


def append(path: str, table: Table, batches: Iterable[pa.RecordBatch], tick: int, attempt: int) -> list[str]:
    """Writes the rows of a tick as one hidden file; returns its name, or none if there are no rows."""
    return _put(path, table, batches, f"part-{tick:012d}-{attempt}.parquet", tick)


def put_tail(path: str, table: Table, rows: pa.RecordBatch, tick: int, attempt: int) -> list[str]:
    """Writes rows that may still grow as one hidden file: at each tick they replace the rows before."""
    return _put(path, table, [rows], f"tail-{tick:012d}-{attempt}.parquet", tick)


def is_tail(name: str) -> bool:
    """Whether a file holds rows that may still grow."""
    return name.startswith("tail")


def rewound(path: str, files: Sequence[str], tick: int, attempt: int) -> list[str]:
    """The files with the rows of ticks up to `tick` only; cut packed files are written as hidden files."""
    kept: list[str] = []
    with as_sink_error(path):
        for name in files:
            if tick_of(name) <= tick and name != _OLD_TAIL:
                kept.append(name)
            elif name.startswith("pack-"):
                kept += _cut(path, name, f"{attempt}", lambda each: each <= tick)
            elif name == _OLD_TAIL and _ticks_in(name, _read(path, name))[0][0] <= tick:
                kept.append(name)
    return kept


def without(path: str, files: Sequence[str], through: int, tick: int, attempt: int) -> list[str]:
    """The files without the rows of ticks up to `through`; the rest of a packed file is written as a hidden file."""
    kept: list[str] = []
    with as_sink_error(path):
        for name in files:
            if not is_tail(name) and tick_of(name) <= through:
                continue
            if not name.startswith("pack-") or _first_tick_in(path, name) > through:
                kept.append(name)
            else:
                kept += _cut(path, name, f"{attempt}-{tick}", lambda each: each > through)
    return kept


def packed(path: str, files: Sequence[str], tick: int, attempt: int) -> list[str]:
    """The files, in which many small ones are replaced by one that holds their rows, written as a hidden file."""
    with as_sink_error(path):
        system, inside = fsspec.core.url_to_fs(path)
        settled = [name for name in files if not is_tail(name)]
        if len(settled) <= _MOST_FILES:
            return list(files)
        small = [name for name in settled if _size(system, inside, name) < _LARGE_BYTES]
        if len(small) <= _MOST_FILES:
            return list(files)
        tables = [_read(path, name) for name in small]
        ticks = [entry for name, rows in zip(small, tables, strict=True) for entry in _ticks_in(name, rows)]
        joined = f"pack-{tick:012d}-{attempt}.parquet"
        _write(path, joined, _with_ticks(pa.concat_tables(tables, promote_options="default"), ticks))
        return [*(name for name in settled if name not in small), joined, *filter(is_tail, files)]


@dataclass(frozen=True)
class Showing:
    """Changes what folders show, for one writer.

    Args:
        job: the name of the job that owns the folders.
        owner: the state that owns them.
        attempt: identifies the writer among those of the job.
        check: raises an error if another writer has taken over; called after reading a folder, before changing it.
    """

    job: str
    owner: str
    attempt: int
    check: Callable[[], None] = lambda: None

    def show(self, path: str, files: Sequence[str]) -> None:
        """Makes a folder show exactly these files; a repetition changes nothing.

        Raises:
            TableLost: if one of them is missing.
            SinkError: if the file system refuses; a repetition completes the change.
        """
        with as_sink_error(path):
            system, inside = fsspec.core.url_to_fs(path)
            there = set(_names(system, inside))
            # Hidden files that an overtaken writer may still want to show are removed, so that it fails.
            beside = sorted(name for name in there if name.startswith(".") and _is_beside(name))
            gone = [name for name in files if name not in there and hidden(name) not in there]
            new = [name for name in files if name not in there]
            old = sorted(name for name in there if is_ours(name) and name not in files)
            self.check()
            if gone:
                raise TableLost(_is_gone(path, gone[0]))
            sweep(path)
            if len(new) + len(old) > 1 and is_local(system) and self._exchange(inside, files, new):
                return
            # The manifest never names a missing file: it changes after the new files appear and before the old ones go.
            for name in new:
                rename(system, f"{inside}/{hidden(name)}", f"{inside}/{name}")
            if new or old or read_manifest(path) != self._manifest(files):
                with writing(f"{path}/.{MANIFEST}-{self.attempt}") as file:
                    file.write(self._written(files))
                rename(system, f"{inside}/.{MANIFEST}-{self.attempt}", f"{inside}/{MANIFEST}")
            if is_local(system):
                durable.keep_entries(inside)
            for name in (*old, *beside):
                with suppress(FileNotFoundError):
                    system.rm_file(f"{inside}/{name}")

    def _exchange(self, folder: str, files: Sequence[str], new: Sequence[str]) -> bool:
        """Makes a folder show exactly `files` in one step; False: the file system cannot, and nothing has changed."""
        folder = os.path.realpath(folder)
        aside = f"{_beside(folder, _NEXT)}{self.attempt}"
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not _is_beside(entry.name)]
        stay = [
            entry for entry in entries if entry.name != MANIFEST and (entry.name in files or not is_ours(entry.name))
        ]
        if any(entry.is_dir(follow_symlinks=False) for entry in stay):
            return False
        try:
            os.mkdir(aside)
            _like(folder, aside)
            for entry in stay:
                os.link(entry.path, os.path.join(aside, entry.name), follow_symlinks=False)
            for name in new:
                os.link(os.path.join(folder, hidden(name)), os.path.join(aside, name))
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)
            return False
        with durable.replacing(os.path.join(aside, MANIFEST)) as file:
            file.write(self._written(files))
        self.check()
        if not exchanged(aside, folder):
            shutil.rmtree(aside, ignore_errors=True)
            return False
        # The old folder stays for a while, so that a reader that has begun to list it finds it whole.
        os.rename(aside, f"{_beside(folder, _OLD)}{self.attempt}-{time.monotonic_ns()}")
        durable.keep_entries(os.path.dirname(folder))
        return True

    def _manifest(self, files: Sequence[str]) -> dict[str, Any]:
        return {"job": self.job, "run": RUN, "owner": self.owner, "files": list(files)}

    def _written(self, files: Sequence[str]) -> bytes:
        return json.dumps(self._manifest(files), indent=1).encode()


def sweep(path: str, age: float = _LISTED_SECONDS) -> None:
    """Removes folders that were never exchanged with a local one, and those exchanged more than `age` seconds ago."""
    system, inside = fsspec.core.url_to_fs(path)
    if not is_local(system):
        return
    folder = os.path.realpath(inside)
    for left in glob(f"{escape(_beside(folder, _NEXT))}*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in glob(f"{escape(_beside(folder, _OLD))}*"):
        with suppress(FileNotFoundError):
            if time.time() - os.stat(left).st_ctime > age:
                shutil.rmtree(left, ignore_errors=True)


def _beside(folder: str, what: str) -> str:
    """The prefix of the folders that will be exchanged with a folder, or were."""
    return os.path.join(os.path.dirname(folder), f".{os.path.basename(folder)}.{what}-")


def _like(folder: str, other: str) -> None:
    """Gives a folder the owner and the rights of another."""
    status = os.stat(folder)
    os.chown(other, status.st_uid, status.st_gid)
    os.chmod(other, status.st_mode & 0o7777)


def _is_beside(name: str) -> bool:
    """Whether a live job has written a file under a hidden name, or has begun to."""
    if not name.startswith("."):
        return False
    plain = name[1:].removesuffix(".new")
    return is_ours(plain.removesuffix(_HIDDEN)) or plain.startswith(f"{MANIFEST}-")


def _is_gone(path: str, name: str) -> str:
    return f"{path}: {name}, which this job wrote, is gone; restore it, or make the table again with `rebuild`"


def read(path: str, files: Sequence[str], schema: pa.Schema) -> pa.Table:
    """The rows of live files.

    Raises:
        TableLost: if one is missing or damaged.
    """
    with as_sink_error(path):
        tables = [_read(path, name) for name in files]
    return pa.concat_tables([schema.empty_table(), *tables], promote_options="default").select(schema.names)


def _put(path: str, table: Table, batches: Iterable[pa.RecordBatch], name: str, tick: int) -> list[str]:
    rows = [fit(batch, table.schema) for batch in batches if batch.num_rows]
    if not rows:
        return []
    with as_sink_error(path):
        whole = pa.Table.from_batches(rows, table.schema)
        _write(path, name, _with_ticks(whole, [(tick, whole.num_rows)]))
    return [name]


def _cut(path: str, name: str, suffix: str, stays: Callable[[int], bool]) -> list[str]:
    """Writes the rows of certain ticks in a packed file as a file of their own, if there are any."""
    rows = _read(path, name)
    kept, pieces, start = [], [], 0
    for each, count in _ticks_in(name, rows):
        if stays(each):
            kept.append((each, count))
            pieces.append(rows.slice(start, count))
        start += count
    if not kept:
        return []
    left = f"pack-{max(each for each, _ in kept):012d}-{suffix}.parquet"
    _write(path, left, _with_ticks(pa.concat_tables(pieces), kept))
    return [left]


def _first_tick_in(path: str, name: str) -> int:
    """The first tick of which a packed file holds rows."""
    with _reading(path, name), fsspec.open(f"{path}/{name}", "rb") as file:
        return min(tick for tick, _ in _ticks_of(name, pq.read_schema(file), 0))


def _read(path: str, name: str) -> pa.Table:
    with _reading(path, name):
        return read_file(f"{path}/{name}")


@contextmanager
def _reading(path: str, name: str) -> Iterator[None]:
    """Names the file in the error if it is missing or damaged."""
    try:
        yield
    except FileNotFoundError:
        raise TableLost(_is_gone(path, name)) from None
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno:  # the disk refuses; errors of Arrow itself have no number
            raise
        raise TableLost(
            f"{path}/{name}: is damaged: {str(error).splitlines()[0]}; make the table again with `rebuild`"
        ) from error


def _size(system: Any, inside: str, name: str) -> int:
    try:
        return int(system.size(f"{inside}/{name}"))
    except FileNotFoundError:
        raise TableLost(_is_gone(inside, name)) from None


def _ticks_in(name: str, rows: pa.Table) -> list[tuple[int, int]]:
    """The ticks of a file in the order of its rows, and how many rows each has."""
    return _ticks_of(name, rows.schema, rows.num_rows)


def _ticks_of(name: str, schema: pa.Schema, count: int) -> list[tuple[int, int]]:
    written = (schema.metadata or {}).get(_TICKS)
    return [(tick, rows) for tick, rows in json.loads(written)] if written else [(tick_of(name), count)]


def _with_ticks(rows: pa.Table, ticks: Sequence[tuple[int, int]]) -> pa.Table:
    return rows.replace_schema_metadata({**(rows.schema.metadata or {}), _TICKS: json.dumps(ticks).encode()})


def _write(path: str, name: str, rows: pa.Table) -> None:
    with writing(f"{path}/{hidden(name)}") as file:
        pq.write_table(rows, file, compression="zstd", write_page_checksum=True)


def _names(system: Any, inside: str) -> list[str]:
    system.invalidate_cache(inside)
    return names_in(system, inside)

"""Parquet folders that grow: a live job adds a file at each checkpoint that has rows, named by its tick.

The folder's manifest names the live files, as for a bounded job. A file of a tick whose checkpoint was never
written is taken back at the next start, and comes again with the same rows. Small files are packed together
once a checkpoint stands behind them; a packed file says which of its rows are of which tick, for an engine may be
taken back to where it was long ago.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.storage.error import told_as_sink_error
from transforms.storage.parquet import MANIFEST, read_manifest, writing
from transforms.storage.staging import Table, fit

RUN: Final = "live"
_NAMED: Final = re.compile(r"(?:part|pack)-(\d{12})\.parquet")
_TAIL: Final = "tail.parquet"
"""Rows that may still grow, all of them, replaced at each tick."""
_MOST_FILES: Final = 32
_LARGE_BYTES: Final = 64 << 20
_TICKS: Final = b"streamgauge.ticks"
"""In a packed file: its ticks in the order of their rows, and how many rows each has."""


def begin(path: str, job: str) -> None:
    """Empties a table's folder: a job that goes on from nothing has no rows yet."""
    with told_as_sink_error(path):
        _keep_only(path, [], job)


def rewind(path: str, job: str, tick: int) -> None:
    """Takes back the rows of ticks after `tick`."""
    with told_as_sink_error(path):
        files = read_manifest(path).get("files", [])
        kept = [name for name in files if _tick_of(name) <= tick]
        kept += filter(None, (_cut(path, name, tick) for name in files if name not in (*kept, _TAIL)))
        if _TAIL in kept and _ticks_in(_TAIL, _read(path, _TAIL))[0][0] > tick:
            kept.remove(_TAIL)  # what it was then comes with the next tick
        _keep_only(path, kept, job)


def append(path: str, table: Table, batches: Iterable[pa.RecordBatch], job: str, tick: int) -> None:
    """Adds the rows of a tick as one file; doing it again replaces it."""
    rows = [fit(batch, table.schema) for batch in batches if batch.num_rows]
    if not rows:
        return
    name = f"part-{tick:012d}.parquet"
    with told_as_sink_error(path):
        files = read_manifest(path).get("files", [])
        _write(path, name, pa.Table.from_batches(rows, table.schema))
        _write_manifest(path, [*(other for other in files if other != name), name], job)


def put_tail(path: str, table: Table, rows: pa.RecordBatch, job: str, tick: int) -> None:
    """Replaces the rows that may still grow."""
    with told_as_sink_error(path):
        files = [name for name in read_manifest(path).get("files", []) if name != _TAIL]
        if rows.num_rows:
            fitted = pa.Table.from_batches([fit(rows, table.schema)], table.schema)
            _write(path, _TAIL, _with_ticks(fitted, [(tick, rows.num_rows)]))
            files.append(_TAIL)
        _keep_only(path, files, job)


def pack(path: str, job: str, tick: int) -> None:
    """Joins the small files of a folder, all of them behind the checkpoint of `tick`, once there are many."""
    with told_as_sink_error(path):
        files: Sequence[str] = [name for name in read_manifest(path).get("files", []) if name != _TAIL]
        system, inside = fsspec.core.url_to_fs(path)
        small = [name for name in files if system.size(f"{inside}/{name}") < _LARGE_BYTES] if files else []
        if len(small) <= _MOST_FILES:
            return
        tables = [_read(path, name) for name in small]
        ticks = [entry for name, rows in zip(small, tables, strict=True) for entry in _ticks_in(name, rows)]
        packed = f"pack-{tick:012d}.parquet"
        _write(path, packed, _with_ticks(pa.concat_tables(tables, promote_options="default"), ticks))
        tail = [_TAIL] if system.exists(f"{inside}/{_TAIL}") else []
        _keep_only(path, [*(name for name in files if name not in small), packed, *tail], job)


def _cut(path: str, name: str, tick: int) -> str | None:
    """The rows of a packed file that are of ticks up to `tick`, as a file of their own; None: it has none."""
    if not name.startswith("pack-"):
        return None
    rows = _read(path, name)
    ticks = _ticks_in(name, rows)
    kept, pieces, start = [], [], 0
    for each, count in ticks:
        if each <= tick:
            kept.append((each, count))
            pieces.append(rows.slice(start, count))
        start += count
    if not kept:
        return None
    left = f"pack-{max(each for each, _ in kept):012d}.parquet"
    _write(path, left, _with_ticks(pa.concat_tables(pieces), kept))
    return left


def _read(path: str, name: str) -> pa.Table:
    with fsspec.open(f"{path}/{name}", "rb") as file:
        return pq.read_table(file)


def _ticks_in(name: str, rows: pa.Table) -> list[tuple[int, int]]:
    """Whose rows a file holds, in their order: ticks, and how many rows each has."""
    written = (rows.schema.metadata or {}).get(_TICKS)
    return [(tick, count) for tick, count in json.loads(written)] if written else [(_tick_of(name), rows.num_rows)]


def _with_ticks(rows: pa.Table, ticks: Sequence[tuple[int, int]]) -> pa.Table:
    return rows.replace_schema_metadata({**(rows.schema.metadata or {}), _TICKS: json.dumps(ticks).encode()})


def _keep_only(path: str, files: Sequence[str], job: str) -> None:
    system, inside = fsspec.core.url_to_fs(path)
    # The manifest never names a file that is not there: it changes before the old ones go.
    _write_manifest(path, files, job)
    before = system.ls(inside, detail=False) if system.isdir(inside) else []
    for name in (entry.rstrip("/").rsplit("/", 1)[-1] for entry in before):
        written = name.removesuffix(".new")  # and perhaps half only
        is_ours = _NAMED.fullmatch(written) or written == _TAIL or re.fullmatch(r"part-.*\.parquet", written)
        if name not in files and is_ours:
            system.rm_file(f"{inside}/{name}")


def _write(path: str, name: str, rows: pa.Table) -> None:
    with writing(f"{path}/{name}") as file:
        pq.write_table(rows, file, compression="zstd")


def _write_manifest(path: str, files: Sequence[str], job: str) -> None:
    content: Mapping[str, object] = {"job": job, "run": RUN, "files": list(files)}
    with writing(f"{path}/{MANIFEST}") as file:
        file.write(json.dumps(content, indent=1).encode())


def _tick_of(name: str) -> int:
    found = _NAMED.fullmatch(name)
    return int(found[1]) if found else -1

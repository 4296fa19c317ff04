"""Staging: tables are written aside first, so that they are published whole or not at all.

Each bundle writes its rows of a table to one Parquet file under the run's staging folder and passes on a receipt.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.storage.error import as_sink_error
from transforms.storage.tables import Table, fit

_ROW_GROUP_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Receipt:
    """A staged file: its table, its path, and how many rows it holds."""

    table: str
    path: str
    rows: int


class StagedFile:
    """A Parquet file that is written one row group at a time: rows wait until they fill a group."""

    def __init__(self, table: Table, folder: str):
        self._table = table
        # Workers stage in parallel without knowledge of each other; publication gives the files their names.
        self._path = f"{folder}/{uuid.uuid4().hex}.parquet"
        self._waiting: list[pa.RecordBatch] = []
        self._bytes = self._rows = 0
        with as_sink_error(folder):
            self._file = fsspec.open(self._path, "wb", auto_mkdir=True).open()
            self._writer = pq.ParquetWriter(self._file, table.schema, compression="zstd")

    def add(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(fit(batch, self._table.schema))
        self._bytes += batch.nbytes
        self._rows += batch.num_rows
        if self._bytes >= _ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> Receipt:
        self._flush()
        with as_sink_error(self._path):
            self._writer.close()
            self._file.close()
        return Receipt(self._table.name, self._path, self._rows)

    def _flush(self) -> None:
        with as_sink_error(self._path):
            self._writer.write_table(pa.Table.from_batches(self._waiting, self._table.schema))
        self._waiting, self._bytes = [], 0


def read_staged(receipts: Sequence[Receipt]) -> Iterator[pa.RecordBatch]:
    """The rows of staged files, one row group at a time."""
    for receipt in receipts:
        with fsspec.open(receipt.path, "rb") as file:
            yield from pq.ParquetFile(file).iter_batches()

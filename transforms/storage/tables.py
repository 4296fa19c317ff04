"""The output tables of a job: what each is called, which columns identify a row, and which every job has."""

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

LEDGER: Final = "ledger"
DEAD_LETTERS: Final = "dead_letters"
POSITIONS: Final = {DEAD_LETTERS: "position", LEDGER: "first_position"}
"""Of the tables of records, the column that holds positions in the source."""


@dataclass(frozen=True, slots=True)
class Table:
    """An output table: its name, the columns that identify a row, and its schema."""

    name: str
    key: tuple[str, ...]
    schema: pa.Schema


def fit(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch's columns under exactly `schema`, without our metadata."""
    return pa.RecordBatch.from_arrays([batch[name] for name in schema.names], schema=schema)

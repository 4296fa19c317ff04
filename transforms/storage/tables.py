"""The output tables of a job: their names, the columns that identify a row, and the tables that every job has."""

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

LEDGER: Final = "ledger"
DEAD_LETTERS: Final = "dead_letters"
POSITIONS: Final = {DEAD_LETTERS: "position", LEDGER: "first_position"}
"""For each table of records, the column that holds positions in the source."""


@dataclass(frozen=True, slots=True)
class Table:
    """An output table: its name, the columns that identify a row, and its schema."""

    name: str
    key: tuple[str, ...]
    schema: pa.Schema


def fit(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch's columns in exactly the schema `schema`, without our metadata."""
    return pa.RecordBatch.from_arrays([batch[name] for name in schema.names], schema=schema)

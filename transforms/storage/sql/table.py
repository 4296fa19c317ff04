"""A table to publish: its name, its key and the Arrow types of its columns."""

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

REGISTRY: Final = "streamgauge_tables"
"""The table that records the tables made by this package; no other may have its name."""

WRITERS: Final = "streamgauge_writers"
"""The table that records which launch may write them; no other may have its name."""

TIMESTAMP: Final = pa.timestamp("us", "UTC")
SCALARS: Final = (pa.int64(), pa.float64(), pa.bool_(), pa.string(), TIMESTAMP, pa.binary())


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlTable:
    """Name, key and columns of one table of a SQL database.

    Args:
        name: stored literally, whatever characters it holds; compared as the database compares names.
        key: the columns that identify a row. A null in one of them is a value like any other: two rows with nulls in
            the same places and equal values elsewhere are the same row.
        schema: int64, float64, bool, string, timestamp[us, UTC], binary, and list<struct<value, count: int64>>
            of these. Columns that are not nullable become NOT NULL.

    A bool column `final`, outside the key, protects rows: see `publish`.

    Raises:
        ValueError: for a name or key that no database can hold, and for other types.

    >>> SqlTable(name="by carrier", key=("carrier",), schema=pa.schema({"carrier": pa.string()})).key
    ('carrier',)
    """

    name: str
    key: tuple[str, ...]
    schema: pa.Schema

    def __post_init__(self) -> None:
        if not self.name or self.name.lower() in (REGISTRY, WRITERS):  # SQLite ignores case in names
            raise ValueError(f"name must not be empty, {REGISTRY!r} or {WRITERS!r}, is {self.name!r}")
        columns: list[str] = self.schema.names
        for identifier in (self.name, *columns):
            if not identifier or "\0" in identifier:
                raise ValueError(f"names must not be empty or hold U+0000, table {self.name!r} has {identifier!r}")
        if len(set(columns)) != len(columns):
            raise ValueError(f"columns must differ, table {self.name!r} has {columns}")
        if not self.key or len(set(self.key)) != len(self.key) or not set(self.key) <= set(columns):
            raise ValueError(f"key must name columns of {columns}, each once, is {self.key} in table {self.name!r}")
        for field in self.schema:
            if field.name in self.key and is_list(field.type):
                raise ValueError(f"a list cannot be part of a key, {field.name!r} of table {self.name!r} is one")
            if field.type not in SCALARS and not is_top_list(field.type):
                raise ValueError(
                    f"column {field.name!r} of table {self.name!r} has type {field.type}; SQL sinks hold"
                    f" {', '.join(map(str, SCALARS))} and list<struct<value, count: int64>>"
                )

    @property
    def key_places(self) -> list[int]:
        """The places of the key's columns in the schema, in the key's order."""
        return [self.schema.get_field_index(name) for name in self.key]

    @property
    def final_place(self) -> int | None:
        """The place of the column that marks final rows, if there is one."""
        place: int = self.schema.get_field_index("final")
        return place if place >= 0 and "final" not in self.key and self.schema.field(place).type == pa.bool_() else None


def is_list(type_: pa.DataType) -> bool:
    """Whether values of this type are lists, which SQL stores as JSON."""
    return bool(pa.types.is_list(type_))


def is_top_list(type_: pa.DataType) -> bool:
    """Whether this is the type of a top-k statistic, list<struct<value, count: int64>>."""
    if not is_list(type_) or not pa.types.is_struct(type_.value_type):
        return False
    item = type_.value_type
    return (
        [item.field(place).name for place in range(item.num_fields)] == ["value", "count"]
        and item.field(0).type in SCALARS
        and item.field(1).type == pa.int64()
    )

"""Table cells: any Arrow value as short text, with numbers distinguished from words."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from dataflow.report.keys import shorten, value_text

CELL_CHARACTERS = 160


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, and whether it is a number, a ranking (entries as text and count) or null."""

    text: str
    is_number: bool = False
    is_null: bool = False
    ranking: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Grid:
    """A table ready to print: column names, which columns hold numbers, cells, and the row count of the whole table."""

    columns: tuple[str, ...]
    number_columns: frozenset[str]
    rows: tuple[tuple[Cell, ...], ...]
    row_count: int


def first_rows(table: pa.Table, count: int) -> Grid:
    """Takes the first `count` rows of a table, as stored."""
    rows = table.slice(0, count).to_pylist()
    names = tuple(table.column_names)
    cells = tuple(tuple(cell(row[name]) for name in names) for row in rows)
    numbers = frozenset(name for row in cells for name, item in zip(names, row, strict=True) if item.is_number)
    return Grid(names, numbers, cells, table.num_rows)


def cell(value: object) -> Cell:
    """Writes one value; a list of (value, count) structs, as topN stores it, is a ranking.

    >>> cell(0.1 + 0.2)
    Cell(text='0.3', is_number=True, is_null=False, ranking=())
    >>> cell([{"value": "N14228", "count": 3}]).text
    'N14228 (3)'
    """
    if value is None:
        return Cell("null", is_null=True)
    if isinstance(value, bool):
        return Cell(value_text(value))
    if isinstance(value, int):
        return Cell(str(value), is_number=True)
    if isinstance(value, float):
        return Cell(f"{value:.6g}", is_number=True) if math.isfinite(value) else Cell("null", is_null=True)
    if isinstance(value, list):
        ranking = tuple(_ranked(entry) for entry in value)
        return Cell(", ".join(f"{name} ({count})" if count else name for name, count in ranking), ranking=ranking)
    return Cell(shorten(value_text(value), CELL_CHARACTERS))


def ranking_cell(value: object) -> Cell:
    """Writes one topN value; SQL sinks hold it as JSON text.

    >>> ranking_cell('[{"value": "N14228", "count": 3}]').ranking
    (('N14228', '3'),)
    """
    if isinstance(value, str):
        try:
            return cell(json.loads(value))
        except ValueError:  # a sink without lists stores it as text
            return cell(value)
    return cell(value)


def _ranked(entry: object) -> tuple[str, str]:
    parts = list(entry.values()) if isinstance(entry, Mapping) else entry
    if not isinstance(parts, list) or not parts:
        return value_text(parts), ""
    return value_text(parts[0]), ", ".join(value_text(part) for part in parts[1:])

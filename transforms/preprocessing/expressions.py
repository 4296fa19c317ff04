"""Expressions: SQL scalar expressions over the columns of a batch, evaluated by the embedded engine.

An expression may use columns, constants and deterministic scalar functions. Sub-queries, aggregates, window functions,
files, settings, clocks and randomness are refused when the job is checked; they could not be reached at run time
either, because the engine is locked down. A record on which an expression fails is isolated.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from transforms.preprocessing.result import unfit, without
from transforms.process.engine import connection, query
from transforms.record.batch import ARROW
from transforms.record.dead_letter import shown
from transforms.specification import ColumnType

_TABLE: Final = "streamgauge_rows"
_CAST: Final[Mapping[ColumnType, str]] = {
    "string": "VARCHAR",
    "int64": "BIGINT",
    "float64": "DOUBLE",
    "bool": "BOOLEAN",
    "timestamp": "TIMESTAMPTZ",
}
_NODES: Final = frozenset(
    {
        "COLUMN_REF",
        "CONSTANT",
        "FUNCTION",
        "CAST",
        "CASE",
        "COMPARISON",
        "CONJUNCTION",
        "OPERATOR",
        "BETWEEN",
        "COLLATE",
        "TYPE",
    }
)
_MACROS: Final = frozenset({"nullif", "round_even", "roundbankers", "fdiv", "fmod"})
_REACHES_OUT: Final = frozenset(
    {"getvariable", "current_setting", "getenv", "write_log", "nextval", "currval", "set_config", "version"}
    # The engine calls these consistent; the first three (age of one time) read the clock, the last its catalogue.
    | {"current_localtime", "current_localtimestamp", "age", "json_serialize_plan"}
)


class ExpressionError(ValueError):
    """An expression that is not allowed in a job."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression and its column type."""

    sql: str
    type: ColumnType


def check_expression(sql: str, columns: Mapping[str, ColumnType]) -> Expression:
    """Checks that `sql` is one scalar expression over `columns`, and finds its type.

    Raises:
        ExpressionError: says in one sentence what is wrong.
    """
    for node in _nodes_of(sql):
        kind = node["class"]
        if kind == "SUBQUERY":
            raise ExpressionError("must not have a sub-query")
        if kind == "WINDOW":
            raise ExpressionError("must not have a window function: each record is evaluated separately")
        if kind == "STAR":
            raise ExpressionError("must not have *")
        if kind not in _NODES:
            raise ExpressionError(f"must be a scalar expression, and has a {kind.lower()}")
        if kind == "COLUMN_REF":
            _check_column(node["column_names"], columns)
        if kind == "FUNCTION" and not node.get("is_operator"):
            _check_function(node["function_name"])
    empty = pa.schema([(name, ARROW[kind]) for name, kind in columns.items()]).empty_table()
    try:
        found = _describe(sql, empty)
    except duckdb.Error as error:
        raise ExpressionError(_first_line(error)) from None
    return Expression(sql, _column_type(found))


def evaluate(expression: Expression, batch: pa.RecordBatch) -> tuple[pa.Array, dict[int, str]]:
    """The value of every row, null where it fails, and the reasons of the rows that failed.

    A result that no column can hold counts as failed: NaN, an infinity, a time outside the years 2 to 9997, U+0000.
    """
    read = {name.casefold() for name in columns_of(expression.sql)}
    names = [name for name in batch.schema.names if name.casefold() in read]
    # The engine receives only the columns that it needs; at least one, which gives the number of rows.
    batch = batch.select(names or batch.schema.names[:1])
    values, failed = _evaluate(expression, batch)
    refused = unfit(values)
    why = {row: f"{_quoted(expression)} gives a value that no column can hold: {refused[row]}" for row in refused}
    why |= {row: f"{_quoted(expression)} fails{_inputs(batch, names, row)}" for row in failed}
    return without(values, refused), why


def _evaluate(expression: Expression, batch: pa.RecordBatch) -> tuple[pa.Array, list[int]]:
    """The values, null where they fail, and the rows that fail: one query if none fails, three if some do."""
    cast = f"CAST(({expression.sql}\n) AS {_CAST[expression.type]})"
    try:
        return _run(cast, expression.type, batch), []
    except duckdb.Error:
        if batch.num_rows <= 1:
            return pa.nulls(batch.num_rows, ARROW[expression.type]), list(range(batch.num_rows))
    try:
        values = _run(f"TRY({cast})", expression.type, batch)
        rows = np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))
        # A separate query: within one query, the engine would evaluate the common part outside of TRY.
        is_null = _run(f"TRY({cast} IS NULL)", "bool", batch.take(pa.array(rows)))
    except duckdb.Error:  # an error that TRY does not catch, such as a text beyond the memory
        half = batch.num_rows // 2
        left, failed = _evaluate(expression, batch.slice(0, half))
        right, more = _evaluate(expression, batch.slice(half))
        return pa.concat_arrays([left, right]), failed + [half + row for row in more]
    return values, rows[~is_null.fill_null(False).to_numpy(zero_copy_only=False)].tolist()


def _run(sql: str, kind: ColumnType, batch: pa.RecordBatch) -> pa.Array:
    return query(f"SELECT {sql} AS v FROM {_TABLE}", {_TABLE: batch})["v"].cast(ARROW[kind])


def _quoted(expression: Expression, limit: int = 60) -> str:
    line = " ".join(expression.sql.split())
    return f"`{line if len(line) <= limit else line[: limit - 1] + '…'}`"


def _inputs(batch: pa.RecordBatch, names: list[str], row: int) -> str:
    values = {name: batch[name][row].as_py() for name in names}
    written = (f"{name}={v.isoformat() if isinstance(v, datetime) else shown(v)}" for name, v in values.items())
    return f" on {', '.join(written)}" if values else ""


def _parse(sql: str) -> Any:
    if not sql.strip():
        raise ExpressionError("must be an SQL expression, is empty")
    statement = f"SELECT ({sql}\n) FROM {_TABLE}"
    text = connection().execute("SELECT json_serialize_sql($1::VARCHAR)", [statement]).fetchall()[0]
    tree = json.loads(text[0])
    if tree["error"]:
        raise ExpressionError(f"is not an SQL expression: {tree['error_message']}")
    statements = tree["statements"]
    node = statements[0]["node"] if len(statements) == 1 else {}
    plain = node.get("type") == "SELECT_NODE" and len(node["select_list"]) == 1
    table = node.get("from_table", {})
    if not plain or table.get("type") != "BASE_TABLE" or table.get("table_name") != _TABLE or node.get("where_clause"):
        raise ExpressionError("must be one SQL expression, and nothing after it")
    return node["select_list"][0]


def _nodes_of(sql: str) -> list[dict[str, Any]]:
    try:
        return list(_nodes(_parse(sql)))
    except RecursionError:
        raise ExpressionError("is nested too deeply to be read") from None


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


@cache
def _functions() -> dict[str, set[tuple[str, str | None]]]:
    rows = connection().execute("SELECT function_name, function_type, stability FROM duckdb_functions()").fetchall()
    known: dict[str, set[tuple[str, str | None]]] = {}
    for name, kind, stability in rows:
        known.setdefault(name, set()).add((kind, stability))
    return known


def _check_column(path: list[str], columns: Mapping[str, ColumnType]) -> None:
    # The parser takes names without parentheses, such as current_date, for columns; no column has such a name.
    if len(path) != 1 or path[0].casefold() not in {name.casefold() for name in columns}:
        raise ExpressionError(f"there is no column {'.'.join(path)}; there are {', '.join(columns)}")


def _check_function(name: str) -> None:
    kinds = _functions().get(name.lower())
    if kinds is None:
        raise ExpressionError(f"there is no function {name}")
    if name.lower() in _MACROS:
        return
    if {kind for kind, _ in kinds} != {"scalar"}:
        what = "an aggregate" if any(kind == "aggregate" for kind, _ in kinds) else "not a scalar function"
        raise ExpressionError(f"must use scalar functions only; {name} is {what}")
    if name.lower() in _REACHES_OUT or any(stability != "CONSISTENT" for _, stability in kinds):
        raise ExpressionError(f"must give the same value for the same record; {name} does not")


def _describe(sql: str, empty: pa.Table) -> str:
    database = connection()
    database.register(_TABLE, empty)
    try:
        return str(database.sql(f"SELECT ({sql}\n) AS v FROM {_TABLE}").types[0])
    finally:
        database.unregister(_TABLE)


def _column_type(found: str) -> ColumnType:
    if found == "BOOLEAN":
        return "bool"
    if found in ("DOUBLE", "FLOAT") or found.startswith("DECIMAL"):
        return "float64"
    if found.endswith("INT") or found in ("INTEGER", "UINTEGER"):
        return "int64"
    if found in ("VARCHAR", "UUID") or found.startswith("ENUM"):
        return "string"
    if found.startswith("TIMESTAMP") or found == "DATE":
        return "timestamp"
    if found == '"NULL"' or found == "NULL":
        raise ExpressionError("must have a type; cast NULL to one, as in NULL::DOUBLE")
    raise ExpressionError(f"gives a {found}, which is not a column type")


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()[0]
    return text.replace(f"{_TABLE}.", "")


@cache
def columns_of(sql: str) -> frozenset[str]:
    """The names that an expression uses.

    Raises:
        ExpressionError: if it is not valid SQL.
    """
    return frozenset(str(node["column_names"][-1]) for node in _nodes_of(sql) if node["class"] == "COLUMN_REF")

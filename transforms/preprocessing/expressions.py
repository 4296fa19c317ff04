"""Expressions: SQL scalar expressions over the columns of a batch, evaluated by the embedded engine.

An expression may name columns, constants and deterministic scalar functions. Sub-queries, aggregates, window
functions, files, settings, clocks and randomness are refused when the job is checked; they could not be reached
at run time either, because the engine is locked down. A record on which an expression fails is isolated.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.batch import ARROW
from transforms.engine import connection, query
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
)


class ExpressionError(ValueError):
    """An expression that cannot be part of a job."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression and the type of column that it gives."""

    sql: str
    type: ColumnType


def check_expression(sql: str, columns: Mapping[str, ColumnType]) -> Expression:
    """Checks that `sql` is one scalar expression over `columns`, and finds its type.

    Raises:
        ExpressionError: with what is wrong, in one sentence.
    """
    for node in _nodes(_parse(sql)):
        kind = node["class"]
        if kind == "SUBQUERY":
            raise ExpressionError("must not hold a sub-query")
        if kind == "WINDOW":
            raise ExpressionError("must not hold a window function: records are looked at one by one")
        if kind == "STAR":
            raise ExpressionError("must not hold *")
        if kind not in _NODES:
            raise ExpressionError(f"must be a scalar expression, and holds a {kind.lower()}")
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
    """The value of every row, null where it fails, and why it failed on which rows.

    A result that is NaN or infinite has failed: no column holds one.
    """
    values, failed = _evaluate(expression, batch, 0)
    if expression.type == "float64":
        finite = pc.is_finite(values).fill_null(True)
        if not pc.all(finite).as_py():
            for row in np.flatnonzero(~finite.to_numpy(zero_copy_only=False)).tolist():
                failed[row] = f"the result is {values[row].as_py()}"
            values = pc.if_else(finite, values, pa.scalar(None, pa.float64()))
    return values, failed


def _evaluate(expression: Expression, batch: pa.RecordBatch, first: int) -> tuple[pa.Array, dict[int, str]]:
    """Halves the batch until each failing row stands alone: k failures cost k log n queries, none cost one."""
    try:
        return _run(expression, batch), {}
    except duckdb.Error as error:
        if batch.num_rows == 1:
            return pa.nulls(1, ARROW[expression.type]), {first: _first_line(error)}
    if batch.num_rows > 64:
        return _evaluate_suspects(expression, batch, first)
    half = batch.num_rows // 2
    left, failed = _evaluate(expression, batch.slice(0, half), first)
    right, more = _evaluate(expression, batch.slice(half), first + half)
    return pa.concat_arrays([left, right]), failed | more


def _evaluate_suspects(expression: Expression, batch: pa.RecordBatch, first: int) -> tuple[pa.Array, dict[int, str]]:
    # TRY turns failures into nulls, in one query; only rows that came out null can have failed.
    values = _run(Expression(f"TRY({expression.sql})", expression.type), batch)
    rows = np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))
    failed: dict[int, str] = {}
    for start in range(0, len(rows), 64):
        some = rows[start : start + 64]
        _, found = _evaluate(expression, batch.take(pa.array(some)), 0)
        failed |= {first + int(some[index]): why for index, why in found.items()}
    return values, failed


def _run(expression: Expression, batch: pa.RecordBatch) -> pa.Array:
    sql = f"SELECT CAST(({expression.sql}) AS {_CAST[expression.type]}) AS v FROM {_TABLE}"
    return query(sql, {_TABLE: batch})["v"].cast(ARROW[expression.type])


def _parse(sql: str) -> Any:
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
    # Names without parentheses such as current_date look like columns to the parser; they are none of ours.
    if len(path) != 1 or path[0].casefold() not in {name.casefold() for name in columns}:
        raise ExpressionError(f"there is no column {'.'.join(path)}; there are {', '.join(columns)}")


def _check_function(name: str) -> None:
    kinds = _functions().get(name.lower())
    if kinds is None:
        raise ExpressionError(f"there is no function {name}")
    if name.lower() in _MACROS:
        return
    if {kind for kind, _ in kinds} != {"scalar"}:
        what = "an aggregate" if any(kind == "aggregate" for kind, _ in kinds) else "no scalar function"
        raise ExpressionError(f"must hold scalar functions only; {name} is {what}")
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
    raise ExpressionError(f"gives a {found}, which is no column type")


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()[0]
    return text.replace(f"{_TABLE}.", "")


def columns_of(sql: str) -> set[str]:
    """The names that an expression reads.

    Raises:
        ExpressionError: if it is no SQL.
    """
    return {str(node["column_names"][-1]) for node in _nodes(_parse(sql)) if node["class"] == "COLUMN_REF"}

"""Expressions: what they may hold, what they give, and the rows on which they fail."""

import re
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.preprocessing.rows import COLUMNS, batch
from transforms.preprocessing.expressions import ExpressionError, check_expression, columns_of, evaluate

LARGEST = 2**63 - 1


def value_of(sql: str, **columns: list[Any]) -> list[Any]:
    """What an expression gives for every row, where it fails on none."""
    values, failed = evaluate(check_expression(sql, COLUMNS), batch(**columns))
    assert not failed
    return values.to_pylist()


@pytest.mark.parametrize(
    "sql, kind, expected",
    [
        ("i + 1", "int64", 8),
        ("I + 1", "int64", 8),
        ("i / 2", "float64", 3.5),
        ("i // 2", "int64", 3),
        ("-i % 4", "int64", -3),
        ("i * f", "float64", 17.5),
        ("round(f, 1)", "float64", 2.5),
        ("f::DECIMAL(9, 2)", "float64", 2.5),
        ("i::HUGEINT", "int64", 7),
        ("s || '!'", "string", "Ab!"),
        ("lower(s)", "string", "ab"),
        ("s LIKE 'A%' AND NOT b", "bool", False),
        ("s SIMILAR TO '[A-Z].*'", "bool", True),
        ("i BETWEEN 1 AND 7", "bool", True),
        ("i IN (1, 7)", "bool", True),
        ("CASE WHEN i > 5 THEN 'many' ELSE 'few' END", "string", "many"),
        ("coalesce(NULL, i)", "int64", 7),
        ("nullif(i, 7)", "int64", None),
        ("greatest(i, f)", "float64", 7.0),
        ("extract(year FROM t)", "int64", 2013),
        ("date_trunc('year', t)", "timestamp", datetime(2013, 1, 1, tzinfo=timezone.utc)),
        ("t + INTERVAL 1 DAY", "timestamp", datetime(2013, 3, 1, 5, tzinfo=timezone.utc)),
        ("date_diff('day', t, TIMESTAMPTZ '2013-03-01')", "int64", 1),
        ("t::DATE", "timestamp", datetime(2013, 2, 28, tzinfo=timezone.utc)),
        ("strftime(t, '%d')", "string", "28"),
        ("md5(s)", "string", "0e4c46df226b9c0cb391311c54f28efe"),
        ("TRY_CAST(s AS INTEGER)", "int64", None),
        ("NULL::BOOLEAN", "bool", None),
        ("s = 'it''s; DROP TABLE x --'", "bool", False),
        ("i /* a comment */ + 1 -- and one more", "int64", 8),
    ],
)
def test_scalar_expressions_give_columns(sql: str, kind: str, expected: object) -> None:
    assert check_expression(sql, COLUMNS).type == kind
    moment = datetime(2013, 2, 28, 5, tzinfo=timezone.utc)
    (value,) = value_of(sql, i=[7], f=[2.5], s=["Ab"], b=[True], t=[moment])
    assert value == expected


@pytest.mark.parametrize(
    "sql, sentence",
    [
        ("", "must be an SQL expression, is empty"),
        ("  \n", "must be an SQL expression, is empty"),
        ("zz + 1", "there is no column zz; there are i, f, s, b, t"),
        ('"@position"', "there is no column @position"),
        ("streamgauge_rows.i", "there is no column streamgauge_rows.i"),
        ("rowid", "there is no column rowid"),
        ("nope(i)", "there is no function nope"),
        ("(SELECT 1)", "must not have a sub-query"),
        ("i IN (SELECT 1)", "must not have a sub-query"),
        ("EXISTS (SELECT 1)", "must not have a sub-query"),
        ("sum(i)", "must use scalar functions only; sum is an aggregate"),
        ("count(*)", "must use scalar functions only; count_star is an aggregate"),
        ("sum(i) OVER ()", "must not have a window function: each record is evaluated separately"),
        ("*", "must not have *"),
        ("COLUMNS(*)", "must not have *"),
        ("unnest([1, 2])", "must use scalar functions only; unnest is not a scalar function"),
        ("list_transform([1], lambda x: x)", "must be a scalar expression, and has a lambda"),
        ("?", "must be a scalar expression, and has a parameter"),
        ("#1", "must be a scalar expression, and has a positional_reference"),
        ("NULL", "must have a type; cast NULL to one, as in NULL::DOUBLE"),
        ("[i]", "gives a BIGINT[], which is not a column type"),
        ("t - t", "gives a INTERVAL, which is not a column type"),
        ("s::BLOB", "gives a BLOB, which is not a column type"),
    ],
)
def test_what_is_no_scalar_expression_is_refused_by_name(sql: str, sentence: str) -> None:
    with pytest.raises(ExpressionError, match=f"^{re.escape(sentence)}"):
        check_expression(sql, COLUMNS)


CLOCKS = ["now()", "NOW()", "today()", "get_current_timestamp()", "main.now()", "pg_catalog.now()", "age(t)::VARCHAR"]
LOCAL_CLOCKS = ["current_localtimestamp()", "current_localtime()::VARCHAR", "extract(year FROM age(t))", "sleep_ms(1)"]
CHANCE = ["random()", "uuid()", "gen_random_uuid()", "setseed(0.1)", "system.main.random()", "error('x')"]
STATE = ["nextval('x')", "txid_current()", "current_setting('threads')", "getvariable('x')", "write_log('x')"]
CATALOGUE = ["in_search_path('a', 'b')", "json_serialize_plan('SELECT 1')::VARCHAR"]


@pytest.mark.parametrize("sql", [*CLOCKS, *LOCAL_CLOCKS, *CHANCE, *STATE, *CATALOGUE])
def test_clocks_chance_and_settings_are_refused(sql: str) -> None:
    with pytest.raises(ExpressionError, match=r"^must give the same value for the same record"):
        check_expression(sql, COLUMNS)


WORDS = ["current_timestamp", "current_date", "localtime", "user", "current_user"]
SESSION = ["current_database()", "current_query()", "version()", "pragma_version()", "duckdb_settings()"]
FILES = ["read_text('/etc/passwd')", "read_csv('/etc/passwd')", "glob('/*')", "getenv('HOME')"]
QUERIES = ["query('SELECT 1')", "json_execute_serialized_sql('x')", "pg_sleep(1)", "main.sum(i)"]


@pytest.mark.parametrize("sql", [*WORDS, *SESSION, *FILES, *QUERIES])
def test_files_and_the_world_outside_are_refused(sql: str) -> None:
    with pytest.raises(ExpressionError, match=r"^(there is no column|there is no function|must use scalar functions)"):
        check_expression(sql, COLUMNS)


TABLE = "streamgauge_rows"
STATEMENTS = [
    "i; DROP TABLE x",
    "i; SELECT 1",
    f"i) FROM {TABLE}; SELECT (i",
    "SET threads = 4",
    ";",
    "i\n) FROM x; --",
]
OPEN_ENDS = ["i) --", "(i", "i)", "'x", "i /* x", "i AS z", "i f", ":x", "i), (f", f"i) FROM {TABLE} --"]
CLAUSES = [f"i) FROM {TABLE} WHERE (true", f"i) FROM {TABLE} UNION SELECT (i", f"1) FROM {TABLE} LIMIT (1"]
TABLES = ["i) UNION SELECT (i", f"i) FROM read_text('/etc/passwd') AS {TABLE}, LATERAL (SELECT 1"]


@pytest.mark.parametrize("sql", [*STATEMENTS, *OPEN_ENDS, *CLAUSES, *TABLES])
def test_nothing_but_one_expression_gets_through(sql: str) -> None:
    with pytest.raises(ExpressionError, match=r"^(must be one SQL expression|is not an SQL expression)"):
        check_expression(sql, COLUMNS)


@pytest.mark.parametrize("sql", ["i" + " + 1" * 5_000, "(" * 5_000 + "i" + ")" * 5_000, "NOT " * 900 + "b"])
def test_an_expression_nested_deeply_is_refused(sql: str) -> None:
    with pytest.raises(ExpressionError, match=r"deep|depth|recursion"):
        check_expression(sql, COLUMNS)


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=20).filter(lambda text: "\0" not in text))
def test_a_text_in_quotes_is_a_text_whatever_it_holds(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    quoted = text.replace("'", "''")
    assert value_of(f"'{quoted}'", i=[1]) == [text]


@pytest.mark.parametrize("name", ['a"b', "a'b", "a b", "a;b", "a)--", "é", "select", "1", "a.b", "/* x", "\\", "x\ny"])
def test_a_column_of_any_name_is_read_in_quotes(name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    expression = check_expression(f"{quoted} + 1", {name: "int64"})
    values, failed = evaluate(expression, pa.record_batch([pa.array([1, None])], [name]))
    assert (values.to_pylist(), failed) == ([2, None], {})
    assert columns_of(f"{quoted} + 1") == {name}


def test_the_names_an_expression_reads_are_found() -> None:
    assert columns_of("i + coalesce(f, length(s)) > 0 AND zz") == {"i", "f", "s", "zz"}


def test_null_goes_through_expressions_as_sql_has_it() -> None:
    assert value_of("i + 1", i=[None, 1]) == [None, 2]
    assert value_of("i > 1 OR NULL", i=[None, 1, 2]) == [None, None, True]
    assert value_of("i IS NULL", i=[None, 1]) == [True, False]
    assert value_of("s || 'x'", s=[None, ""]) == [None, "x"]


def test_integers_keep_every_digit() -> None:
    assert value_of("i", i=[2**53 + 1, -LARGEST, None]) == [2**53 + 1, -LARGEST, None]

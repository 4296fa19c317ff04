"""Rows on which an expression fails are found one by one, and their neighbours keep their values."""

import random
import time
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.preprocessing.rows import COLUMNS, batch
from transforms.preprocessing.expressions import check_expression, evaluate

LARGEST = 2**63 - 1
MOMENT = datetime(2013, 1, 1, tzinfo=timezone.utc)


def results(sql: str, **columns: list[Any]) -> tuple[list[Any], dict[int, str]]:
    values, failed = evaluate(check_expression(sql, COLUMNS), batch(**columns))
    return values.to_pylist(), failed


@pytest.mark.parametrize(
    "sql, column, bad, good, expected",
    [
        ("i + 1", "i", LARGEST, 1, 2),
        ("i * 2", "i", LARGEST, 1, 2),
        ("s::INTEGER", "s", "soon", "7", 7),
        ("s::DATE::VARCHAR", "s", "2013-02-30", "2013-02-28", "2013-02-28"),
        ("strptime(s, '%Y')", "s", "x", "2013", MOMENT),
        ("7 // i", "i", 0, 2, 3),
        ("7 % i", "i", 0, 4, 3),
        ("i::HUGEINT * i", "i", LARGEST, 3, 9),
        ("i::UBIGINT * 2", "i", LARGEST, 3, 6),
        ("i::TINYINT", "i", 128, 127, 127),
        ("1 / f", "f", 0.0, 2.0, 0.5),
        ("ln(f)", "f", 0.0, 1.0, 0.0),
        ("sqrt(f)", "f", -1.0, 4.0, 2.0),
        ("exp(f)", "f", 1000.0, 0.0, 1.0),
        ("f * 1e308", "f", 1e308, 0.0, 0.0),
        ("chr(i::INTEGER)", "i", 0, 65, "A"),
        ("s || chr(length(s)::INTEGER)", "s", "", "x", "x\1"),
        ("t + to_years(i)", "i", 9000, 0, MOMENT),
        ("regexp_matches('a', s)", "s", "(", "a", True),
        ("i > 0 AND s::INTEGER > 0", "s", "soon", "7", True),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 1000])
def test_only_the_row_that_fails_is_lost(
    sql: str, column: str, bad: object, good: object, expected: object, size: int
) -> None:
    others = {name: [value] * size for name, value in (("i", 1), ("t", MOMENT)) if name != column}
    for place in {0, size // 2, size - 1}:
        values: list[Any] = [good] * size
        values[place] = bad
        found, failed = results(sql, **{**others, column: values})
        assert failed.keys() == {place}
        assert found == [None if row == place else expected for row in range(size)]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([1, 2, None, LARGEST]), min_size=1, max_size=300))
def test_nulls_are_told_from_failures(values: list[int | None]) -> None:
    found, failed = results("i + 1", i=values)
    assert failed.keys() == {row for row, value in enumerate(values) if value == LARGEST}
    assert found == [None if value in (None, LARGEST) else value + 1 for value in values]


@pytest.mark.parametrize("sql", ["1 // 0", "'x'::INTEGER", "'infinity'::TIMESTAMP", "chr(0)", "1 / 0"])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_an_expression_that_fails_whatever_the_row_fails_on_every_row(sql: str, size: int) -> None:
    found, failed = results(sql, i=[1] * size)
    assert failed.keys() == set(range(size))
    assert found == [None] * size
    values, none = evaluate(check_expression(sql, COLUMNS), batch(i=[1]).slice(0, 0))
    assert (len(values), none) == (0, {})


@pytest.mark.parametrize("sql", ["hash(s)", "f::BIGINT", "i::DOUBLE::FLOAT"])
def test_failures_do_not_depend_on_the_batch(sql: str) -> None:
    rng = random.Random(3)
    columns: dict[str, list[Any]] = {
        "s": [rng.choice(["a", "b", None, "", str(rng.random())]) for _ in range(300)],
        "f": [rng.choice([1.5, None, 1e300, -1.0]) for _ in range(300)],
        "i": [rng.choice([1, None, LARGEST]) for _ in range(300)],
    }
    whole, failed = results(sql, **columns)
    for size in (1, 64, 100):
        pieces: list[Any] = []
        lost: dict[int, str] = {}
        for start in range(0, 300, size):
            part = {name: values[start : start + size] for name, values in columns.items()}
            found, why = results(sql, **part)
            pieces += found
            lost |= {start + row: text for row, text in why.items()}
        assert pieces == whole
        assert lost == failed


def test_the_detail_shows_the_expression_and_the_values_it_read() -> None:
    _, failed = results("s::INTEGER +\n   i", s=["x" * 100, "1"], i=[1, LARGEST], f=[9.0, 9.0])
    assert failed == {
        0: f"`s::INTEGER + i` fails on i=1, s='{'x' * 58}…",
        1: f"`s::INTEGER + i` fails on i={LARGEST}, s='1'",
    }
    assert results("1 // 0", i=[1])[1] == {0: "`1 // 0` fails"}
    assert results("1 / f", f=[0.0])[1] == {0: "`1 / f` gives a value that no column can hold: inf is not finite"}
    assert "2013-01-01T00:00:00+00:00" in results("t::VARCHAR::INTEGER", t=[MOMENT])[1][0]


def test_a_long_expression_is_cut_in_the_detail() -> None:
    _, failed = results("s::INTEGER" + " + 1" * 50, s=["x"])
    assert len(failed[0]) < 100


def test_many_failures_cost_no_query_each() -> None:
    rows = 50_000
    values = [str(row) if row % 10 else "x" for row in range(rows)]
    sparse = batch(s=values)
    began = time.process_time()
    _, failed = evaluate(check_expression("s::INTEGER", COLUMNS), sparse)
    assert len(failed) == rows // 10
    assert time.process_time() - began < 3

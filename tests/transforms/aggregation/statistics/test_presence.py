"""Presence against counting in Python."""

from typing import Any

import pytest

from tests.columns import figures
from transforms.specification import ColumnType


@pytest.mark.parametrize("batch_rows", [None, 1, 2])
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("string", ["", None, "a", "null", None]),
        ("int64", [0, None, -1, 2**63 - 1, None]),
        ("float64", [0.0, None, float("inf"), float("nan"), -0.0]),
        ("bool", [False, None, True, False, None]),
        ("timestamp", [0, None, -1, 1, None]),
    ],
)
def test_values_and_nulls_are_counted_for_every_type(kind: ColumnType, values: list[Any], batch_rows: int) -> None:
    assert figures("presence", kind, values, "count", "missing", batch_rows=batch_rows)[None] == (3, 2)


def test_each_key_has_its_own_count() -> None:
    keys = ["a", None, "a", "", None]
    got = figures("presence", "int64", [1, None, None, 4, None], "count", "missing", keys=keys)
    assert got == {"a": (1, 1), None: (0, 2), "": (1, 0)}


@pytest.mark.parametrize("values", [[None], [None] * 50])
def test_nulls_alone_are_missing(values: list[None]) -> None:
    assert figures("presence", "string", values, "count", "missing")[None] == (0, len(values))

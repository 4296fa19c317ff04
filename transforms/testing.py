"""Helpers for tests of pipelines that use these transforms: batches from literals, and tables compared."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa

from transforms.record.rows import Row
from transforms.record.rows import batch_of as batch_of


def assert_table(
    actual: pa.Table | pa.RecordBatch | Sequence[pa.RecordBatch],
    expected: Iterable[Row],
    *,
    relative: float = 1e-12,
) -> None:
    """Asserts that a table holds the expected rows, in any order; a row names only the columns that matter.

    Null is equal to null alone.

    Args:
        actual: a table, or the batches that make it.
        expected: the rows, as dictionaries from column to value; times are aware datetimes.
        relative: by how much floats may differ, as a share of the larger one.

    Raises:
        AssertionError: naming the rows that are missing and those that are too many.

    >>> assert_table(pa.table({"k": ["a", "b"], "n": [1, 2]}), [{"k": "b", "n": 2}, {"k": "a"}])
    """
    batches = [actual] if isinstance(actual, pa.Table | pa.RecordBatch) else actual
    found = [row for batch in batches for row in batch.to_pylist()]
    wanted = [dict(row) for row in expected]
    left = list(found)
    missing = []
    for row in wanted:
        match = next((i for i, other in enumerate(left) if _matches(row, other, relative)), None)
        if match is None:
            missing.append(row)
        else:
            left.pop(match)
    if missing or left:
        raise AssertionError(f"missing rows: {missing}\nrows too many: {left}")


def holds(expected: Iterable[Row], *, relative: float = 1e-12) -> Callable[[Sequence[pa.RecordBatch]], None]:
    """`assert_table` for Beam's `assert_that`: the batches of a PCollection, taken together, hold these rows.

    Args:
        expected: as of `assert_table`.
        relative: as of `assert_table`.

    Returns:
        A matcher. `assert_that` calls it once for a bounded collection; for an unbounded one it may call it early.

    >>> from apache_beam.testing.util import assert_that
    >>> import apache_beam as beam
    >>> with beam.Pipeline() as pipeline:
    ...     batches = pipeline | beam.Create([pa.record_batch({"n": [1]}), pa.record_batch({"n": [2]})])
    ...     _ = assert_that(batches, holds([{"n": 2}, {"n": 1}]))
    """
    rows = [dict(row) for row in expected]
    return lambda batches: assert_table(batches, rows, relative=relative)


def _matches(wanted: Row, found: Row, relative: float) -> bool:
    return all(name in found and _equal(value, found[name], relative) for name, value in wanted.items())


def _equal(wanted: Any, found: Any, relative: float) -> bool:
    if isinstance(wanted, float) and isinstance(found, float):
        return math.isclose(wanted, found, rel_tol=relative, abs_tol=0.0)
    return bool(wanted == found)

"""The helpers for other people's tests: batches from literals, and tables compared."""

from datetime import datetime, timezone

import pyarrow as pa
import pytest

from transforms.record.batch import EVENT_TIME, POSITION, origin_of
from transforms.testing import assert_table, batch_of, holds

SCHEMA = pa.schema([("at", pa.timestamp("us", "UTC")), ("x", pa.float64())])
NOON = datetime(2013, 1, 1, 12, tzinfo=timezone.utc)
TABLE = pa.table({"k": ["a", "b", None], "x": [1.0, None, 3.0], "n": [1, 2, 3]})


def test_literal_rows_become_a_batch_with_positions_and_event_times() -> None:
    batch = batch_of([{"at": NOON, "x": 1.5}, {"at": NOON, "x": None}], event_time="at", schema=SCHEMA)
    assert batch["x"].to_pylist() == [1.5, None]
    assert batch[POSITION].to_pylist() == [0, 1]
    assert batch[EVENT_TIME].to_pylist() == [NOON, NOON]
    assert origin_of(batch).source == "literal"
    assert batch_of([], event_time="at", schema=SCHEMA).num_rows == 0


def test_a_table_holds_its_rows_in_any_order_and_any_form() -> None:
    rows: list[dict[str, object]] = [{"k": None, "x": 3.0 * (1 + 1e-13)}, {"k": "b", "x": None}, {"n": 1}]
    for form in (TABLE, TABLE.to_batches(), TABLE.to_batches()[0]):
        assert_table(form, rows)
    holds(rows)(TABLE.to_batches())
    assert_table(TABLE.slice(0, 0), [])


@pytest.mark.parametrize(
    "rows",
    [
        [{"n": 1}, {"n": 2}],  # a row too many
        [{"n": 1}, {"n": 2}, {"n": 3}, {"n": 3}],  # a row that is missing
        [{"n": 1, "x": 1.0 + 1e-9}, {"n": 2}, {"n": 3}],  # too far
        [{"n": 1, "y": 1}, {"n": 2}, {"n": 3}],  # no such column
        [{"n": 1, "x": None}, {"n": 2}, {"n": 3}],  # null is not a value
        [{"n": 1}, {"n": 2, "x": 0.0}, {"n": 3}],  # nor a value null
    ],
)
def test_any_other_rows_are_named(rows: list[dict[str, object]]) -> None:
    with pytest.raises(AssertionError, match=r"missing rows: .*\nrows too many: "):
        assert_table(TABLE, rows)

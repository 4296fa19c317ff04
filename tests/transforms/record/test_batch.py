"""Batches: their origin travels with them, and joining keeps their schema."""

import pyarrow as pa
import pytest

from transforms.record.batch import (
    ARROW,
    Origin,
    empty,
    one_batch,
    origin_of,
    set_column,
    with_origin,
)

SCHEMA = pa.schema([("at", pa.timestamp("us", "UTC")), ("x", pa.float64())])


@pytest.mark.parametrize("source", ["", "a.csv", "ä/b c.jsonl.gz", 'quoted "name"\n', "topic/3"])
def test_a_batch_knows_where_it_comes_from(source: str) -> None:
    batch = pa.record_batch({"x": pa.array([1, 2])})
    origin = Origin(source, 3, 2**62)
    assert origin_of(with_origin(batch, origin)) == origin
    assert origin_of(with_origin(batch, origin).slice(1)) == origin
    assert origin_of(batch) == Origin()


def test_a_column_is_replaced_in_its_place_or_appended_and_the_origin_stays() -> None:
    batch = with_origin(pa.record_batch({"x": pa.array([1, 2]), "y": pa.array(["a", "b"])}), Origin("s", 1, 2))
    replaced = set_column(batch, "x", pa.array([0.5, None]))
    assert replaced.to_pydict() == {"x": [0.5, None], "y": ["a", "b"]}
    appended = set_column(batch, "z", pa.array([True, False]))
    assert appended.schema.names == ["x", "y", "z"]
    assert origin_of(replaced) == origin_of(appended) == Origin("s", 1, 2)
    assert batch.to_pydict() == {"x": [1, 2], "y": ["a", "b"]}


def test_batches_are_joined_into_one() -> None:
    batch = pa.record_batch({"x": pa.array([1, 2])})
    assert one_batch([batch]) is batch
    assert one_batch([batch, batch.slice(1)]).to_pydict() == {"x": [1, 2, 2]}
    assert one_batch(pa.Table.from_batches([batch, batch])).to_pydict() == {"x": [1, 2, 1, 2]}
    assert one_batch(pa.table({"x": pa.array([], pa.int64())})).to_pydict() == {"x": []}


def test_no_batch_at_all_needs_a_schema() -> None:
    assert one_batch([], SCHEMA) == empty(SCHEMA)
    with pytest.raises(ValueError, match="schema must be given where there may be no batch"):
        one_batch([])


def test_an_empty_batch_has_the_schema_and_no_rows() -> None:
    schema = pa.schema(
        [("t", pa.list_(pa.struct([("value", pa.string())]))), ("v", pa.list_(pa.float64(), 3)), *ARROW.items()]
    )
    assert (empty(schema).schema, empty(schema).num_rows) == (schema, 0)

"""The coder: a batch comes back as it went, and only its own rows are written."""

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam import coders

from transforms.record.batch import Origin, origin_of, with_origin
from transforms.record.coder import RecordBatchCoder

BATCHES = {
    "plain": pa.record_batch({"x": pa.array([1, None, -(2**63)]), "y": pa.array(["", None, "𝄞"])}),
    "no rows": pa.record_batch({"x": pa.array([], pa.float64())}),
    "no columns": pa.record_batch([], schema=pa.schema([])),
    "nested": pa.record_batch(
        {
            "l": pa.array([[1, 2], None, []], pa.list_(pa.int32())),
            "v": pa.array([[0.5, 1.0], [2.0, 3.0], [4.0, 5.0]], pa.list_(pa.float64(), 2)),
            "s": pa.array([[{"value": "a", "count": 1}], None, []]),
        }
    ),
    "a slice": pa.record_batch({"x": pa.array(range(1000)), "y": pa.array(["ä"] * 1000)}).slice(500, 3),
    "instants": pa.record_batch(
        {"t": pa.array([0, -1, None], pa.timestamp("us", "UTC")), "b": pa.array([True, None, False])}
    ),
}


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES.keys())
def test_a_batch_comes_back_as_it_went(batch: pa.RecordBatch) -> None:
    decoded = RecordBatchCoder().decode(RecordBatchCoder().encode(batch))
    assert decoded.equals(batch, check_metadata=True)
    assert decoded.num_rows == batch.num_rows
    decoded.validate(full=True)


def test_the_origin_travels_with_the_batch() -> None:
    batch = with_origin(BATCHES["plain"], Origin("ä.csv", 3, 7))
    assert origin_of(RecordBatchCoder().decode(RecordBatchCoder().encode(batch))) == Origin("ä.csv", 3, 7)


def test_ten_rows_of_a_million_are_written_as_ten() -> None:
    rows = pa.record_batch({"x": pa.array(range(1_000_000)), "t": pa.array(["x" * 20] * 1_000_000)})
    assert len(RecordBatchCoder().encode(rows.slice(777_777, 10))) < 2_000


def test_beam_takes_this_coder_for_batches_and_never_as_a_key() -> None:
    coder = coders.registry.get_coder(pa.RecordBatch)
    assert isinstance(coder, RecordBatchCoder)
    assert coder.to_type_hint() is pa.RecordBatch
    assert not coder.is_deterministic()
    with pytest.raises(ValueError, match="key coder"):
        coders.TupleCoder([coder, coder]).as_deterministic_coder("batches", "not as a key coder")
    pair = coders.registry.get_coder(beam.typehints.Tuple[int, pa.RecordBatch])
    assert pair.decode(pair.encode((3, BATCHES["plain"]))) == (3, BATCHES["plain"])

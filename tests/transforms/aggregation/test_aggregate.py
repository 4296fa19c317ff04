"""The transform on a runner gives what the kernels give, however the rows come in batches."""

from typing import Any

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing import test_pipeline as testing
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.typehints import TypeCheckError

from tests.aggregations import DAY, Aggregation, aggregation, by_key, plain_rows
from transforms.aggregation import aggregate
from transforms.aggregation.aggregate import AggregateBounded, MergeFn, SummarizeFn

STATISTICS = ["count", "missing", "mean", "std", "sum", "min", "max", "first", "last", "p50", "distinct", "top2"]
MODELS = {"m": {"target": "y", "features": ["x"], "memory": "all", "forgetting_factor": 0.9}}


def whole() -> Aggregation:
    return aggregation(
        {"k": "string", "x": "float64", "y": "float64"},
        key=["k"],
        window={"size": "1d", "every": "6h"},
        statistics={"x": STATISTICS, "k": ["top1"]},
        models=MODELS,
    )


def some_rows(size: int = 600) -> pd.DataFrame:
    chance = np.random.default_rng(21)
    frame = pd.DataFrame({"at": chance.integers(-2 * DAY, 2 * DAY, size), "x": chance.normal(1e8, 1, size)})
    frame["k"] = chance.choice(np.array(["a", "b", "ü", "", None], object), size)
    frame["y"] = frame["x"] - 1e8 + chance.normal(0, 1, size)
    frame["x"] = frame["x"].mask(chance.random(size) < 0.1)
    return frame


def batches_of(of: Aggregation, frame: pd.DataFrame, rows: int) -> list[pa.RecordBatch]:
    return [of.batch(frame.iloc[start : start + rows]) for start in range(0, len(frame), rows)]


def assert_same_rows(got: list[dict[str, Any]], want: list[dict[str, Any]], *key: str) -> None:
    ours, theirs = by_key(got, *key), by_key(want, *key)
    assert ours.keys() == theirs.keys()
    for name, row in theirs.items():
        for column, value in row.items():
            near = pytest.approx(value, rel=1e-9, abs=1e-9) if isinstance(value, float) else value
            assert ours[name][column] == near, f"{name} {column}"


def is_rows_of(want: list[dict[str, Any]], *key: str) -> Any:
    def check(tables: list[pa.RecordBatch]) -> None:
        assert_same_rows([row for table in tables for row in plain_rows(table)], want, *key)

    return check


@pytest.mark.parametrize(("rows", "shards", "threads"), [(600, 1, 1), (7, 16, 1), (150, 1, 2), (50, 3, 3)])
def test_the_piped_answer_is_the_direct_one_in_any_batching(rows: int, shards: int, threads: int) -> None:
    of, frame = whole(), some_rows()
    batches = batches_of(of, frame, rows)
    want = of.tables(frame)
    with testing.TestPipeline(runner=FnApiRunner()) as pipeline:
        created = pipeline | beam.Create(batches)
        assert_that(created | beam.combiners.Count.Globally(), equal_to([-(-600 // rows)]), "batches")
        tables = created | AggregateBounded(summary=of.summary, outputs=of.outputs, shards=shards, threads=threads)
        assert set(tables) == {"a", "a_models"}
        assert_that(tables["a"], is_rows_of(plain_rows(want["a"]), "k"), "statistics")
        assert_that(tables["a_models"], is_rows_of(plain_rows(want["a_models"]), "k", "model"), "models")
    assert (len(batches) > 1) == (rows < 600)


def test_rows_in_any_order_give_the_same_tables() -> None:
    of, frame = whole(), some_rows()
    shuffled = frame.sample(frac=1.0, random_state=5)
    want = plain_rows(of.tables(frame)["a"])
    with testing.TestPipeline(runner=FnApiRunner()) as pipeline:
        created = pipeline | beam.Create(batches_of(of, shuffled, 40))
        tables = created | AggregateBounded(summary=of.summary, outputs=of.outputs)
        assert_that(tables["a"], is_rows_of(want, "k"))


def test_no_batches_give_no_rows() -> None:
    of = whole()
    with testing.TestPipeline(runner=FnApiRunner()) as pipeline:
        none = pipeline | beam.Create([of.batch(some_rows().iloc[:0])])
        tables = none | AggregateBounded(summary=of.summary, outputs=of.outputs)
        assert_that(tables["a"], is_rows_of([], "k"))


@pytest.mark.parametrize("wrong", [1, {"x": 1}, "row", b"bytes"])
def test_an_element_that_is_no_batch_is_refused_when_the_graph_is_built(wrong: Any) -> None:
    of = whole()
    pipeline = testing.TestPipeline(runner=FnApiRunner())
    with pytest.raises(TypeCheckError, match="RecordBatch"):
        _ = pipeline | beam.Create([wrong]) | AggregateBounded(summary=of.summary, outputs=of.outputs)


def test_less_than_one_shard_is_refused() -> None:
    of = whole()
    with pytest.raises(ValueError, match="shards must be at least 1, is 0"):
        AggregateBounded(summary=of.summary, outputs=of.outputs, shards=0)


def test_a_bundle_gives_one_partial_a_shard_however_many_batches_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    of, frame = whole(), some_rows()
    want = of.summary.merge(of.partials(frame))
    for compact_bytes in (1 << 30, 1):
        monkeypatch.setattr(aggregate, "_COMPACT_BYTES", compact_bytes)
        bundle = SummarizeFn(of.summary, 4)
        bundle.start_bundle()
        for batch in batches_of(of, frame, 9):
            bundle.process(batch)
        shards = dict(value.value for value in bundle.finish_bundle())
        assert len(shards) <= 4
        assert sum(partial.num_rows for partial in shards.values()) == want.num_rows
        assert sum(sum(partial["rows"].to_pylist()) for partial in shards.values()) == len(frame)


def test_combining_partials_gives_the_one_pass_table() -> None:
    of, frame = whole(), some_rows()
    merge = MergeFn(of.summary)
    accumulators, partials = [], of.partials(frame, 50)
    for start in range(0, len(partials), 3):
        accumulator = merge.create_accumulator()
        for partial in partials[start : start + 3]:
            accumulator = merge.add_input(accumulator, partial)
        accumulators.append(merge.compact(accumulator))
    coder = merge.get_accumulator_coder()
    accumulators = [coder.decode(coder.encode(accumulator)) for accumulator in accumulators]
    partial = merge.extract_output(merge.merge_accumulators(iter(accumulators)))
    timeline = of.timeline
    _, tables, _ = timeline.advance(timeline.start(), [partial], None)
    assert_same_rows(plain_rows(tables["a"]), plain_rows(of.tables(frame)["a"]), "k")
    assert merge.extract_output(merge.create_accumulator()).num_rows == 0

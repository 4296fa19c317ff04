"""Partials: what is kept of rows by slice and key, and how they are cut into shards."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.aggregations import HOUR, Aggregation, aggregation
from transforms.aggregation.summary import ROWS, key_column
from transforms.record.batch import ARROW
from transforms.record.hashing import hash_rows
from transforms.time.window import SLICE

KEYS: dict[str, Any] = {"t": "string", "n": "int64", "b": "bool", "at": "timestamp"}


def by_everything() -> Aggregation:
    return aggregation({**KEYS, "x": "float64"}, key=list(KEYS), window={"size": "1h"}, statistics={"x": ["sum"]})


def rows(seed: int, size: int = 200) -> pd.DataFrame:
    chance = np.random.default_rng(seed)
    frame = pd.DataFrame({"at": chance.integers(-3, 3, size) * HOUR, "x": chance.normal(0, 1, size)})
    frame["t"] = chance.choice(np.array(["", "a", "ä", "'; drop table x; --", None], object), size)
    frame["n"] = pd.array(chance.choice(np.array([0, 2**63 - 1, -(2**63)]), size), "Int64")
    frame.loc[chance.random(size) < 0.2, "n"] = pd.NA
    frame["b"] = chance.choice(np.array([True, False, None], object), size)
    return frame


def test_a_partial_counts_the_rows_of_each_slice_and_key() -> None:
    of, frame = by_everything(), rows(1)
    (partial,) = of.partials(frame)
    assert partial.schema == of.summary.schema
    want = frame.groupby([frame["at"] // HOUR, "t", "n", "b"], dropna=False).size()
    assert partial.num_rows == len(want)
    assert sorted(partial[ROWS].to_pylist()) == sorted(want)
    assert set(partial[SLICE].to_pylist()) == set(frame["at"])


def test_without_a_key_there_is_one_group_a_slice() -> None:
    of = aggregation({"x": "float64"}, window={"size": "1h"}, statistics={"x": ["sum"]})
    (partial,) = of.partials(rows(2))
    assert partial.num_rows == 6
    assert sum(partial[ROWS].to_pylist()) == 200


EVERY = ["count", "missing", "mean", "std", "min", "max", "first", "last", "p50", "distinct", "top3"]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), before=st.sets(st.sampled_from(EVERY), min_size=1))
def test_a_partial_that_measured_less_merges_and_keeps_what_it_has(seed: int, before: set[str]) -> None:
    columns: dict[str, Any] = {"x": "float64", "n": "int64", "t": "string"}
    had = {"x": sorted(before), "n": ["count"]}
    less = aggregation(columns, key=["t"], window={"size": "1h"}, statistics=had)
    wanted = {"x": EVERY, "n": ["count", "sum"], "t": ["distinct", "top2", "first"]}
    more = aggregation(columns, key=["t"], window={"size": "1h"}, statistics=wanted)
    frame = rows(seed)
    frame.loc[frame["x"] < -1, "x"] = np.nan
    types = {name: ARROW[kind] for name, kind in columns.items()}
    old = more.summary.fitted(less.summary.merge(less.partials(frame[:120])), types)
    assert old.schema == more.summary.schema
    order = [(SLICE, "ascending"), (key_column("t"), "ascending")]
    merged = more.summary.merge([old, *more.partials(frame[120:])]).sort_by(order)
    whole = more.summary.merge(more.partials(frame)).sort_by(order)
    kept = [name for name in merged.schema.names if name in less.summary.schema.names]
    kept += [name for name in merged.schema.names if name.endswith(("|count", "|missing")) and "moments" in name]
    were_counted = before & {"count", "missing", "mean", "std"}
    for name in kept if were_counted else less.summary.schema.names[:3]:
        if not pa.types.is_floating(merged.schema.field(name).type):  # sums in another order differ in their last bits
            assert merged[name] == whole[name], name
    assert less.summary.fitted(less.summary.merge([]), types).num_rows == 0


def test_no_rows_and_no_partials_are_an_empty_partial() -> None:
    of = by_everything()
    (nothing,) = of.partials(rows(1).iloc[:0])
    assert nothing == of.summary.merge([]) == of.summary.merge([nothing, nothing])
    assert (nothing.schema, nothing.num_rows) == (of.summary.schema, 0)
    assert of.summary.by_shard(nothing, 4) == {}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shards=st.integers(1, 20))
def test_shards_hold_every_group_once_and_a_key_in_one_place(seed: int, shards: int) -> None:
    of = by_everything()
    (partial,) = of.partials(rows(seed, 60))
    cut = of.summary.by_shard(partial, shards)
    assert all(0 <= shard < shards for shard in cut)
    assert sorted(map(str, partial.to_pylist())) == sorted(
        str(row) for part in cut.values() for row in part.to_pylist()
    )
    names = [key_column(name) for name in KEYS]
    places: dict[tuple[Any, ...], set[int]] = {}
    for shard, part in cut.items():
        for key in zip(*(part[name].to_pylist() for name in names), strict=True):
            places.setdefault(key, set()).add(shard)
    assert all(len(found) == 1 for found in places.values())


def test_a_shard_is_the_hash_of_the_key_alone() -> None:
    of = aggregation({"k": "string"}, key=["k"], window={"size": "1h"}, statistics={"k": ["count"]})
    frame = pd.DataFrame({"at": np.arange(50) * HOUR, "k": [f"key {n % 10}" for n in range(50)]})
    cut = of.summary.by_shard(of.partials(frame)[0], 8)
    for shard, part in cut.items():
        hashes = hash_rows([part[key_column("k")]], part.num_rows)
        assert set((hashes % np.uint64(8)).tolist()) == {shard}


@pytest.mark.parametrize("key", ["slice", "x|moments|count", "moments|sum", "key", "a|key", ""])
def test_a_key_may_have_any_name(key: str) -> None:
    statistics = {} if key == "key" else {"key": ["sum"]}
    of = aggregation({"key": "float64", key: "string"}, key=[key], window={"size": "1h"}, statistics=statistics)
    frame = pd.DataFrame({"at": [0, 1, 2], "key": [1.0, 2.0, 4.0]}).assign(**{key: ["a", "b", "a"]})
    assert [row[key] for row in of.rows(frame)] == ["a", "b"]


def test_nan_counts_as_null_and_the_batch_is_not_changed() -> None:
    of = aggregation(
        {"x": "float64"}, window={"size": "1h"}, statistics={"x": ["count", "missing", "p50", "distinct", "top2"]}
    )
    batch = of.batch(pd.DataFrame({"at": [0, 1, 2], "x": [1.0, 2.0, 1.0]}))
    column = batch.schema.get_field_index("x")
    batch = batch.set_column(column, "x", pa.array([1.0, float("nan"), 1.0]))
    before = batch.to_pydict()
    timeline = of.timeline
    _, tables, _ = timeline.advance(timeline.start(), [of.summary.summarize(batch)], None)
    (row,) = tables["a"].to_pylist()
    assert (row["rows"], row["x_count"], row["x_missing"], row["x_p50"], row["x_distinct"]) == (3, 2, 1, 1.0, 1)
    assert row["x_top2"] == [{"value": 1.0, "count": 2}]
    assert str(batch.to_pydict()) == str(before)

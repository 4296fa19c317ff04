"""Preprocessing: steps in their order, every record accounted for, alone and in a pipeline."""

import random
from decimal import Decimal
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing import test_pipeline as testing
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.typehints.decorators import TypeCheckError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.preprocessing.rows import COLUMNS, batch, names, plan, rows
from transforms.preprocessing.preprocess import Preprocess, Preprocessed, preprocess
from transforms.preprocessing.steps import Step
from transforms.record import ledger
from transforms.record.batch import EVENT_TIME, PAYLOAD, POSITION, Origin, origin_of, set_column, with_origin
from transforms.record.dead_letter import SCHEMA
from transforms.record.payload import as_struct

HERE = "tests.transforms.preprocessing.functions"
STEPS: list[dict[str, Any]] = [
    {"trim": "s"},
    {"drop_nulls": "i"},
    {"fill": {"f": 0.5}},
    {"derive": {"n": "s::INTEGER", "twice": "i * 2"}},
    {"filter": "n > 0"},
    {"apply": f"{HERE}:fail_on_three"},
    {"split": {"into": {"a": 0.5, "b": 0.5}, "by": "s"}},
]


def planned(*steps: dict[str, Any]) -> list[Step]:
    found: list[Step] = []
    for step in steps:
        found.append(plan(step, found[-1].columns if found else COLUMNS))
    return found


def test_steps_run_in_order_and_lose_only_what_they_must() -> None:
    given_ = batch(
        i=[1, None, 2**62, 4, 3, 6],
        s=[" 1 ", "x", "2", "soon", "5", "0"],
        f=[None, 1.0, 1.0, 1.0, 1.0, 1.0],
    )
    found = preprocess(given_, planned(*STEPS))
    assert rows(found.batch, POSITION, "s", "f", "n", "twice", "seen") == [(0, "1", 0.5, 1, 2, True)]
    assert names(found.batch) == [*COLUMNS, "n", "twice", "seen", "split"]
    assert found.filtered == 2
    letters = [row for letters in found.dead for row in letters.to_pylist()]
    assert [(row["position"], row["stage"], row["reason"], row["payload"]) for row in letters] == [
        (2, "preprocess:derive", "expression_failed", b"2"),
        (3, "preprocess:derive", "expression_failed", b"3"),
        (4, "preprocess:apply", "apply_failed", b"4"),
    ]
    assert {row["source"] for row in letters} == {"here"}
    assert all(letters.schema.equals(SCHEMA) for letters in found.dead)


def test_dead_letters_carry_the_event_time_of_their_record() -> None:
    given_ = batch(i=[1, 2**63 - 1, 3])
    (letters,) = preprocess(given_, planned({"derive": {"x": "i + 1"}})).dead
    assert letters["event_time"].to_pylist() == [given_[EVENT_TIME][1].as_py()]


def test_a_row_of_parquet_is_written_as_json_where_it_fails() -> None:
    odd = {
        "d": pa.array([Decimal(5)] * 3, pa.decimal256(70, 0)),
        "h": pa.array([0.5] * 3, pa.float16()),
        "k": pa.array(["a", "b", None]).dictionary_encode(),
    }
    given_ = set_column(batch(i=[1, 2**63 - 1, 3]), PAYLOAD, as_struct(pa.record_batch(odd)))
    found = preprocess(given_, planned({"derive": {"x": "i + 1"}}, {"apply": f"{HERE}:fail_on_three"}))
    assert [payload for letters in found.dead for payload in letters["payload"].to_pylist()] == [
        b'{"d": "5", "h": 0.5, "k": "b"}',
        b'{"d": "5", "h": 0.5, "k": null}',
    ]
    assert rows(found.batch, "x") == [2]


def test_positions_event_times_and_the_origin_stay_and_payloads_go() -> None:
    given_ = with_origin(batch(i=[1, 2, 3]), Origin("elsewhere", 3, 17))
    found = preprocess(given_, planned({"filter": "i <> 2"}, {"derive": {"t": "t"}})).batch
    assert rows(found, POSITION) == [0, 2]
    assert found[EVENT_TIME].equals(given_[EVENT_TIME].take(pa.array([0, 2])))
    assert PAYLOAD not in found.schema.names
    assert origin_of(found) == Origin("elsewhere", 3, 17)


def test_without_steps_a_batch_stays_what_it_is() -> None:
    given_ = batch(i=[1, None])
    found = preprocess(given_, [])
    assert found.batch.equals(given_.drop_columns([PAYLOAD]))
    assert (found.dead, found.filtered) == ((), 0)


def test_a_batch_that_runs_empty_still_gets_the_columns_of_later_steps() -> None:
    steps = planned({"filter": "false"}, *STEPS[3:])
    found = preprocess(batch(i=[1, 2]), steps)
    assert found.batch.num_rows == 0
    assert names(found.batch) == list(steps[-1].columns)
    assert found.filtered == 2


numbers = st.sampled_from([None, 1, 2, 3, 2**62])
texts = st.sampled_from([None, "1", " 2", "x", "-1", ""])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(numbers, texts), min_size=1, max_size=40), st.integers(1, 40), st.permutations(STEPS[:3]))
def test_every_record_is_accounted_for_once_in_any_batching(
    records: list[tuple[int | None, str | None]], size: int, first: list[dict[str, Any]]
) -> None:
    steps = planned(*first, *STEPS[3:])
    given_ = batch(i=[number for number, _ in records], s=[text for _, text in records])
    whole = preprocess(given_, steps)
    parts = [preprocess(given_.slice(start, size), steps) for start in range(0, len(records), size)]
    joined = pa.Table.from_batches([part.batch for part in parts]).combine_chunks()
    assert joined.equals(pa.Table.from_batches([whole.batch]))
    assert letters_of(parts) == letters_of([whole])
    dead = sum(letters.num_rows for letters in whole.dead)
    assert whole.batch.num_rows + dead + whole.filtered == len(records)


def letters_of(parts: list[Preprocessed]) -> list[tuple[int, str, str]]:
    found = [row for part in parts for letters in part.dead for row in letters.to_pylist()]
    return sorted((row["position"], row["stage"], row["detail"]) for row in found)


def test_the_pipeline_gives_what_the_kernel_gives_and_its_ledger_closes() -> None:
    rng = random.Random(5)
    steps = planned(*STEPS)
    batches = []
    for index in range(6):
        numbers_ = [rng.choice([None, 1, 2, 3, 2**62]) for _ in range(50)]
        made = batch(i=numbers_, s=[rng.choice(["1", "x", " 7", "0"]) for _ in range(50)])
        batches.append(with_origin(made, Origin(f"file {index % 2}", index % 2, index)))
    direct = [preprocess(each, steps) for each in batches]
    with testing.TestPipeline(runner=FnApiRunner()) as pipeline:
        found = pipeline | beam.Create(batches) | Preprocess(steps=steps)
        kept = found.batches | "Kept" >> beam.FlatMap(lambda b: rows(b, POSITION, "n", "split"))
        letters = found.dead_letters | "Letters" >> beam.FlatMap(lambda b: rows(b, "source", "position", "stage"))
        entries = found.ledger | "Entries" >> beam.combiners.ToList() | beam.Map(ledger.merge)
        counts = entries | beam.Map(lambda entry: ledger.totals(entry))
        expected = [row for each in direct for row in rows(each.batch, POSITION, "n", "split")]
        assert_that(kept, equal_to(expected), "kept")
        dead = [row for each in direct for part in each.dead for row in rows(part, "source", "position", "stage")]
        assert_that(letters, equal_to(dead), "dead")
        filtered = sum(each.filtered for each in direct)
        totals = {"accepted": len(expected), "dead": len(dead), "filtered": filtered}
        assert_that(counts, equal_to([{**dict.fromkeys(ledger.COUNTS, 0), **totals}]), "ledger")
    assert sum(totals.values()) == 300
    assert min(totals.values()) > 0


def test_a_wrong_element_is_refused_before_anything_runs() -> None:
    pipeline = beam.Pipeline()
    with pytest.raises(TypeCheckError):
        pipeline | beam.Create([{"i": 1}]) | Preprocess(steps=planned({"trim": "s"}))

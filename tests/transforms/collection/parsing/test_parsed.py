"""Conforming: columns and refusals become a batch and dead letters."""

import numpy as np
import pyarrow as pa

from tests.transforms.collection.outcome import TIME, parse, schema_of
from transforms.collection.parsing.parsed import Parsed, Rows, conform
from transforms.record.batch import EVENT_TIME, PAYLOAD, POSITION, Origin, origin_of

SCHEMA = schema_of({TIME: "int64", "v": "float64?", "w": "string"})


def conformed(refused: dict[int, tuple[str, str]], *, carried: bool = False, **columns: pa.Array) -> Parsed:
    rows = len(columns[TIME])
    return conform(
        SCHEMA,
        Rows(columns),
        refused,
        positions=np.arange(100, 100 + rows, dtype=np.int64),
        originals=lambda rows: [b"%d" % row for row in rows],
        carried=(lambda: pa.array([b"%d" % row for row in range(rows)])) if carried else None,
        origin=Origin("a.csv", 2, 100),
    )


COLUMNS = {
    TIME: pa.array([1, 2, None, 10**17]),
    "v": pa.array([0.5, None, 1.0, 1.0]),
    "w": pa.array(["a", None, "c", "d"]),
}


def test_good_rows_are_a_batch_with_position_event_time_and_origin() -> None:
    found = conformed({}, **COLUMNS)
    assert found.batch.schema.names == [TIME, "v", "w", POSITION, EVENT_TIME]
    assert found.batch[POSITION].to_pylist() == [100]
    assert found.batch[EVENT_TIME].cast(pa.int64()).to_pylist() == [1000]
    assert origin_of(found.batch) == Origin("a.csv", 2, 100)
    assert found.read == 4


def test_every_other_row_is_a_dead_letter_of_the_stage_parse() -> None:
    letters = conformed({}, **COLUMNS).dead.to_pylist()
    assert [(row["source"], row["position"], row["stage"], row["reason"], row["payload"]) for row in letters] == [
        ("a.csv", 101, "parse", "missing_field", b"1"),
        ("a.csv", 102, "parse", "missing_field", b"2"),
        ("a.csv", 103, "parse", "bad_event_time", b"3"),
    ]
    assert all(row["event_time"] is None and row["attempts"] == 1 for row in letters)


def test_the_reason_that_was_found_first_counts() -> None:
    found = conformed({1: ("malformed", "said before"), 3: ("wrong_type", "too")}, **COLUMNS)
    assert found.dead["detail"].to_pylist()[0] == "said before"
    assert found.dead["reason"].to_pylist() == ["malformed", "missing_field", "wrong_type"]


def test_what_is_given_stays_as_it_was() -> None:
    refused = {1: ("malformed", "")}
    conformed(refused, **COLUMNS)
    assert refused == {1: ("malformed", "")}


def test_payloads_are_carried_for_the_good_rows_where_they_are_asked_for() -> None:
    assert conformed({}, carried=True, **COLUMNS).batch[PAYLOAD].to_pylist() == [b"0"]


def test_a_block_without_a_good_row_gives_an_empty_batch_of_the_same_columns() -> None:
    schema = parse(b'{"ts":1,"w":"a"}', SCHEMA).batch.schema
    assert parse(b"x\n", SCHEMA).batch.schema.equals(schema)

"""Lateness: judged record by record against where the watermark stood, for each aggregation on its own."""

from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from transforms.aggregation.lateness import judge, timely
from transforms.aggregation.spec import AggregationSpec
from transforms.record.batch import EVENT_TIME, LATE, PAYLOAD, POSITION, RANGE, WATERMARK, Origin, with_origin
from transforms.record.ledger import imbalance, totals
from transforms.specification import microseconds
from transforms.time.event_time import as_timestamps
from transforms.time.watermark import NEVER

SECOND = 1_000_000


def aggregations(*windows: dict[str, Any]) -> list[AggregationSpec]:
    fields = [{"name": f"a{n}", "window": window, **more} for n, (window, more) in enumerate(map(split, windows))]
    return [AggregationSpec.model_validate(field) for field in fields]


def split(window: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    rest = {name: value for name, value in window.items() if name != "allowed_lateness"}
    return rest, {name: value for name, value in window.items() if name == "allowed_lateness"}


def records(times: list[int], stood: list[int], ranges: list[int] | None = None) -> pa.RecordBatch:
    count = len(times)
    columns = {
        "x": pa.array(range(count)),
        EVENT_TIME: as_timestamps(np.array(times, np.int64)),
        POSITION: pa.array(np.arange(count)),
        PAYLOAD: pa.array([b"%d" % n for n in range(count)]),
        RANGE: pa.array(ranges or [0] * count, pa.int64()),
        WATERMARK: pa.array(stood, pa.int64()),
    }
    return with_origin(pa.record_batch(columns), Origin("log"))


WINDOWS = [
    {"size": "10s"},
    {"size": "10s", "allowed_lateness": "7s"},
    {"size": "1m", "every": "5s"},
    {"calendar": "day", "time_zone": "Europe/Berlin", "allowed_lateness": "1h"},
]


@pytest.mark.parametrize("seed", range(20))
def test_each_record_is_judged_as_a_loop_would(seed: int) -> None:
    chance = Random(seed)
    specs = aggregations(*chance.sample(WINDOWS, chance.randint(1, 4)))
    size = chance.randint(1, 40)
    times = [chance.randint(0, 200_000) * SECOND for _ in range(size)]
    stood = [chance.choice([NEVER, time + chance.randint(-100, 100_000) * SECOND]) for time in times]
    ranges = [number // 7 * 7 for number in range(size)]
    judged = judge(records(times, stood, ranges), specs)
    late: dict[int, list[str]] = {n: [] for n in range(size)}
    letters = []
    for number, spec in enumerate(specs):
        for row, (time, watermark) in enumerate(zip(times, stood, strict=True)):
            start = spec.window.slices(as_timestamps(np.array([time])))
            closed = int(spec.window.slice_ends(start)[0]) + microseconds(spec.allowed_lateness)
            if closed <= watermark:
                late[row].append(spec.name)
                letters.append((row, f"aggregation:{spec.name}", "late", b"%d" % row, time))
        kept = timely(judged.batch, number)[POSITION].to_pylist()
        assert kept == [row for row in range(size) if spec.name not in late[row]]
    found = [
        (r["position"], r["stage"], r["reason"], r["payload"], int(r["event_time"].timestamp() * SECOND))
        for batch in judged.dead
        for r in batch.to_pylist()
    ]
    assert sorted(found) == sorted(letters)
    gone = [row for row in range(size) if len(late[row]) == len(specs)]
    assert judged.batch[POSITION].to_pylist() == [row for row in range(size) if row not in gone]
    for entry in judged.entries.to_pylist():
        mine = [row for row in range(size) if ranges[row] == entry["first_position"]]
        lost = [row for row in mine if row in gone]
        assert (entry["late"], entry["accepted"]) == (len(lost), -len(lost))
        assert entry["partly_late"] == sum(0 < len(late[row]) < len(specs) for row in mine)
    assert imbalance(totals(judged.entries)) == 0


def test_a_record_is_late_from_the_instant_on_at_which_its_slice_closes() -> None:
    specs = aggregations({"size": "10s", "allowed_lateness": "5s"})
    judged = judge(records([9 * SECOND] * 3, [15 * SECOND - 1, 15 * SECOND, 15 * SECOND + 2_500_000]), specs)
    assert judged.batch[POSITION].to_pylist() == [0]
    (letters,) = judged.dead
    assert letters["detail"].to_pylist() == ["0s after its slice closed", "2500ms after its slice closed"]


def test_before_the_first_record_nothing_is_late() -> None:
    judged = judge(records([-(10**15), 0], [NEVER, NEVER]), aggregations({"size": "10s"}))
    assert judged.dead == ()
    assert judged.batch.num_rows == 2


def test_the_batch_carries_its_verdict_and_no_payload_any_more() -> None:
    judged = judge(records([0], [NEVER]), aggregations({"size": "10s"}, {"size": "1m"}))
    assert judged.batch.schema.names == ["x", EVENT_TIME, POSITION, RANGE, LATE]


def test_a_batch_that_cannot_be_late_is_timely_as_it_is() -> None:
    batch = pa.record_batch({"x": pa.array([1, 2])})
    assert timely(batch, 0) is batch

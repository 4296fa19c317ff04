"""Messages of a topic as records: however they are cut into readings, the same comes out."""

import json
from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.live.jobs import job_of
from tests.live.logs import BEGIN, SECOND, record
from transforms.collection.kafka.progress import KafkaProgress
from transforms.collection.kafka.records import NO_TIME, RANGE_OFFSETS, Fetched, KafkaFlush, KafkaParser, Reading
from transforms.collection.repair import Repair, digest
from transforms.record import ledger
from transforms.record.batch import EVENT_TIME, PAYLOAD, POSITION, RANGE, WATERMARK, origin_of
from transforms.time.watermark import NEVER, WatermarkSpec

PATIENT = WatermarkSpec.model_validate({"out_of_orderness": "5s", "idle_after": "never"})
BRIEF = WatermarkSpec.model_validate({"out_of_orderness": "5s", "idle_after": "30s"})
Message = tuple[int, int, bytes | None]


def parser(**changes: Any) -> KafkaParser:
    arguments = {
        "topic": "events",
        "schema": job_of("fixed").schema,
        "watermark": PATIENT,
        "max_future": timedelta(hours=1),
        **changes,
    }
    return KafkaParser(**arguments)


def good(at: float, x: int = 1) -> bytes:
    return json.dumps({"t": BEGIN / SECOND + at, "k": "a", "x": x, "y": 0}).encode()


def fetched(partition: int, messages: Sequence[Message]) -> Fetched:
    """Messages of one partition: (offset, timestamp in µs, value)."""
    offsets, times, values = zip(*messages, strict=True) if messages else ((), (), ())
    following = offsets[-1] + 1 if offsets else 0
    return Fetched(partition, np.array(offsets, np.int64), np.array(times, np.int64), list(values), following)


def values_of(partition: int, *values: bytes | None, first: int = 0) -> Fetched:
    return fetched(partition, [(first + place, BEGIN, value) for place, value in enumerate(values)])


def begun(partitions: int) -> KafkaProgress:
    return KafkaProgress().beginning_at(dict.fromkeys(range(partitions), 0))


def random_topic(chance: Random) -> list[list[Message]]:
    """Partitions of different pace, with disorder, dirt, tombstones and holes."""
    topic = []
    for _ in range(chance.randint(1, 4)):
        at, offset, messages = chance.random() * 20, chance.choice([0, 0, RANGE_OFFSETS - 7, 3 * RANGE_OFFSETS - 2]), []
        broken = chance.choice([0.0, 0.1])
        for _ in range(chance.randint(0, 30)):
            at += chance.choice([0.1, 1.0, 3.0])
            offset += chance.choice([1, 1, 1, 2, 9])
            value = None if chance.random() < 0.04 else record(chance, BEGIN / SECOND + at, broken)
            if value and chance.random() < 0.1:
                value = json.dumps(json.loads(value), indent=1).encode() if value.startswith(b'{"t": 1') else value
            messages.append((offset, int(BEGIN + at * SECOND), value))
        topic.append(messages)
    return topic


def readings(chance: Random, topic: Sequence[Sequence[Message]]) -> list[Reading]:
    """The topic cut at random: what a reader might have been given."""
    done, cuts = [0] * len(topic), []
    while any(done[number] < len(messages) for number, messages in enumerate(topic)):
        parts = []
        for number in sorted(range(len(topic)), key=lambda _: chance.random()):
            size = chance.choice([0, 1, 2, 7, 40])
            taken = topic[number][done[number] : done[number] + size]
            done[number] += len(taken)
            if taken or chance.random() < 0.1:
                part = fetched(number, taken)
                behind = part.next if taken else (topic[number][done[number] - 1][0] + 1 if done[number] else 0)
                parts.append(Fetched(number, part.offsets, part.timestamps, part.values, behind))
        cuts.append(Reading(parts, chance.randint(0, 3 * SECOND)))
    return cuts


def parsed(of: KafkaParser, cuts: Sequence[Reading], partitions: int) -> tuple[dict[str, Any], KafkaProgress]:
    """What the readings hold, in the order of partitions and offsets."""
    flushes: list[KafkaFlush] = []
    progress = begun(partitions)
    for cut in cuts:
        flushes.append(of.parse(cut, progress))
        progress = KafkaProgress.from_json(json.loads(json.dumps(flushes[-1].progress.to_json())))
        assert progress == flushes[-1].progress
    rows = [
        {"source": origin_of(batch).source, "ordinal": origin_of(batch).ordinal, **row}
        for flush in flushes
        for batch in flush.batches
        for row in batch.to_pylist()
    ]
    tables = {
        "rows": sorted(rows, key=lambda row: (row["source"], row[POSITION])),
        "dead": pa.Table.from_batches([flush.dead for flush in flushes], flushes[0].dead.schema)
        .sort_by([("source", "ascending"), ("position", "ascending")])
        .to_pylist()
        if flushes
        else [],
        "ledger": ledger.merge([flush.entries for flush in flushes]).to_pylist(),
    }
    return tables, progress


@pytest.mark.parametrize("seed", range(25))
def test_any_cut_of_a_topic_gives_the_same(seed: int) -> None:
    chance = Random(seed)
    topic = random_topic(chance)
    whole = [Reading([fetched(number, messages) for number, messages in enumerate(topic) if messages])]
    tables, progress = parsed(parser(), whole, len(topic))
    assert len(tables["rows"]) + len(tables["dead"]) == sum(map(len, topic))
    for _ in range(2):
        cuts = readings(chance, topic)
        again, after = parsed(parser(), cuts, len(topic))
        assert again == tables
        assert after.watermark == progress.watermark
        assert after.offsets == progress.offsets


@pytest.mark.parametrize("seed", range(10))
def test_a_partition_read_alone_gives_what_it_gives_among_others(seed: int) -> None:
    chance = Random(100 + seed)
    topic = random_topic(chance)
    together, _ = parsed(parser(), readings(chance, topic), len(topic))
    alone = [parsed(parser(), [Reading([fetched(number, messages)])], 1)[0] for number, messages in enumerate(topic)]
    for table in ("rows", "dead", "ledger"):
        assert [row for part in alone for row in part[table]] == together[table]


@pytest.mark.parametrize("seed", range(15))
def test_no_record_is_on_time_for_a_window_that_was_reported_closed(seed: int) -> None:
    chance = Random(200 + seed)
    topic = random_topic(chance)
    for watermark in (PATIENT, BRIEF):
        of, progress = parser(watermark=watermark), begun(len(topic))
        for cut in readings(chance, topic):
            cut = Reading(cut.fetched, chance.choice([0, SECOND, 40 * SECOND]))
            flush = of.parse(cut, progress)
            for batch in flush.batches:
                assert min(batch[WATERMARK].to_pylist()) >= progress.watermark
            assert flush.progress.watermark >= progress.watermark
            progress = flush.progress


def test_a_record_is_judged_by_what_its_partition_had_before_it() -> None:
    flush = parser().parse(Reading([values_of(0, good(10), good(30), good(12)), values_of(1, good(1))]), begun(2))
    one, other = flush.batches
    assert one[WATERMARK].to_pylist() == [NEVER, BEGIN + 5 * SECOND, BEGIN + 25 * SECOND]
    assert other[WATERMARK].to_pylist() == [NEVER]
    assert flush.progress.watermark == BEGIN - 4 * SECOND
    assert [origin_of(batch).source for batch in flush.batches] == ["events/0", "events/1"]
    assert flush.progress.offsets == {0: 3, 1: 1}


def test_offsets_are_positions_and_ranges_are_fixed() -> None:
    part = fetched(0, [(9_998, BEGIN, good(1)), (10_000, BEGIN, b"broken"), (25_001, BEGIN, good(2))])
    flush = parser().parse(Reading([part]), begun(1))
    assert flush.batches[0][POSITION].to_pylist() == [9_998, 25_001]
    assert flush.batches[0][RANGE].to_pylist() == [0, 20_000]
    assert flush.dead["position"].to_pylist() == [10_000]
    counts = [(row["first_position"], row["read"], row["accepted"], row["dead"]) for row in flush.entries.to_pylist()]
    assert counts == [(0, 1, 0, 0), (10_000, 1, 0, 1), (20_000, 1, 0, 0)]


def test_json_over_several_lines_is_one_record_with_its_own_bytes() -> None:
    value = json.dumps(json.loads(good(1, x=7)), indent=2).encode() + b"\r\n"
    flush = parser().parse(Reading([values_of(0, value, good(2))]), begun(1))
    assert flush.batches[0]["x"].to_pylist() == [7, 1]
    assert flush.batches[0][PAYLOAD].to_pylist() == [value, good(2)]


def test_a_newline_within_a_string_is_no_json_and_keeps_its_bytes() -> None:
    value = good(1).replace(b'"a"', b'"a\nb"')
    flush = parser().parse(Reading([values_of(0, value, good(2))]), begun(1))
    (letter,) = flush.dead.to_pylist()
    assert (letter["reason"], letter["payload"], letter["source"]) == ("malformed", value, "events/0")


@pytest.mark.parametrize(("value", "payload"), [(None, b""), (b"", b""), (b" \n", b" \n")])
def test_an_empty_value_is_a_dead_letter(value: bytes | None, payload: bytes) -> None:
    flush = parser().parse(Reading([values_of(0, value, good(1))]), begun(1))
    (letter,) = flush.dead.to_pylist()
    assert (letter["position"], letter["reason"], letter["payload"]) == (0, "malformed", payload)
    assert ("tombstone" in letter["detail"]) == (value is None)
    assert flush.batches[0][POSITION].to_pylist() == [1]


def test_bytes_that_are_no_text_and_values_too_long_are_dead() -> None:
    schema = job_of("fixed").schema
    flush = parser().parse(Reading([values_of(0, b"\xff\n", b" " * (schema.max_line + 1), good(1))]), begun(1))
    assert flush.dead["reason"].to_pylist() == ["invalid_utf8", "too_long"]


def test_the_future_is_judged_by_the_timestamp_of_the_message() -> None:
    part = fetched(2, [(0, BEGIN, good(3601)), (1, BEGIN + SECOND, good(3601)), (2, NO_TIME, good(99_999))])
    flush = parser().parse(Reading([part]), begun(3))
    assert flush.batches[0][POSITION].to_pylist() == [1, 2]
    (letter,) = flush.dead.to_pylist()
    assert (letter["reason"], letter["source"], letter["position"]) == ("future", "events/2", 0)
    assert letter["detail"] == "t: 3601s ahead of its message's timestamp; record.max_future is 1h"
    assert flush.batches[0][WATERMARK].to_pylist() == [NEVER, BEGIN + 3596 * SECOND]
    assert parser(max_future=None).parse(Reading([part]), begun(3)).dead.num_rows == 0


def test_a_repaired_record_comes_in_as_never_late_and_moves_no_watermark() -> None:
    reading = Reading([values_of(0, good(100), b"broken", good(50)), values_of(1, good(1), b"broken")])
    repairs = {
        1: Repair(json.dumps(json.loads(good(-500, x=7)), indent=1).encode(), digest(b"broken")),
        2: Repair(good(900, x=8), digest(good(50))),
    }
    plain = parser().parse(reading, begun(2))
    repaired = parser(overlay={"events/0": repairs}).parse(reading, begun(2))
    assert plain.dead["source"].to_pylist() == ["events/0", "events/1"]
    assert repaired.dead["source"].to_pylist() == ["events/1"]
    rows = {row[POSITION]: row for row in repaired.batches[0].to_pylist()}
    assert [(rows[at]["x"], rows[at][WATERMARK]) for at in (1, 2)] == [(7, NEVER), (8, NEVER)]
    assert rows[1][EVENT_TIME].timestamp() * SECOND == BEGIN - 500 * SECOND
    assert repaired.progress == plain.progress
    assert [row["dead"] for row in repaired.entries.to_pylist()] == [0, 1]


def test_a_repair_of_another_payload_is_not_taken() -> None:
    overlay = {"events/0": {0: Repair(good(1), digest(b"something else"))}}
    assert parser(overlay=overlay).parse(Reading([values_of(0, b"broken")]), begun(1)).dead.num_rows == 1


def test_a_partition_without_a_record_holds_the_watermark() -> None:
    flush = parser().parse(Reading([values_of(0, good(100))], 3600 * SECOND), begun(2))
    assert flush.progress.watermark == NEVER
    flush = parser().parse(Reading([values_of(1, good(50))]), flush.progress)
    assert flush.progress.watermark == BEGIN + 45 * SECOND


def test_a_silent_partition_stops_holding_and_its_late_records_are_judged_by_what_was_reported() -> None:
    of = parser(watermark=BRIEF)
    flush = of.parse(Reading([values_of(0, good(100)), values_of(1, good(10))]), begun(2))
    assert flush.progress.watermark == BEGIN + 5 * SECOND
    flush = of.parse(Reading([values_of(0, good(120), first=1)], 30 * SECOND), flush.progress)
    assert flush.progress.watermark == BEGIN + 115 * SECOND
    flush = of.parse(Reading([values_of(1, good(11), good(12), first=1)], SECOND), flush.progress)
    assert flush.batches[0][WATERMARK].to_pylist() == [BEGIN + 115 * SECOND] * 2
    assert flush.progress.watermark == BEGIN + 115 * SECOND


def test_a_partition_that_may_have_more_to_read_is_not_silent() -> None:
    of = parser(watermark=BRIEF)
    flush = of.parse(Reading([values_of(0, good(100)), values_of(1, good(10))]), begun(2))
    busy = Reading([values_of(0, good(200), first=1)], 50 * SECOND, frozenset({1}))
    assert of.parse(busy, flush.progress).progress.watermark == BEGIN + 5 * SECOND


def test_when_all_are_silent_the_watermark_goes_on_with_the_time_listened() -> None:
    of = parser(watermark=BRIEF)
    progress = of.parse(Reading([values_of(0, good(100))]), begun(2)).progress
    assert progress.watermark == NEVER  # the other one may still come
    progress = of.parse(Reading([], 30 * SECOND), progress).progress
    assert progress.watermark == BEGIN + 95 * SECOND
    for _ in range(3):
        progress = of.parse(Reading([], 2 * SECOND), progress).progress
    assert progress.watermark == BEGIN + 101 * SECOND
    assert of.parse(Reading([], 9999 * SECOND), begun(2)).progress.watermark == NEVER


def test_a_partition_that_comes_later_is_judged_by_what_was_reported() -> None:
    progress = parser().parse(Reading([values_of(0, good(100))]), begun(1)).progress
    progress = progress.beginning_at({0: 77, 1: 0})
    assert progress.offsets == {0: 1, 1: 0}
    flush = parser().parse(Reading([values_of(0, good(300), first=1), values_of(1, good(3), good(4))]), progress)
    assert flush.batches[1][WATERMARK].to_pylist() == [BEGIN + 95 * SECOND] * 2
    assert flush.progress.watermark == BEGIN + 95 * SECOND


def test_nothing_read_gives_nothing() -> None:
    flush = parser().parse(Reading([]), begun(1))
    assert (flush.batches, flush.dead.num_rows, flush.entries.num_rows) == ((), 0, 0)
    holes = Fetched(0, np.empty(0, np.int64), np.empty(0, np.int64), [], 12)
    flush = parser().parse(Reading([holes]), begun(1))
    assert (flush.batches, flush.entries.num_rows, flush.progress.offsets) == ((), 0, {0: 12})

"""Chunks of a log as records: however many are parsed at once, the same comes out."""

import hashlib
import json
from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from tests.live.jobs import job_of
from tests.live.logs import BEGIN, SECOND, chunk_after, random_log
from transforms.collection.log.chunks import ChunkParser, Flush
from transforms.collection.log.file import Chunk, Run
from transforms.collection.repair import Repair
from transforms.record import ledger
from transforms.record.batch import EVENT_TIME, POSITION, RANGE, WATERMARK
from transforms.time.watermark import NEVER, Progress, WatermarkSpec


def parser(**changes: Any) -> ChunkParser:
    job = job_of("fixed")
    arguments = {"schema": job.schema, "watermark": WatermarkSpec(), "max_future": timedelta(hours=1), **changes}
    return ChunkParser(**arguments)


def chunks_of(*texts: bytes) -> list[Chunk]:
    """A chunk of each text's lines, a second apart; an empty one is a heartbeat."""
    log: list[Chunk] = []
    for number, text in enumerate(texts):
        parts = [("plain", text.split(b"\n")[:-1])] if text else []
        log.append(chunk_after(log, BEGIN + number * SECOND, number * SECOND, parts))
    return log


def good(at: float, x: int = 1) -> bytes:
    return json.dumps({"t": BEGIN / SECOND + at, "k": "a", "x": x, "y": 0}).encode() + b"\n"


def parse(of: ChunkParser, log: Sequence[Chunk], sizes: Sequence[int]) -> tuple[dict[str, Any], Progress]:
    """What the log holds, parsed so many chunks at a time, in the order of positions."""
    flushes: list[Flush] = []
    progress, start = Progress(), 0
    for size in sizes:
        flushes.append(of.parse(log[start : start + size], progress))
        progress, start = flushes[-1].progress, start + size
    assert start == len(log)
    batch = pa.Table.from_batches([flush.batch.replace_schema_metadata(None) for flush in flushes])
    dead = pa.Table.from_batches([flush.dead for flush in flushes])
    tables = {
        "batch": batch.sort_by(POSITION).to_pylist(),
        "dead": dead.sort_by("position").to_pylist(),
        "ledger": ledger.merge([flush.entries for flush in flushes]).to_pylist(),
    }
    return tables, progress


def cut(chance: Random, count: int) -> list[int]:
    sizes: list[int] = []
    while sum(sizes) < count:
        sizes.append(chance.randint(1, count - sum(sizes)))
    return sizes


@pytest.mark.parametrize("seed", range(15))
def test_any_grouping_of_chunks_gives_the_same(seed: int) -> None:
    chance = Random(seed)
    log, of = random_log(chance, 12), parser(watermark=job_of("fixed").spec.watermark)
    whole = parse(of, log, [len(log)])
    assert parse(of, log, [1] * len(log)) == whole
    assert parse(of, log, cut(chance, len(log))) == whole
    assert sum(chunk.count for chunk in log) == len(whole[0]["batch"]) + len(whole[0]["dead"])


def test_heartbeats_alone_give_no_record_and_no_ledger_row() -> None:
    flush = parser().parse(chunks_of(b"", b"", b""), Progress())
    assert [flush.batch.num_rows, flush.dead.num_rows, flush.entries.num_rows] == [0, 0, 0]
    assert (flush.progress.watermark, flush.progress.elapsed) == (NEVER, 2 * SECOND)


def test_a_chunk_between_heartbeats_has_the_watermark_of_its_own_start() -> None:
    log = chunks_of(good(100), b"", good(50), b"", good(60))
    batch = parser().parse(log, Progress()).batch
    assert batch[RANGE].to_pylist() == [0, 1, 2]
    assert batch[WATERMARK].to_pylist() == [NEVER, BEGIN + 95 * SECOND, BEGIN + 95 * SECOND]


def test_a_carriage_return_is_no_harm_and_an_empty_line_is_a_dead_letter() -> None:
    flush = parser().parse(chunks_of(good(1)[:-1] + b"\r\n\n" + good(2)), Progress())
    assert flush.batch[POSITION].to_pylist() == [0, 2]
    (letter,) = flush.dead.to_pylist()
    assert (letter["position"], letter["reason"], letter["payload"]) == (1, "malformed", b"")
    assert flush.entries.to_pylist()[0] | {"read": 3, "dead": 1} == flush.entries.to_pylist()[0]


def test_a_record_far_ahead_of_its_receive_time_is_dead_and_moves_no_watermark() -> None:
    flush = parser().parse(chunks_of(good(3600) + good(3601) + good(10)), Progress())
    assert flush.batch[POSITION].to_pylist() == [0, 2]
    letter = flush.dead.to_pylist()[0]
    assert (letter["reason"], letter["stage"], letter["position"]) == ("future", "parse", 1)
    assert letter["detail"] == "t: 3601s ahead of when it was received; record.max_future is 1h"
    assert letter["payload"] == good(3601)[:-1]
    assert flush.progress.watermark == BEGIN + 3595 * SECOND
    assert parser(max_future=None).parse(chunks_of(good(9999)), Progress()).dead.num_rows == 0


def test_the_future_is_judged_by_when_a_run_was_received_not_its_chunk() -> None:
    data = good(0) + good(7200)
    runs = (Run("a", BEGIN, 1), Run("b", BEGIN + 7200 * SECOND, 1))
    flush = parser().parse([Chunk(1, 0, BEGIN, 0, runs, data)], Progress())
    assert flush.dead.num_rows == 0


def test_a_repaired_record_comes_in_as_never_late_and_moves_no_watermark() -> None:
    repair = Repair(good(-500, x=7).rstrip(), hashlib.sha256(b"broken").hexdigest())
    log = chunks_of(good(100), b"broken\n" + good(101))
    plain, repaired = parser().parse(log, Progress()), parser(overlay={1: repair}).parse(log, Progress())
    assert plain.dead["position"].to_pylist() == [1]
    assert repaired.dead.num_rows == 0
    rows = {row[POSITION]: row for row in repaired.batch.to_pylist()}
    assert (rows[1]["x"], rows[1][RANGE], rows[1][WATERMARK]) == (7, 1, NEVER)
    assert rows[1][EVENT_TIME].timestamp() * SECOND == BEGIN - 500 * SECOND
    assert repaired.progress == plain.progress
    assert repaired.entries.to_pylist()[1]["read"] == 2
    assert repaired.entries.to_pylist()[1]["dead"] == 0


def test_a_repair_of_another_payload_is_not_taken() -> None:
    repair = Repair(good(1).rstrip(), hashlib.sha256(b"something else").hexdigest())
    assert parser(overlay={0: repair}).parse(chunks_of(b"broken\n"), Progress()).dead.num_rows == 1


def test_chunks_that_hold_other_lines_than_they_say_are_refused() -> None:
    with pytest.raises(AssertionError, match="chunks of 2 records hold 1 lines"):
        parser().parse([Chunk(1, 0, BEGIN, 0, (Run("a", BEGIN, 2),), good(1))], Progress())

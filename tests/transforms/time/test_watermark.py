"""The watermark of a log: never back, whatever comes, and told by the log alone."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.time.watermark import NEVER, Progress, WatermarkSpec

SECOND = 1_000_000
TIMES = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(-100, 100).map(lambda s: s * SECOND), max_size=3)
CHUNKS = st.lists(st.tuples(st.integers(0, 20).map(lambda s: s * SECOND), TIMES), max_size=25)


def spec(**fields: Any) -> WatermarkSpec:
    return WatermarkSpec.model_validate({"out_of_orderness": "5s", "idle_after": "30s", **fields})


def after(watermark: WatermarkSpec, chunks: Any, before: Progress | None = None) -> list[Progress]:
    """Progress after each chunk: (µs that passed, the greatest event time of each source)."""
    found, progress = [], before or Progress()
    for passed, latest in chunks:
        progress = watermark.advance(progress, progress.elapsed + passed, latest)
        found.append(progress)
    return found


@given(chunks=CHUNKS, idle=st.sampled_from(["1s", "10s", "never"]))
def test_it_never_goes_back(chunks: Any, idle: str) -> None:
    marks = [progress.watermark for progress in after(spec(idle_after=idle), chunks)]
    assert marks == sorted(marks)


@given(chunks=CHUNKS)
@settings(max_examples=50)
def test_going_on_from_what_json_kept_is_going_on(chunks: Any) -> None:
    whole = after(spec(), chunks)
    for cut in range(len(chunks)):
        kept = Progress.from_json(json.loads(json.dumps(whole[cut].to_json())))
        assert kept == whole[cut]
        assert after(spec(), chunks[cut + 1 :], kept) == whole[cut + 1 :]


@given(chunks=CHUNKS)
def test_it_is_never_ahead_of_every_source_unless_all_are_silent(chunks: Any) -> None:
    for progress in after(spec(idle_after="never"), chunks):
        greatest = max((time for time, _ in progress.heard.values()), default=NEVER)
        assert progress.watermark <= greatest


@given(chunks=CHUNKS)
def test_without_idleness_it_is_the_least_source_minus_the_disorder(chunks: Any) -> None:
    """A source that comes new holds it where it stands."""
    best = NEVER
    for progress in after(spec(idle_after="never"), chunks):
        if progress.heard:
            best = max(best, min(time for time, _ in progress.heard.values()) - 5 * SECOND)
        assert progress.watermark == best


def test_the_slowest_source_holds_it() -> None:
    marks = after(spec(), [(0, {"a": 100 * SECOND}), (0, {"b": 50 * SECOND}), (0, {"b": 200 * SECOND})])
    assert [mark.watermark // SECOND for mark in marks] == [95, 95, 95]


def test_a_silent_source_stops_holding_it_and_holds_it_again_when_it_returns() -> None:
    chunks = [
        (0, {"a": 10 * SECOND, "b": 10 * SECOND}),
        (29 * SECOND, {"a": 100 * SECOND}),
        (1 * SECOND, {"a": 101 * SECOND}),
        (1 * SECOND, {"b": 20 * SECOND}),
        (1 * SECOND, {"a": 500 * SECOND}),
        (1 * SECOND, {"b": 450 * SECOND}),
    ]
    assert [mark.watermark // SECOND for mark in after(spec(), chunks)] == [5, 5, 96, 96, 96, 445]


def test_when_all_are_silent_it_goes_on_by_the_time_that_somebody_listened() -> None:
    start = [(0, {"a": 100 * SECOND})]
    silent: list[tuple[int, dict[str, int]]] = [(10 * SECOND, {})] * 6
    assert [mark.watermark // SECOND for mark in after(spec(), start + silent)] == [95, 95, 95, 95, 105, 115, 125]
    in_one = after(spec(), [*start, (60 * SECOND, {})])
    assert in_one[-1].watermark // SECOND == 125


def test_a_collector_that_does_not_listen_makes_nobody_silent() -> None:
    marks = after(spec(), [(0, {"a": 100 * SECOND, "b": 0}), (0, {"a": 900 * SECOND})])
    assert [mark.watermark // SECOND for mark in marks] == [-5, -5]


@pytest.mark.parametrize("silence", [1, 1000])
def test_before_the_first_record_silence_says_nothing(silence: int) -> None:
    assert after(spec(), [(silence * SECOND, {})] * 3)[-1].watermark == NEVER

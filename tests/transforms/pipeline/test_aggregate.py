"""Aggregations in a pipeline of one's own, over collections with an end and without."""

from datetime import datetime, timedelta, timezone
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing import test_pipeline as testing
from apache_beam.testing import test_stream as streams
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from apache_beam.typehints import TypeCheckError

import transforms as sg
from transforms.record.coder import RecordBatchCoder
from transforms.testing import assert_table, holds

COLUMNS = {"at": "timestamp", "k": "string?", "x": "float64?", "y": "float64"}
NOON = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)
SECOND = NOON.timestamp()
MODEL = {"kind": "linear_regression", "target": "x", "features": ["y"]}
Given = tuple[int, str, float]


def at(seconds: int) -> datetime:
    return NOON + timedelta(seconds=seconds)


def batch(*given: Given) -> pa.RecordBatch:
    """Rows of a second after noon, a key and a value."""
    rows = [{"at": at(second), "k": key, "x": value, "y": 1.0} for second, key, value in given]
    return sg.batch_of(rows, event_time="at", schema=COLUMNS)


def stamped(*given: Given) -> TimestampedValue:
    """A batch at the time of its earliest row."""
    return TimestampedValue(batch(*given), SECOND + min(second for second, _, _ in given))


def minutes(**fields: Any) -> sg.AggregatePerKey:
    asked: dict[str, Any] = {"name": "m", "key": "k", "window": "1m", "statistics": {"x": ["mean"]}, "columns": COLUMNS}
    return sg.AggregatePerKey(**asked | fields)


def stream() -> streams.TestStream:
    """A clock that stands at noon."""
    return streams.TestStream(coder=RecordBatchCoder()).advance_watermark_to(SECOND)


CLOSED: list[tuple[str, pa.RecordBatch]] = []
"""Table and rows, as they closed: DoFns run in the process that submits."""


def keep(rows: pa.RecordBatch, table: str) -> None:
    CLOSED.append((table, rows))


def closed(source: Any, aggregation: sg.AggregatePerKey) -> dict[str, list[pa.RecordBatch]]:
    """What each table has had when an unbounded collection has come to its end."""
    CLOSED.clear()
    with testing.TestPipeline(options=testing.PipelineOptions(["--streaming"])) as pipeline:
        tables = pipeline | source | aggregation
        for name, rows in tables.items():
            _ = rows | f"Keep {name}" >> beam.Map(keep, name)
    return {table: [rows for name, rows in CLOSED if name == table] for table in tables}


def counted(batches: list[pa.RecordBatch]) -> int:
    return sum(sum(batch["rows"].to_pylist()) for batch in batches)


def test_a_bounded_collection_closes_every_window_at_its_end() -> None:
    with testing.TestPipeline(runner=FnApiRunner()) as pipeline:
        tables = pipeline | beam.Create([batch((1, "a", 1.0), (61, "b", 9.0)), batch((2, "a", 2.0))]) | minutes()
        rows = [
            {
                "window_start": NOON,
                "window_end": at(60),
                "k": "a",
                "rows": 2,
                "x_mean": 1.5,
                "revision": 0,
                "final": True,
            },
            {"window_start": at(60), "window_end": at(120), "k": "b", "rows": 1, "x_mean": 9.0},
        ]
        assert_that(tables["m"], holds(rows), "m")
        assert_that(tables["m_late"], equal_to([]), "late")
        assert tables.keys() == {"m", "m_late"}


def test_a_mapping_of_a_job_file_asks_for_the_same() -> None:
    spec = {"name": "m", "key": ["k"], "window": {"size": "1m"}, "statistics": {"x": "mean"}, "models": {"l": MODEL}}
    rows = batch((1, "a", 1.0), (2, "a", 2.0))
    with testing.TestPipeline(runner=FnApiRunner()) as pipeline:
        batches = pipeline | beam.Create([rows])
        written = batches | "Written" >> sg.AggregatePerKey.from_spec(spec, columns=COLUMNS)
        named = batches | "Named" >> minutes(models={"l": MODEL}, window=timedelta(minutes=1))
        for form, tables in {"written": written, "named": named}.items():
            assert tables.keys() == {"m", "m_models", "m_late"}
            assert_that(tables["m"], holds([{"k": "a", "rows": 2, "x_mean": 1.5}]), form)
            assert_that(tables["m_models"], holds([{"k": "a", "model": "l", "n": 2}]), f"{form} models")


def test_an_unbounded_collection_closes_windows_as_the_watermark_passes_them() -> None:
    """The second minute's row does not wait for the end, and what comes for the first one afterwards is counted."""
    clock = stream().add_elements([stamped((1, "a", 1.0), (61, "a", 5.0))]).add_elements([stamped((2, "a", 2.0))])
    clock = clock.advance_watermark_to(SECOND + 70).add_elements([stamped((5, "a", 7.0), (62, "a", 6.0))])
    first = {"window_start": NOON, "rows": 2, "x_mean": 1.5, "revision": 0, "final": True}
    second = {"window_start": at(60), "rows": 2, "x_mean": 5.5, "final": True}
    late = {"slice_start": NOON, "slice_end": at(60), "k": "a", "rows": 1}
    tables = closed(clock.advance_watermark_to_infinity(), minutes())
    assert_table(tables["m"], [first, second])
    assert_table(tables["m_late"], [late])


def test_rows_that_come_within_the_allowed_lateness_revise_their_window() -> None:
    clock = stream().add_elements([stamped((1, "a", 1.0))]).advance_watermark_to(SECOND + 70)
    clock = clock.add_elements([stamped((2, "a", 2.0))]).advance_watermark_to(SECOND + 200)
    clock = clock.add_elements([stamped((3, "a", 3.0))])
    rows = [
        {"rows": 1, "x_mean": 1.0, "revision": 0, "final": False},
        {"rows": 2, "x_mean": 1.5, "revision": 1, "final": False},
        {"rows": 2, "x_mean": 1.5, "revision": 2, "final": True},
    ]
    tables = closed(clock.advance_watermark_to_infinity(), minutes(allowed_lateness="90s", shards=1))
    assert_table(tables["m"], rows)
    assert_table(tables["m_late"], [{"slice_start": NOON, "rows": 1}])


def test_sliding_windows_and_models_close_by_the_watermark_too() -> None:
    clock = stream().add_elements([stamped((30, "a", 1.0))]).advance_watermark_to(SECOND + 61)
    clock = clock.add_elements([stamped((31, "a", 9.0), (90, "a", 3.0))])
    window = {"size": "2m", "every": "1m"}
    rows = [
        {"window_start": at(-60), "window_end": at(60), "rows": 1, "x_mean": 1.0},
        {"window_start": NOON, "window_end": at(120), "rows": 2, "x_mean": 2.0},
        {"window_start": at(60), "window_end": at(180), "rows": 1, "x_mean": 3.0},
    ]
    models = [{"window_end": at(60), "n": 1}, {"window_end": at(120), "n": 2}, {"window_end": at(180), "n": 1}]
    tables = closed(clock.advance_watermark_to_infinity(), minutes(window=window, models={"l": MODEL}))
    assert_table(tables["m"], rows)
    assert_table(tables["m_models"], models)
    assert_table(tables["m_late"], [{"slice_start": NOON, "rows": 1}])


def test_many_small_batches_of_an_unbounded_collection_count_once_each() -> None:
    clock = stream()
    for number in range(300):
        clock = clock.add_elements([stamped((number % 60, "ab"[number % 2], float(number)))])
    rows = [{"k": "a", "rows": 150, "x_mean": 149.0}, {"k": "b", "rows": 150, "x_mean": 150.0}]
    tables = closed(clock.advance_watermark_to_infinity(), minutes(shards=3))
    assert_table(tables["m"], rows)
    assert tables["m_late"] == []


@pytest.mark.parametrize("lateness", ["0s", "45s", "1h"])
def test_every_row_is_in_a_window_or_late(lateness: str) -> None:
    """However the watermark runs ahead, no row is lost: those of final windows and the late ones are all that came."""
    clock, given = stream(), [(second * 7919 % 600, "abc"[second % 3], 1.0) for second in range(200)]
    for index, each in enumerate(given):
        clock = clock.add_elements([stamped(each)])
        if index % 20 == 19:
            clock = clock.advance_watermark_to(SECOND + 3 * index)
    tables = closed(clock.advance_watermark_to_infinity(), minutes(allowed_lateness=lateness))
    final = [rows.filter(rows["final"]) for rows in tables["m"]]
    assert counted(final) + counted(tables["m_late"]) == len(given)
    assert (counted(tables["m_late"]) > 0) == (lateness != "1h")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"window": "1 h"}, "window.size: must be a duration such as 90s, 15m, 1h or 1d, is 1 h"),
        ({"window": {"size": "1h", "every": "7m"}}, "window: window.every must divide window.size (1h), is 7m"),
        ({"name": ""}, "name: "),
        ({"statistics": {"x": "maen"}}, "statistics.x: must be one of count, "),
        ({"statistics": {}}, "must have `statistics` or `models`"),
        ({"statistics": {"z": "mean"}}, "statistics.z: there is no column z; there are at, k, x, y"),
        ({"statistics": {"k": "mean"}}, "statistics.k: mean needs numbers, and k is a string"),
        ({"key": "x"}, "key[0]: x is float64, which cannot be a key"),
        ({"key": ["k", "l"]}, "key[1]: there is no column l; there are at, k, x, y"),
        ({"models": {"m": {**MODEL, "kind": "tree"}}}, "models.m.kind: must be `linear_regression`"),
        ({"models": {"m": {**MODEL, "target": "k"}}}, "models.m.target: a model needs numbers, and k is a string"),
        ({"allowed_lateness": "late"}, "allowed_lateness: must be a duration such as 90s"),
        ({"columns": {"x": "double"}}, "columns.x: must be 'string', 'int64', "),
        ({"columns": {}}, "columns: must not be empty"),
        ({"shards": 0}, "shards: must be at least 1, is 0"),
        ({"threads": 0}, "threads: must be at least 1, is 0"),
    ],
)
def test_a_wrong_argument_is_named_where_the_transform_is_constructed(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(sg.SpecError) as refused:
        minutes(**changes)
    assert str(refused.value).startswith(words)
    assert isinstance(refused.value, ValueError)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(sg.SpecError) as refused:
        minutes(key="l", statistics={"z": "mean"}, models={"m": {**MODEL, "features": ["w"]}})
    assert [problem.split(":")[0] for problem in refused.value.problems] == [
        "key[0]",
        "statistics.z",
        "models.m.features[0]",
    ]


def test_a_field_that_there_is_not_is_named_with_the_one_that_is_like_it() -> None:
    spec = {"name": "m", "windw": {"size": "1m"}, "statistics": {"x": "mean"}}
    with pytest.raises(sg.SpecError, match=r"windw: is not a known field; did you mean `window`\?"):
        sg.AggregatePerKey.from_spec(spec, columns=COLUMNS)


def test_batches_in_windows_of_beams_are_refused() -> None:
    windowed = beam.Pipeline() | beam.Create([batch((1, "a", 1.0))]) | beam.WindowInto(FixedWindows(60))
    with pytest.raises(ValueError, match="batches must be in the global window, are in FixedWindows: `window` cuts"):
        _ = windowed | minutes()


@pytest.mark.parametrize("wrong", [1, {"x": 1}])
def test_an_element_that_is_no_batch_is_refused_when_the_graph_is_built(wrong: Any) -> None:
    with pytest.raises(TypeCheckError, match="RecordBatch"):
        _ = beam.Pipeline() | beam.Create([wrong]) | minutes()

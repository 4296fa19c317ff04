"""Windows that grow in a pipeline of one's own: rows, and what takes the place of provisional ones."""

from collections.abc import Iterator
from typing import Any

import pytest

import transforms as sg
from tests.more_kinds import more_windows
from tests.transforms.pipeline.test_aggregate import COLUMNS, SECOND, at, closed, counted, stamped, stream
from transforms.testing import assert_table


@pytest.fixture(autouse=True)
def sessions_are_a_kind() -> Iterator[None]:
    with more_windows():
        yield


def sessions(**fields: Any) -> sg.AggregatePerKey:
    asked: dict[str, Any] = {"name": "m", "key": "k", "window": {"gap": "10s"}, "statistics": {"x": ["mean"]}}
    return sg.AggregatePerKey(**asked | {"columns": COLUMNS} | fields)


def test_a_window_goes_on_until_no_record_has_come_for_its_gap() -> None:
    clock = stream().add_elements([stamped((0, "a", 1.0), (9, "a", 3.0), (1, "b", 5.0), (19, "a", 2.0))])
    tables = closed(clock.advance_watermark_to_infinity(), sessions())
    rows = [
        {"window_start": at(0), "window_end": at(19), "k": "a", "rows": 2, "x_mean": 2.0},
        {"window_start": at(1), "window_end": at(11), "k": "b", "rows": 1, "x_mean": 5.0},
        {"window_start": at(19), "window_end": at(29), "k": "a", "rows": 1, "x_mean": 2.0},
    ]
    assert_table(tables["m"], rows)
    assert tables["m_retracted"] == tables["m_late"] == []


def test_a_record_that_joins_two_windows_takes_the_place_of_both() -> None:
    clock = stream().add_elements([stamped((0, "a", 1.0), (15, "a", 3.0))]).advance_watermark_to(SECOND + 26)
    clock = clock.add_elements([stamped((8, "a", 5.0))]).advance_watermark_to(SECOND + 27)
    tables = closed(clock.advance_watermark_to_infinity(), sessions(allowed_lateness="20s", shards=1))
    rows = [
        {"window_start": at(0), "window_end": at(10), "rows": 1, "final": False},
        {"window_start": at(15), "window_end": at(25), "rows": 1, "final": False},
        {"window_start": at(0), "window_end": at(25), "rows": 3, "final": False},
        {"window_start": at(0), "window_end": at(25), "rows": 3, "final": True},
    ]
    assert_table(tables["m"], rows)
    assert_table(tables["m_retracted"], 2 * [{"window_start": at(0), "window_end": at(25), "k": "a"}])


@pytest.mark.parametrize("lateness", ["0s", "45s", "1h"])
def test_every_row_is_in_a_window_or_late(lateness: str) -> None:
    """A batch may hold records that are late and others that are not, of one window: each is judged by itself."""
    clock, given = stream(), [(second * 7919 % 600, "abc"[second % 3], 1.0) for second in range(200)]
    for index in range(0, len(given), 5):
        clock = clock.add_elements([stamped(*given[index : index + 5])]).advance_watermark_to(SECOND + 3 * index + 1)
    tables = closed(clock.advance_watermark_to_infinity(), sessions(allowed_lateness=lateness))
    final = [rows.filter(rows["final"]) for rows in tables["m"]]
    assert counted(final) + counted(tables["m_late"]) == len(given)
    assert (counted(tables["m_late"]) > 0) == (lateness != "1h")
    windows = [(row["k"], row["window_start"], row["window_end"]) for rows in final for row in rows.to_pylist()]
    for one, other in zip(sorted(windows), sorted(windows)[1:], strict=False):
        assert one[0] != other[0] or one[2] <= other[1], "windows of a key do not overlap"

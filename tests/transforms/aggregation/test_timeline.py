"""Windows out of slices, against a loop over windows that filters the rows of each."""

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.aggregations import DAY, HOUR, Aggregation, aggregation, by_key
from transforms.specification import microseconds, parse_duration
from transforms.time.event_time import EARLIEST, LATEST

STATISTICS = ["count", "missing", "sum", "min", "max", "p50", "distinct", "first", "last", "top2"]
TOLERANCES: dict[str, tuple[float, float | None]] = {"x_sum": (1e-12, 1e-12), "x_p50": (0.01000001, None)}
"""Of figures, how far they may be off: relative, and absolute."""


def over(**window: str) -> Aggregation:
    return aggregation({"k": "string", "x": "int64"}, key=["k"], window=window, statistics={"x": STATISTICS})


def sparse(seed: int, size: int, span: int) -> pd.DataFrame:
    """Rows in a few bursts on both sides of the epoch, with long silence between."""
    chance = np.random.default_rng(seed)
    bursts = chance.integers(-span, span, 1 + size // 8)
    at = chance.choice(bursts, size) + chance.integers(0, HOUR, size) // chance.choice([1, HOUR], size)
    at[::5] = at[::5] // HOUR * HOUR  # some exactly where a slice starts
    keys = chance.choice(np.array(["a", "b", "", None], object), size)
    values = pd.array(chance.integers(-5, 6, size), "Int64")
    values[chance.random(size) < 0.15] = pd.NA
    return pd.DataFrame({"at": at, "k": keys, "x": values})


def by_hand(frame: pd.DataFrame, size: int, every: int) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Every window that holds a row, found by filtering the frame."""
    found = {}
    frame = frame.sort_values("at", kind="stable")
    ends = {int(end) for at in frame["at"] for end in range((at // every + 1) * every, at + size + 1, every)}
    for end in sorted(ends):
        inside = frame[(frame["at"] >= end - size) & (frame["at"] < end)]
        for key in inside["k"].unique():
            rows = inside[inside["k"].isna() if key is None else inside["k"] == key]
            values = rows["x"].dropna().astype(int).tolist()
            counts = sorted({value: values.count(value) for value in values}.items(), key=lambda e: (-e[1], e[0]))
            found[end - size, end, key] = {
                "rows": len(rows),
                "x_count": len(values),
                "x_missing": len(rows) - len(values),
                "x_sum": sum(values) if values else None,
                "x_min": min(values, default=None),
                "x_max": max(values, default=None),
                "x_p50": sorted(values)[(len(values) - 1) // 2] if values else None,
                "x_distinct": len(set(values)),
                "x_first": values[0] if values else None,
                "x_last": values[-1] if values else None,
                "x_top2": [{"value": value, "count": count} for value, count in counts[:2]],
            }
    return found


def assert_same(of: Aggregation, frame: pd.DataFrame, batch_rows: int | None, size: int, every: int) -> None:
    got, want = by_key(of.rows(frame, batch_rows), "k"), by_hand(frame, size, every)
    assert got.keys() == want.keys()
    for name, row in want.items():
        assert (got[name]["revision"], got[name]["final"]) == (0, True)
        for column, value in row.items():
            if value is not None and column in TOLERANCES:
                value = pytest.approx(value, *TOLERANCES[column])
            assert got[name][column] == value, f"{name} {column}"


@pytest.mark.parametrize(
    ("size", "every"),
    [("1h", None), ("90m", None), ("1d", None), ("7d", None), ("2h", "1h"), ("6h", "1h"), ("7h", "1h"), ("13h", "1h"),
     ("1d", "30m"), ("3d", "1d"), ("10d", "2d")],
)  # fmt: skip
@pytest.mark.parametrize("seed", [1, 2])
def test_windows_hold_the_rows_that_a_filter_finds(size: str, every: str | None, seed: int) -> None:
    of = over(size=size) if every is None else over(size=size, every=every)
    length = microseconds(parse_duration(size))
    step = length if every is None else microseconds(parse_duration(every))
    assert_same(of, sparse(seed, 40, 20 * DAY), [None, 7][seed - 1], length, step)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), overlap=st.integers(1, 40), batch_rows=st.integers(1, 30))
def test_any_overlap_gives_the_windows_that_a_filter_finds(seed: int, overlap: int, batch_rows: int) -> None:
    of = over(size=f"{overlap}h", every="1h")
    assert_same(of, sparse(seed, 14, 2 * DAY), batch_rows, overlap * HOUR, HOUR)


def test_a_row_exactly_at_the_end_of_a_window_belongs_to_the_next() -> None:
    frame = pd.DataFrame({"at": [HOUR - 1, HOUR, 2 * HOUR - 1, 2 * HOUR], "k": "a", "x": [1, 2, 3, 4]})
    assert [(row["window_end"] // HOUR, row["x_sum"]) for row in over(size="1h").rows(frame)] == [
        (1, 1),
        (2, 5),
        (3, 4),
    ]
    sliding = [(row["window_end"] // HOUR, row["x_sum"]) for row in over(size="2h", every="1h").rows(frame)]
    assert sliding == [(1, 1), (2, 6), (3, 9), (4, 4)]


def test_windows_go_on_after_the_last_row_until_they_hold_none() -> None:
    frame = pd.DataFrame({"at": [5], "k": "a", "x": [7]})
    rows = over(size="5h", every="1h").rows(frame)
    assert [(row["window_start"] // HOUR, row["window_end"] // HOUR) for row in rows] == [
        (n - 5, n) for n in range(1, 6)
    ]
    assert {row["x_sum"] for row in rows} == {7.0}


def test_instants_before_the_epoch_fall_into_the_window_that_holds_them() -> None:
    frame = pd.DataFrame({"at": [-1, 0, -HOUR, -HOUR - 1], "k": "a", "x": [1, 2, 4, 8]})
    got = [(row["window_start"] // HOUR, row["x_sum"]) for row in over(size="1h").rows(frame)]
    assert got == [(-2, 8), (-1, 5), (0, 2)]


def test_the_first_and_the_last_instant_have_windows() -> None:
    frame = pd.DataFrame({"at": [EARLIEST, LATEST - 1], "k": "a", "x": [1, 2]})
    for window in ({"size": "1d"}, {"size": "366d"}, {"size": "10d", "every": "1d"}):
        rows = over(**window).rows(frame)
        assert {row["x_sum"] for row in rows} == {1.0, 2.0}


def test_rows_are_sorted_by_window_and_key_whatever_the_batching() -> None:
    of, frame = over(size="6h", every="2h"), sparse(3, 60, 2 * DAY)
    tables = [of.tables(frame, rows)["a"] for rows in (None, 1, 17)]
    order = [(row["window_start"], row["window_end"], row["k"] is None, row["k"] or "") for row in of.rows(frame)]
    assert order == sorted(order)
    names = [name for name in tables[0].schema.names if name != "x_sum"]
    assert tables[0].select(names) == tables[1].select(names) == tables[2].select(names)


def test_no_rows_give_empty_tables_of_the_same_schema() -> None:
    of = over(size="6h", every="2h")
    frame = sparse(3, 10, DAY)
    assert of.tables(frame.iloc[:0])["a"].num_rows == 0
    assert of.tables(frame.iloc[:0])["a"].schema == of.tables(frame)["a"].schema == of.outputs[0].schema


@pytest.mark.alone
@pytest.mark.parametrize("window", [{"size": "1m"}, {"size": "5m", "every": "1m"}])
def test_a_year_of_minutes_takes_four_times_as_long_as_a_quarter(window: dict[str, str]) -> None:
    of = aggregation({"x": "float64"}, window=window, statistics={"x": ["count", "mean", "max", "first"]})

    def seconds(minutes: int) -> float:
        frame = pd.DataFrame({"at": np.arange(minutes) * 60_000_000, "x": np.arange(minutes) % 97 / 7})
        began = time.process_time()
        assert of.tables(frame)["a"].num_rows >= minutes
        return time.process_time() - began

    seconds(525_600)  # pays for memory that the others use again
    # A quarter may fit into a cache and the year not; the square of four fits into none.
    assert min(seconds(525_600) / seconds(131_400) for _ in range(2)) < 6

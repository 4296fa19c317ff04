"""Calendar windows across clock changes, against the standard library's time zones."""

from datetime import date, datetime, time, timedelta, timezone

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.aggregations import aggregation
from tests.transforms.time.test_zone import by_python
from transforms.collection.parsing.values import from_text
from transforms.time.event_time import EARLIEST, LATEST, as_instants, as_timestamps
from transforms.time.windows.calendar import Calendar

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
HOUR = 3_600_000_000

CHANGES = [
    ("Europe/Berlin", "2024-03-31", 23.0),
    ("Europe/Berlin", "2024-10-27", 25.0),
    ("America/Sao_Paulo", "2018-11-04", 23.0),  # from midnight straight to one o'clock
    ("America/Sao_Paulo", "2018-02-17", 25.0),  # at midnight back to eleven
    ("Australia/Lord_Howe", "2024-10-06", 23.5),
    ("Australia/Lord_Howe", "2024-04-07", 24.5),
    ("Asia/Kathmandu", "1986-01-01", 23.75),  # 5:30 became 5:45 at midnight
    ("Asia/Kathmandu", "2024-03-31", 24.0),
    ("America/Havana", "2024-11-03", 25.0),  # midnight strikes twice
    ("Pacific/Apia", "2011-12-29", 24.0),  # the 30th was left out
]
ZONES = sorted({zone for zone, _, _ in CHANGES})


def instant(local: date, zone: str) -> int:
    """The instant a local date begins: the first of two midnights, or the jump where there is none."""
    midnight = datetime.combine(local, time(), by_python(zone)).astimezone(timezone.utc)
    return (midnight - EPOCH) // timedelta(microseconds=1)


def first_day(local: date, calendar: str) -> date:
    return {"day": local, "week": local - timedelta(days=local.weekday()), "month": local.replace(day=1)}[calendar]


def next_first_day(first: date, calendar: str) -> date:
    days = {"day": 1, "week": 7}.get(calendar)
    return first + timedelta(days=days) if days else (first + timedelta(days=31)).replace(day=1)


def bounds(at: int, calendar: str, zone: str) -> tuple[int, int]:
    """The calendar unit that holds an instant."""
    local = (EPOCH + timedelta(microseconds=at)).astimezone(by_python(zone)).date()
    first = first_day(local, calendar)
    return instant(first, zone), instant(next_first_day(first, calendar), zone)


@pytest.mark.parametrize(("zone", "day", "hours"), CHANGES)
def test_a_day_of_a_clock_change_is_as_long_as_its_clock_says(zone: str, day: str, hours: float) -> None:
    start = instant(date.fromisoformat(day), zone)
    end = start + int(hours * HOUR)
    window = Calendar(calendar="day", time_zone=zone)
    inside = np.array([start, start + 1, (start + end) // 2, end - 1])
    assert window.slices(as_timestamps(inside)).tolist() == [start] * 4
    assert window.slice_ends(np.array([start])).tolist() == [end]
    assert window.slices(as_timestamps(np.array([start - 1, end]))).tolist() == [
        window.slices(as_timestamps(np.array([start - 1])))[0],
        end,
    ]
    assert window.slice_ends(window.slices(as_timestamps(np.array([start - 1])))).tolist() == [start]


@pytest.mark.parametrize("calendar", ["day", "week", "month"])
@pytest.mark.parametrize(("zone", "day"), [(zone, day) for zone, day, _ in CHANGES])
def test_every_hour_around_a_clock_change_falls_into_its_calendar_unit(zone: str, day: str, calendar: str) -> None:
    middle = instant(date.fromisoformat(day), zone)
    instants = middle + np.arange(-45 * 48, 45 * 48) * (HOUR // 2) + 1
    window = Calendar.model_validate({"calendar": calendar, "time_zone": zone})
    starts = window.slices(as_timestamps(instants))
    want = np.array([bounds(at, calendar, zone) for at in instants.tolist()])
    assert np.array_equal(starts, want[:, 0])
    assert np.array_equal(window.slice_ends(starts), want[:, 1])


@settings(max_examples=60, deadline=None)
@given(
    instants=st.lists(st.integers(EARLIEST, LATEST - 1) | st.integers(-(10**15), 2 * 10**15), min_size=1, max_size=20),
    zone=st.sampled_from([*ZONES, "UTC", "America/St_Johns", "Africa/Monrovia", "Antarctica/Troll"]),
    calendar=st.sampled_from(["day", "week", "month"]),
)
def test_slices_hold_their_instants_and_follow_each_other(instants: list[int], zone: str, calendar: str) -> None:
    window = Calendar.model_validate({"calendar": calendar, "time_zone": zone})
    at = np.array(instants)
    starts = window.slices(as_timestamps(at))
    ends = window.slice_ends(starts)
    assert np.all((starts <= at) & (at < ends))
    assert np.array_equal(window.slices(as_timestamps(starts)), starts)
    assert np.array_equal(window.slices(as_timestamps(ends - 1)), starts)
    assert np.array_equal(window.slices(as_timestamps(ends)), ends)


@pytest.mark.parametrize("calendar", ["day", "week", "month"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu"])
def test_neighbouring_units_have_neighbouring_numbers(calendar: str, zone: str) -> None:
    window = Calendar.model_validate({"calendar": calendar, "time_zone": zone})
    starts = window.slices(as_timestamps(np.array([-(10**15)])))
    for _ in range(900):
        starts = np.append(starts, window.slice_ends(starts[-1:]))
    assert set(np.diff(window.ordinals(starts)).tolist()) == {1}


@pytest.mark.parametrize("zone", ["America/St_Johns", "America/Goose_Bay", "America/Moncton"])
@pytest.mark.parametrize("year", [1994, 2001, 2006])
def test_an_hour_that_goes_back_across_midnight_stays_in_the_day_that_has_begun(zone: str, year: int) -> None:
    # One minute past midnight the clock went back to 23:01 of the day before.
    days = pd.date_range(f"{year}-10-20", f"{year}-11-05").date
    window = Calendar(calendar="day", time_zone=zone)
    starts = np.array([instant(day, zone) for day in days])
    assert 25 * HOUR in np.diff(starts)
    minutes = np.arange(starts[0], starts[-1], 30_000_000)
    slices = window.slices(as_timestamps(minutes))
    assert np.array_equal(slices, starts[np.searchsorted(starts, minutes, side="right") - 1])
    assert np.array_equal(np.unique(slices), starts[:-1])


@pytest.mark.parametrize("zone", ["America/Vancouver", *ZONES, "America/St_Johns", "Africa/Casablanca"])
def test_a_time_without_an_offset_falls_into_the_day_that_it_names(zone: str) -> None:
    days = [date(2026, 12, 1), *(date(2005, 1, 1) + timedelta(days=17 * number) for number in range(500))]
    texts = pa.array([f"{day}T03:30:00" for day in days])
    times = from_text(texts, "timestamp", "t", zone).values
    window = Calendar(calendar="day", time_zone=zone)
    starts, ends = as_instants(times) - 3.5 * HOUR, as_instants(times) + 20.5 * HOUR
    slices = window.slices(times)
    assert (abs(slices - starts) <= HOUR).all() and (abs(window.slice_ends(slices) - ends) <= HOUR).all()


@pytest.mark.parametrize("calendar", ["day", "week", "month"])
@pytest.mark.parametrize(("zone", "day"), [(zone, day) for zone, day, _ in CHANGES])
def test_an_aggregation_by_calendar_holds_the_rows_of_its_local_dates(zone: str, day: str, calendar: str) -> None:
    chance = np.random.default_rng(13)
    middle = instant(date.fromisoformat(day), zone)
    frame = pd.DataFrame({"at": middle + chance.integers(-40 * 24 * HOUR, 40 * 24 * HOUR, 400), "x": 1.0})
    frame.loc[:9, "at"] = middle  # exactly where a day begins
    of = aggregation({"x": "float64"}, window={"calendar": calendar, "time_zone": zone}, statistics={"x": ["sum"]})
    got = [(row["window_start"], row["window_end"], row["x_sum"]) for row in of.rows(frame, 90)]
    want = frame.groupby([frame["at"].map(lambda at: bounds(at, calendar, zone))])["x"].sum()
    assert got == [(*window, total) for window, total in want.items()]

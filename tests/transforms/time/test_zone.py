"""Time zones: what Python's own library makes of the same database, for every zone and through all years."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from random import Random
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.time.event_time import EARLIEST, LATEST
from transforms.time.zone import database_version, known_zone, zone, zone_names

EPOCH = datetime(1970, 1, 1)
MICROSECOND = timedelta(microseconds=1)
SECOND = 1_000_000
NAMES = sorted(zone_names())


@cache
def by_python(name: str) -> ZoneInfo:
    """The zone of the package `tzdata`, not of the system."""
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def shown(instant: int, name: str) -> int:
    local = (EPOCH + instant * MICROSECOND).replace(tzinfo=by_python(name))
    return (by_python(name).fromutc(local).replace(tzinfo=None) - EPOCH) // MICROSECOND


def read(local: int, name: str) -> int:
    """The second of two instants; in a gap, by the clock before it. Both have the smaller of the two offsets."""
    naive = EPOCH + local * MICROSECOND
    offsets = [naive.replace(tzinfo=by_python(name), fold=fold).utcoffset() or timedelta(0) for fold in (0, 1)]
    return local - min(offsets) // MICROSECOND


def instants(chance: Random, name: str) -> Iterator[int]:
    """Some of any year, more of our time, and those around changes of the clock."""
    for _ in range(15):
        yield chance.randrange(EARLIEST, LATEST)
        yield chance.randrange(-5 * 10**9, 5 * 10**9) * SECOND
    for _ in range(10):
        at = chance.randrange(-5 * 10**9, 200 * 10**9)
        low, high = at, at + 200 * 86_400
        before = shown(low * SECOND, name) - low * SECOND
        if shown(high * SECOND, name) - high * SECOND == before:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            same = shown(middle * SECOND, name) - middle * SECOND == before
            low, high = (middle, high) if same else (low, middle)
        yield from ((high + by) * SECOND for by in (-3600, -1, 0, 1, 3600))


def test_every_zone_shows_and_reads_times_as_pythons_own_does() -> None:
    chance = Random(5)
    for name in NAMES:
        at = np.array(list(instants(chance, name)))
        local = zone(name).shown(at)
        assert local.tolist() == [shown(instant, name) for instant in at.tolist()], name
        near = local + np.array([chance.choice([0, 1, -1, 1800, 3599, -3600]) * SECOND for _ in local])
        assert zone(name).read(near).tolist() == [read(moment, name) for moment in near.tolist()], name


@settings(deadline=None)
@given(
    st.lists(st.integers(-5 * 10**9, 10**10), min_size=1, max_size=20),
    st.sampled_from(["Europe/Berlin", "America/Havana", "Pacific/Apia", "Africa/Casablanca", "Europe/Dublin", "UTC"]),
)
def test_the_first_instant_that_shows_a_time_is_the_first_that_shows_as_much(seconds: list[int], name: str) -> None:
    local = np.array(seconds) * SECOND
    first = zone(name).first(local)
    assert (zone(name).shown(first) >= local).all()
    # The clock went back by at most three hours since, so that what it showed then may have been more once before.
    earlier = first - np.arange(1, 3 * 3_600)[:, None] * SECOND
    before = zone(name).shown(earlier.ravel()).reshape(earlier.shape)
    exact = zone(name).shown(first) == local
    assert (before[:, exact] != local[exact]).all()
    assert (before[0] < local).all()


@pytest.mark.parametrize("name", ["Europe/Berlin", "Asia/Kolkata", "UTC"])
def test_no_times_are_no_times(name: str) -> None:
    nothing = np.empty(0, np.int64)
    assert [len(way(nothing)) for way in (zone(name).shown, zone(name).read, zone(name).first)] == [0, 0, 0]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "localtime",
            "Factory",
            "posixrules",
            "posix/Europe/Berlin",
            "right/Europe/Berlin",
            "Mars",
            "BST",
            "",
            "UTC+2",
        ),
        *("UTC+2", "../zones", "europe/berlin", "Europe", "/etc/localtime", "Europe/Berlin ", "zone.tab", "EST5EDT4"),
    ],
)
def test_what_is_no_zone_of_the_database_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must be a time zone of the IANA database, such as Europe/Berlin"):
        known_zone(name)
    with pytest.raises(ValueError, match="must be a time zone of the IANA database"):
        zone(name)


def test_the_systems_database_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZDIR", "/nowhere")
    monkeypatch.setenv("PYTHONTZPATH", "/nowhere")
    zone.cache_clear()
    assert zone("America/Vancouver").read(np.array([0])).tolist() == [8 * 3_600 * SECOND]
    assert zone("America/Vancouver").shown(np.array([0])).tolist() == [-8 * 3_600 * SECOND]


def test_the_version_is_that_of_the_package() -> None:
    assert (files("tzdata") / "zoneinfo" / "tzdata.zi").read_text().startswith(f"# version {database_version()}\n")

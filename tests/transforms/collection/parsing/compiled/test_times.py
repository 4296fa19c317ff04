"""Times: what is read is what the value rules read, and the usual forms are read."""

from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transforms.collection.parsing.compiled.times import INSTANT, NONE, read_time, read_usual_time
from transforms.collection.parsing.values import from_text
from transforms.time.event_time import EARLIEST, LATEST

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def instant(text: str, *, may_lack_offset: bool = True) -> int | None:
    """The µs since the epoch, None where the text is left to the value rules."""
    time = read_usual_time(np.frombuffer(text.encode() + b"\n", np.uint8), 0, may_lack_offset)
    return time.micros if time.kind == INSTANT and time.end == len(text.encode()) else None


def by_the_rules(text: str) -> int | None:
    return from_text(pa.array([text]), "timestamp", "t").values.cast(pa.int64())[0].as_py()


offsets = st.sampled_from(["", "Z", "+00:00", "-00:30", "+05:45", "+14:00", "+14:01", "+15:00", "-12:00", "+2", "z"])
fractions = st.sampled_from(["", ".0", ".5", ".000001", ".123456", ".1234567", ".999999999", ".", ",5"])
written = st.builds(
    "{:04d}-{:02d}-{:02d}{}{:02d}:{:02d}:{:02d}{}{}".format,
    st.sampled_from([1, 2, 1582, 1600, 1900, 1969, 1970, 1972, 2000, 2023, 2024, 9997, 9998, 9999]),
    st.integers(0, 13),
    st.integers(0, 32),
    st.sampled_from("TT  t_"),
    st.integers(0, 25),
    st.integers(0, 61),
    st.integers(0, 61),
    fractions,
    offsets,
)
mutated = st.builds(
    lambda text, place, other: text[: place % len(text)] + other + text[place % len(text) + 1 :],
    written,
    st.integers(0, 30),
    st.sampled_from(["", "0", "-", ":", " ", "é", "x", "99"]),
)


@settings(deadline=None)  # the first call compiles
@given(written | mutated | st.text(max_size=25))
@example("2000-02-29T00:00:00Z")
@example("1900-02-29T00:00:00Z")
@example("2013-12-31T24:00:00Z")
@example("2016-12-31T23:59:60Z")
@example("0002-01-01T00:00:00+14:00")
def test_what_is_read_is_what_the_value_rules_read(text: str) -> None:
    found = instant(text)
    if found is not None and EARLIEST <= found < LATEST:
        assert found == by_the_rules(text)


@settings(deadline=None)  # the first call compiles
@given(st.datetimes(datetime(2, 1, 2), datetime(9997, 12, 30)), st.integers(-14 * 60, 14 * 60))
def test_every_time_of_the_usual_form_is_read(naive: datetime, minutes: int) -> None:
    aware = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    wanted = (aware - EPOCH) // timedelta(microseconds=1)
    assert instant(aware.isoformat()) == wanted
    assert instant(aware.isoformat(" "), may_lack_offset=False) == wanted
    utc = aware.astimezone(timezone.utc).replace(tzinfo=None).isoformat()
    assert instant(utc + "Z") == instant(utc) == wanted


@pytest.mark.parametrize("text", ["2013-01-01", "2013-01-01T05:00Z", "20130101T050000Z", "2013-W01-1", "05:00:00", ""])
def test_other_forms_are_left_to_the_value_rules(text: str) -> None:
    assert instant(text) is None


def test_a_time_ends_where_it_is_said_to_end() -> None:
    octets = np.frombuffer(b"2013-01-01T05:00:00.25+02:00", np.uint8)
    ends = [end for end in range(len(octets) + 1) if read_time(octets, 0, end).kind != NONE]
    assert ends == [10, 13, 16, 19, 21, 22, 25, 28]


def test_a_time_without_an_offset_is_left_to_the_value_rules_where_its_zone_is_not_utc() -> None:
    assert instant("2013-01-01T05:00:00", may_lack_offset=False) is None
    assert instant("2013-01-01T05:00:00") is not None

"""Windows of a fixed size, and what a window may be asked to be."""

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from transforms.time.event_time import EARLIEST, LATEST, as_timestamps
from transforms.time.window import Window

INSTANTS = st.integers(EARLIEST, LATEST - 1)
LENGTHS = st.sampled_from(["1ms", "250ms", "1s", "7m", "1h", "5h", "1d", "30d", "366d"])


@settings(max_examples=100, deadline=None)
@given(st.lists(INSTANTS, min_size=1, max_size=20), LENGTHS)
def test_a_slice_holds_its_instants_and_is_aligned_to_the_epoch(instants: list[int], size: str) -> None:
    window = Window(size=size)
    assert window.size is not None
    length = window.size // timedelta(microseconds=1)
    starts = window.slices(as_timestamps(np.array(instants)))
    assert starts.tolist() == [instant - instant % length for instant in instants]
    assert window.slice_ends(starts).tolist() == [start + length for start in starts.tolist()]
    assert window.slices(as_timestamps(starts)).tolist() == starts.tolist()


def test_neighbouring_slices_have_neighbouring_numbers() -> None:
    window = Window(size="1d", every="6h")
    starts = np.arange(-3, 4) * 6 * 3_600_000_000
    assert np.diff(window.ordinals(starts)).tolist() == [1] * 6
    assert np.array_equal(window.slice_ends(starts)[:-1], starts[1:])


def test_a_sliding_window_is_cut_into_slices_of_every() -> None:
    window = Window(size="1d", every="6h")
    assert (window.overlap, window.step) == (4, 6 * 3_600_000_000)
    ends = np.array([0, 6 * 3_600_000_000])
    assert window.starts_of_windows_ending(ends, ends - window.step).tolist() == [-86_400_000_000, -64_800_000_000]
    assert (Window(size="1d").overlap, Window(size="1d").step) == (1, 86_400_000_000)
    assert (Window(calendar="day").overlap, Window(calendar="day").step) == (1, None)


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ({}, "exactly one of `size` and `calendar`"),
        ({"size": "1d", "calendar": "day"}, "exactly one of `size` and `calendar`"),
        ({"every": "1h"}, "exactly one of `size` and `calendar`"),
        ({"calendar": "day", "every": "1h"}, "window.every goes with `size`"),
        ({"size": "0s"}, "window.size must be longer than 0s and at most 366d, is 0s"),
        ({"size": "367d"}, "window.size must be longer than 0s and at most 366d, is 367d"),
        ({"size": "1h", "every": "0s"}, "window.every must be longer than 0s"),
        ({"size": "1h", "every": "7m"}, "window.every must divide window.size (1h), is 7m"),
        ({"size": "1h", "every": "2h"}, "window.every must divide window.size (1h), is 2h"),
        ({"size": "1h", "time_zone": "Europe/Berlin"}, "window.time_zone goes with `calendar`"),
        ({"calendar": "year"}, "'day', 'week' or 'month'"),
        ({"calendar": "day", "time_zone": "Mars/Olympus"}, "time zone of the IANA database"),
        ({"calendar": "day", "time_zone": "../etc/passwd"}, "time zone of the IANA database"),
        ({"calendar": "day", "time_zone": ""}, "time zone of the IANA database"),
        ({"session_gap": "30m"}, "`session_gap` is not supported in this version"),
        ({"size": 60}, "must be a duration such as 90s"),
        ({"size": "1d", "colour": "red"}, "Extra inputs"),
    ],
)
def test_what_no_window_can_be_is_refused(window: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        Window.model_validate(window)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ({"size": "24h"}, "1d"),
        ({"size": "1d", "every": "90m"}, "1d every 90m"),
        ({"calendar": "week", "time_zone": "Asia/Kathmandu"}, "calendar week Asia/Kathmandu"),
        ({"calendar": "day"}, "calendar day UTC"),
    ],
)
def test_a_window_is_written_the_way_people_say_it(window: dict[str, str], words: str) -> None:
    assert str(Window.model_validate(window)) == words
    assert Window.model_validate(window) == Window.model_validate(
        Window.model_validate(window).model_dump(exclude_unset=True)
    )


@pytest.mark.parametrize("window", [{"size": "1h"}, {"calendar": "day", "time_zone": "America/Sao_Paulo"}])
def test_no_instants_have_no_slices(window: dict[str, str]) -> None:
    cut = Window.model_validate(window)
    none = cut.slices(pa.array([], pa.timestamp("us", "UTC")))
    assert [len(part) for part in (none, cut.slice_ends(none), cut.ordinals(none))] == [0, 0, 0]

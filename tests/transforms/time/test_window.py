"""What a window may be asked to be, and what all kinds declare."""

from typing import Any

import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from transforms.time.window import AnyWindow, window_of


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
        TypeAdapter(AnyWindow).validate_python(window)
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
    assert str(window_of(window)) == words
    assert window_of(window) == window_of(window_of(window).model_dump(exclude_unset=True))


@pytest.mark.parametrize("window", [{"size": "1h"}, {"calendar": "day", "time_zone": "America/Sao_Paulo"}])
def test_no_instants_have_no_slices(window: dict[str, str]) -> None:
    cut = window_of(window)
    none = cut.slices(pa.array([], pa.timestamp("us", "UTC")))
    assert [len(part) for part in (none, cut.slice_ends(none), cut.ordinals(none))] == [0, 0, 0]

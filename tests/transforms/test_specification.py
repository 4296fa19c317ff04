"""Durations as the job file writes them, and specifications as values."""

from datetime import timedelta
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from transforms.specification import (
    DURATION_PATTERN,
    Duration,
    Spec,
    format_duration,
    microseconds,
    not_in_this_version,
    parse_duration,
)


class Pause(Spec):
    length: Duration
    gap: Annotated[Duration | None, not_in_this_version("gap", "use `length`")] = None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("1h", timedelta(hours=1)),
        ("1d", timedelta(seconds=86_400)),
        ("250ms", timedelta(milliseconds=250)),
        ("0s", timedelta(0)),
        ("007h", timedelta(hours=7)),
    ],
)
def test_a_duration_has_a_number_and_a_unit(written: str, meant: timedelta) -> None:
    assert parse_duration(written) == meant
    assert parse_duration(meant) == meant


NO_TEXT: list[object] = [90, 1.5, None, True]
NO_UNIT = ["", "90", "s", "1H", "1w", "1h30m"]
NO_NUMBER = ["-1s", "+1s", "1.5h", "1e3s", "1 h", " 1h", "1h ", "1h\n", "\u06611h"]


@pytest.mark.parametrize("written", [*NO_TEXT, *NO_UNIT, *NO_NUMBER])
def test_anything_else_is_no_duration(written: Any) -> None:
    with pytest.raises(ValueError, match="must be a duration such as 90s, 15m, 1h or 1d"):
        parse_duration(written)


def test_a_duration_beyond_every_calendar_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than any calendar"):
        parse_duration("9" * 40 + "d")


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**12))
def test_a_duration_is_read_back_as_it_was_written(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(duration)) == duration
    assert microseconds(duration) == milliseconds * 1000


@pytest.mark.parametrize(
    ("duration", "written"),
    [
        (timedelta(0), "0s"),
        (timedelta(hours=24), "1d"),
        (timedelta(hours=36), "36h"),
        (timedelta(minutes=90), "90m"),
        (timedelta(milliseconds=1_500), "1500ms"),
    ],
)
def test_the_largest_unit_that_divides_is_written(duration: timedelta, written: str) -> None:
    assert format_duration(duration) == written


def test_a_specification_is_frozen_and_knows_its_fields() -> None:
    pause = Pause(length="1m")
    with pytest.raises(ValidationError, match="frozen"):
        pause.length = timedelta(0)  # type: ignore[misc]  # what must fail
    with pytest.raises(ValidationError, match="Extra inputs"):
        Pause.model_validate({"length": "1m", "lenght": "1m"})
    assert pause.model_dump(mode="json")["length"] == "1m"
    assert Pause.model_validate(pause.model_dump(mode="json")) == pause


def test_what_is_not_served_yet_is_refused_in_words() -> None:
    with pytest.raises(ValidationError, match="`gap` is not supported in this version; use `length`"):
        Pause.model_validate({"length": "1m", "gap": "1h"})
    assert Pause.model_validate({"length": "1m", "gap": None}).gap is None


def test_the_schema_says_how_a_duration_is_written() -> None:
    schema = TypeAdapter(Duration).json_schema()
    assert (schema["type"], schema["pattern"]) == ("string", DURATION_PATTERN)

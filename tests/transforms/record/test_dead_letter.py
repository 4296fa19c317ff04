"""Dead letters: the table they make, and the closed list of reasons."""

import re
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.record.dead_letter import KEY, REASONS, SCHEMA, dead_letters, shown

CONTRACT = """
    invalid_utf8, malformed, too_long, wrong_type, missing_field, unknown_field, out_of_range, bad_event_time,
    expression_failed, apply_failed, future, late
"""


def test_the_reasons_are_those_of_the_contract() -> None:
    assert list(REASONS) == re.findall(r"\w+", CONTRACT)
    assert all(REASONS.values())


def test_letters_are_rows_of_the_schema() -> None:
    letters = dead_letters(
        "a.csv",
        "parse",
        positions=[7, 2**60],
        reasons=["malformed", "too_long"],
        details=["", "é"],
        payloads=[b"\xff\0", None],
        event_times=[None, 1_000_000],
    )
    assert letters.schema.equals(SCHEMA)
    assert letters.to_pylist()[1] == {
        "source": "a.csv",
        "position": 2**60,
        "stage": "parse",
        "reason": "too_long",
        "detail": "é",
        "payload": None,
        "event_time": datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc),
        "attempts": 1,
        "failed_at": None,
    }
    assert letters["payload"].to_pylist()[0] == b"\xff\0"


def test_no_letters_are_an_empty_batch_of_the_schema() -> None:
    none = dead_letters("a.csv", "parse", positions=[], reasons=[], details=[], payloads=[])
    assert (none.num_rows, none.schema) == (0, SCHEMA)


def test_the_key_cannot_be_null() -> None:
    assert not any(SCHEMA.field(name).nullable for name in KEY)


@given(
    st.one_of(st.text(), st.binary(), st.integers(), st.floats(), st.none(), st.just("\ud800"), st.just("x\ny" * 99))
)
def test_a_value_is_shown_short_on_one_line_and_as_utf8(value: object) -> None:
    text = shown(value)
    assert len(text.encode()) <= 600
    assert "\n" not in text


@pytest.mark.parametrize("value, text", [("soon", "'soon'"), (1.7, "1.7"), (None, "None"), ("x" * 99, f"'{'x' * 58}…")])
def test_a_value_is_shown_as_python_writes_it(value: object, text: str) -> None:
    assert shown(value) == text

"""Texts and values: what Python's json takes is taken, and nothing else."""

import json
import re
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transforms.collection.parsing.compiled.texts import BROKEN, HALF, NUL, read_text, skip_value

ESCAPES = [
    r"\"",
    r"\\",
    r"\/",
    r"\n",
    r"\u0041",
    r"\u00e9",
    r"\u20AC",
    r"\ud83d\ude00",
    r"\u0000",
    r"\ud800",
    r"\udc00",
]
WRONG = [r"\x", r"\u12", r"\u12g4", "\\", "\t", "\0", "\x1f", r"\U0041", r"\ud83d\u", r"\ud83dx"]
parts = st.sampled_from(ESCAPES) | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=4)
inner = st.lists(parts | st.sampled_from([*ESCAPES, *WRONG]), max_size=6).map("".join)


def read(text: str) -> tuple[int, str, int]:
    """Where the text in quotes ends, what it says, and of what kind it is."""
    octets = np.frombuffer(text.encode() + b"\n", np.uint8)
    out = np.zeros(len(octets) + 3, np.uint8)
    out[:3] = 7
    found = read_text(octets, 1, out, 3)
    assert out[:3].tolist() == [7, 7, 7]
    return found.end, out[3 : found.used].tobytes().decode(), found.kind


@settings(deadline=None)  # the first call compiles
@given(inner.map(lambda text: f'"{text}"'))
@example('"\\ud83d\\ude00"')
@example('"\\ud83d\\ud83d\\ude00"')
@example('"')
def test_a_text_is_what_json_reads(text: str) -> None:
    end, said, kind = read(text)
    try:
        wanted, length = json.JSONDecoder().raw_decode(text)
    except ValueError:
        assert kind == BROKEN
        return
    assert kind != BROKEN and end == len(text[:length].encode())
    has_half = any(0xD800 <= ord(character) < 0xE000 for character in wanted)
    assert (kind == HALF) == has_half
    assert (kind == NUL) == ("\0" in wanted and not has_half)
    assert said == "".join(character for character in wanted if not 0xD800 <= ord(character) < 0xE000)


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner))
spaced = st.builds(
    lambda value, indent: re.sub("\n", "\t", json.dumps(value, indent=indent)), values, st.sampled_from([None, 1])
)
broken = st.builds(
    lambda text, place, other: text[: place % len(text)] + other + text[place % len(text) + 1 :],
    spaced,
    st.integers(0, 60),
    st.sampled_from(["", ",", "}", "]", "{", "[", ":", '"', "\\", "0", "-", "e", " ", "x", "true", "\t", "\r"]),
)


def end_of(text: str) -> int:
    octets = np.frombuffer(text.encode() + b"\n", np.uint8)
    return skip_value(octets, 0, np.zeros(len(octets), np.uint8), 0, np.zeros(len(octets), np.uint8))


def raw(text: str) -> Any:
    return json.JSONDecoder(parse_constant=lambda word: word).raw_decode(text)


@settings(deadline=None)  # the first call compiles
@given(spaced | broken)
@example("[1,]")
@example('{"a":1,}')
@example("[}")
@example('{"a" 1}')
@example("[[]")
@example("nul")
@example("-Infinity")
def test_a_value_ends_where_json_says_or_is_none(text: str) -> None:
    found = end_of(text)
    try:
        _, length = raw(text)
    except ValueError:
        assert found < 0
        assert 0 <= -1 - found <= len(text.encode())
        return
    assert found == len(text[:length].encode())


def test_nesting_is_as_deep_as_the_line_is_long() -> None:
    assert end_of("[" * 200_000 + "]" * 200_000) == 400_000
    assert end_of('{"a":' * 50_000 + "1" + "}" * 50_000) == 300_001
    assert end_of("[" * 200_000) < 0

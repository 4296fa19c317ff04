"""Numbers: the nearest float64, or none; and the grammar of JSON, no more and no less."""

import math
import random
import re
import struct
from collections.abc import Iterator

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transforms.collection.parsing.compiled.decimals import MOST_DIGITS, nearest_float64, read_number

GRAMMAR = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def nearest(text: str) -> float:
    """What the compiled code makes of a number; NaN where it cannot tell."""
    number = read_number(np.frombuffer(text.encode() + b"\n", np.uint8), 0)
    assert number.end == len(text)
    return nearest_float64(np.uint64(number.digits), number.power, number.is_negative)


def bits(number: float) -> bytes:
    return struct.pack("<d", number)


def any_float(chance: random.Random) -> float:
    while not math.isfinite(number := struct.unpack("<d", chance.randbytes(8))[0]):
        pass
    return number


def normal_floats(chance: random.Random, count: int) -> Iterator[float]:
    for _ in range(count):
        number = any_float(chance)
        if abs(number) >= 2.3e-308:
            yield number


def test_every_float_that_is_written_as_short_as_can_be_is_read_back() -> None:
    for number in normal_floats(random.Random(1), 50_000):
        assert bits(nearest(repr(number))) == bits(number)


def test_what_lies_halfway_between_two_floats_goes_to_the_even_one() -> None:
    chance = random.Random(2)
    for _ in range(50_000):
        halfway = (2 * chance.randrange(1 << 52, 1 << 53) + 1) << chance.randrange(10)
        for text in (str(halfway), str(halfway + 1), str(halfway - 1), f"{halfway}e0"):
            assert bits(nearest(text)) == bits(float(text))


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 10**MOST_DIGITS - 1), st.integers(-400, 400), st.booleans())
@example(9007199254740993, 0, False)
@example(1, 23, False)
@example(17976931348623157, 292, False)
@example(17976931348623159, 292, True)
@example(22250738585072014, -324, False)
@example(22250738585072011, -324, False)
@example(5, -324, True)
@example(0, 400, True)
@example(10**18 + 1, -22, False)
def test_a_number_is_the_nearest_float_or_none_is_given(digits: int, power: int, is_negative: bool) -> None:
    text = f"{'-' * is_negative}{digits}e{power}"
    found, wanted = nearest(text), float(text)
    if math.isnan(found):
        assert digits and (abs(wanted) < 2.3e-308 or math.isinf(wanted)), "only what is not normal is left open"
    else:
        assert bits(found) == bits(wanted)


@settings(deadline=None)  # the first call compiles
@given(st.text("0123456789.eE+-", max_size=12))
@example("-")
@example("00")
@example("-01")
@example("1.")
@example("1.e5")
@example("1e")
@example("1e+")
@example("0e0")
@example("-0.0E-0")
def test_the_longest_number_of_the_grammar_is_read_or_none(text: str) -> None:
    octets = text.encode() + b"\n"
    number = read_number(np.frombuffer(octets, np.uint8), 0)
    found = GRAMMAR.match(octets)
    if number.end >= 0:
        assert found is not None and found.end() == number.end
        assert number.is_integer == (re.fullmatch(rb"-?[0-9]+", found[0]) is not None)
        assert number.length == len(re.sub(rb"[eE].*|[^0-9]", b"", found[0]))
    else:
        assert GRAMMAR.fullmatch(octets[:-1]) is None


def test_more_digits_than_fit_are_counted() -> None:
    for count in (18, 19, 20, 400):
        assert read_number(np.frombuffer(b"1" * count + b"\n", np.uint8), 0).length == count

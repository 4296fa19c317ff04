"""Lines: a block of bytes as records."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.collection.outcome import lines_of
from transforms.collection.parsing.lines import Lines

LONGEST = 1 << 20


@settings(deadline=None)
@given(st.lists(st.binary(max_size=5).map(lambda line: line.replace(b"\n", b"")), min_size=1), st.integers(0, 1 << 40))
def test_positions_and_payloads_are_those_of_the_bytes(pieces: list[bytes], start: int) -> None:
    data = b"\n".join(pieces)
    lines = Lines(data, start)
    found = {int(position) - start: lines.payload(row) for row, position in enumerate(lines.positions)}
    assert found == lines_of(data)
    assert lines.payloads().to_pylist() == list(found.values())


def test_only_the_first_bytes_of_a_block_are_its_lines() -> None:
    lines = Lines(b"a\nb\nc\nd", 10, 4)
    assert [lines.payload(row) for row in range(len(lines))] == [b"a", b"b"]
    assert lines.positions.tolist() == [10, 12]


@pytest.mark.parametrize("line", [b"", b" ", b"\r", b"\t"])
def test_an_empty_line_is_malformed(line: bytes) -> None:
    assert Lines(b"x\n" + line + b"\ny", 0).unreadable(LONGEST) == {1: ("malformed", "the line is empty")}


def test_a_line_may_be_as_long_as_the_longest_and_no_longer() -> None:
    assert Lines(b"12345\n123456\n12345", 0).unreadable(5) == {
        1: ("too_long", "the line has 6 bytes; record.max_line is 5")
    }
    assert Lines(b"123456", 0).unreadable(5).keys() == {0}
    assert not Lines(b"12345", 0).unreadable(5)


@pytest.mark.parametrize("octets", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\x80"])
def test_a_line_that_is_no_utf8_is_found_among_others(octets: bytes) -> None:
    lines = Lines("é\n".encode() + b"a" + octets + "\n😀\n".encode(), 0)
    assert {row: reason for row, (reason, _) in lines.unreadable(LONGEST).items()} == {1: "invalid_utf8"}


def test_halves_of_a_character_in_two_lines_do_not_make_one() -> None:
    assert Lines(b"a\xc3\n\xa9b\n", 0).unreadable(LONGEST).keys() == {0, 1}


def test_a_line_both_too_long_and_no_utf8_is_too_long() -> None:
    assert Lines(b"\xff" * 9, 0).unreadable(5)[0][0] == "too_long"

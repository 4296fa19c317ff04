"""Lines: where each begins, and which are no UTF-8, as Python finds them."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from transforms.collection.parsing.lines import Lines

WORDS = [b"\n", b"a", b"abcdefg", b"\r\n", "é".encode(), "😀".encode(), b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf"]
ODD = [b"\xf4\x90\x80\x80", b"\xf0\x80\x80\x80", b"\xe0\x80\x80", b"\xe2\x82", b"\x80", "\u20ac".encode(), b"\0"]


def is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(st.sampled_from([*WORDS, *WORDS, *ODD]) | st.binary(max_size=3), max_size=40).map(b"".join), st.booleans()
)
@example(b"", False)
@example(b"\n" * 17, False)
@example(b"1234567\n", False)
@example(b"12345678\n\xff", True)
def test_lines_begin_behind_newlines_and_are_utf8_or_not(data: bytes, more: bool) -> None:
    lines = Lines(data + b"\nmore\xff" * more, 0, len(data))
    wanted = data.split(b"\n")
    wanted = wanted if wanted[-1] else wanted[:-1]
    assert [lines.payload(row) for row in range(len(lines))] == wanted
    refused = lines.unreadable(1 << 20)
    found = {row for row, (reason, _) in refused.items() if reason == "invalid_utf8"}
    assert found == {row for row, line in enumerate(wanted) if not is_utf8(line)}


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(st.binary(min_size=1, max_size=9).filter(lambda line: b"\n" not in line), min_size=1, max_size=12),
    st.data(),
)
def test_payloads_of_some_lines_are_theirs(found: list[bytes], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(found) - 1), max_size=5))
    for last in (b"", b"\n"):
        lines = Lines(b"\n".join(found) + last, 0)
        assert lines.payloads(rows).to_pylist() == [found[row] for row in rows]
        assert lines.payloads().to_pylist() == found

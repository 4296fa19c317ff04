"""The protocol without a network: what bytes say does not depend on how they are cut, and nothing breaks it."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.collector.protocol import ClientRefused, Hello, Intake, LinesSent, Said

MAX_LINE = 60

_LINE = st.one_of(
    st.binary(max_size=70),
    st.sampled_from([b"", b"\r", b"HELLO", b"HELLO ", b"HELLO {}", b'HELLO {"source": "a"}', b'HELLO {"source": 1}']),
    st.binary(max_size=20).map(lambda rest: b"HELLO " + rest),
)
STREAMS = st.lists(_LINE, max_size=12).map(b"\n".join)


def said(data: bytes, cuts: list[int], *, greeted: bool = False) -> list[Said]:
    """What a connection says that is cut there; neighbouring lines as one."""
    intake = Intake(MAX_LINE, greeted=greeted)
    merged: list[Said] = []
    for begin, end in pairwise([0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]):
        for each in intake.receive(data[begin:end]):
            if isinstance(each, LinesSent) and merged and isinstance(last := merged[-1], LinesSent):
                merged.pop()
                each = LinesSent(last.data + each.data, last.count + each.count)
            merged.append(each)
        assert intake.unfinished <= MAX_LINE
    return merged


@settings(max_examples=600, deadline=None)
@given(STREAMS, st.lists(st.integers(0, 1 << 20), max_size=30), st.booleans())
def test_what_is_said_does_not_depend_on_the_cuts(data: bytes, cuts: list[int], greeted: bool) -> None:
    whole = said(data, [], greeted=greeted)
    assert said(data, cuts, greeted=greeted) == whole
    assert said(data, list(range(len(data))), greeted=greeted) == whole


@settings(max_examples=400, deadline=None)
@given(STREAMS)
def test_lines_are_taken_as_they_are_up_to_the_first_that_is_too_long(data: bytes) -> None:
    lines = data.split(b"\n")[:-1]
    fitting = next((index for index, line in enumerate(lines) if len(line) > MAX_LINE), len(lines))
    events = said(data, [])
    if lines and lines[0].startswith(b"HELLO ") and fitting:
        assert isinstance(events[0], Hello | ClientRefused)
        return
    taken = b"".join(each.data for each in events if isinstance(each, LinesSent))
    assert taken == b"".join(line + b"\n" for line in lines[:fitting])
    assert sum(each.count for each in events if isinstance(each, LinesSent)) == fitting
    too_long = fitting < len(lines) or len(data.rsplit(b"\n")[-1]) > MAX_LINE
    assert [each.reason for each in events if isinstance(each, ClientRefused)] == ["line_too_long"] * too_long


@pytest.mark.parametrize(
    "line",
    [
        b"HELLO ",
        b"HELLO nobody",
        b"HELLO []",
        b"HELLO {}",
        b'HELLO {"source": ""}',
        b'HELLO {"source": "plain"}',
        b'HELLO {"source": "a\\nb"}',
        b'HELLO {"source": "\\ud800"}',
        b'HELLO {"source": 7}',
        b'HELLO {"source": "a", "token": 7}',
        b'HELLO {"source": "' + b"a" * 201 + b'"}',
        b'HELLO {"source": "\xff"}',
        b"HELLO " + '{"source": "a"}'.encode("utf-16-le"),
        b"HELLO " + b"[" * 4000,
        b"HELLO " + b"9" * 5000,
        b'HELLO {"source": "a"' + b" " * 5000 + b"}",
    ],
)
def test_a_hello_that_is_none_is_refused(line: bytes) -> None:
    (refusal,) = Intake(1 << 20).receive(line + b"\nrecord\n")
    assert isinstance(refusal, ClientRefused)
    assert refusal.reason == "bad_hello"
    assert refusal.line().startswith(b"ERR bad_hello ")
    assert refusal.line().count(b"\n") == 1


def test_a_hello_opens_a_session_and_what_follows_are_records() -> None:
    events = Intake(99).receive('HELLO {"source": "Tor 7 ü", "token": "t", "more": 1}\r\nHELLO {}\n\nrest'.encode())
    assert events == [Hello("Tor 7 ü", "t"), LinesSent(b"HELLO {}\n\n", 2)]


def test_a_first_line_that_only_resembles_hello_is_a_record() -> None:
    assert Intake(99).receive(b"HELLO\nHELLO {}\n") == [LinesSent(b"HELLO\nHELLO {}\n", 2)]
    assert Intake(99).receive(b"\nHELLO {}\n") == [LinesSent(b"\nHELLO {}\n", 2)]


def test_where_a_token_is_needed_the_first_line_greets() -> None:
    (refusal,) = Intake(99, greeted=True).receive(b"record\n")
    assert isinstance(refusal, ClientRefused)
    assert refusal.reason == "token_needed"


def test_the_longest_line_has_exactly_as_many_bytes_as_it_may() -> None:
    assert Intake(4).receive(b"1234\n") == [LinesSent(b"1234\n", 1)]
    assert [type(each) for each in Intake(4).receive(b"1234\n12345")] == [LinesSent, ClientRefused]
    assert [type(each) for each in Intake(4).receive(b"1234\n12345\n1\n")] == [LinesSent, ClientRefused]


def test_after_a_refusal_nothing_is_said_or_kept() -> None:
    intake = Intake(4)
    intake.receive(b"12345")
    assert intake.receive(b"1\n" * 100) == []
    assert intake.unfinished == 0

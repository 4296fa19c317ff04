"""Quotes of CSV over several lines: finds the lines inside a value that began on an earlier line.

A record is one line. If a value contains a newline inside quotes, every line of that record is refused: none of them
is the record that was written. Lines belong together only if the whole is correct by RFC 4180 from the line that
leaves a quote open: each value closes before a comma or at the end of a line, no quote is misplaced, and the whole has
at most LONGEST_JOINED bytes. A line whose quote is not closed in this way is malformed by itself, and the lines after
it are records.

This allows reading a file from any place: if lines are joined across a place, then the text after it, read as the
inside of a quoted value, closes correctly. It seldom does; only then are the bytes before the place examined.
"""

import re
from collections.abc import Callable, Iterator
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from transforms.record.arrays import Octets

LONGEST_JOINED: Final = 1 << 20
"""The most bytes of a record over several lines: a quote that stays open for longer is a mistake."""

_STEP: Final = 1 << 16
_QUOTE, _NEWLINE = b'"\n'
_NEXT_TO_QUOTES = np.isin(np.arange(256), list(b'",\r\n'))
_SPECIAL: Final = re.compile(rb'[",\n]')
_BOM: Final = b"\xef\xbb\xbf"
_WRONG, _UNKNOWN = 0, -1

Rows = npt.NDArray[np.intp]


def quoted_lines(octets: Octets, starts: npt.NDArray[np.integer]) -> tuple[Rows, Rows, npt.NDArray[np.bool_], Rows]:
    """The quotes of a block and of its lines.

    Returns:
        The places of the quotes; the number of quotes before each line; whether each line has an odd number of
        them; and the lines with a quote inside a value, or with text after a quoted one.
    """
    quotes = np.flatnonzero(octets == _QUOTE)
    first = np.searchsorted(quotes, starts)
    counts = np.diff(first, append=len(quotes))
    closing = (np.arange(len(quotes)) - np.repeat(first, counts)) & 1
    # A quote at the block's edge has no outer neighbour; clipping yields the quote itself, which is allowed there.
    outer = np.take(octets, quotes - 1 + 2 * closing, mode="clip")
    astray = np.unique(np.searchsorted(starts, quotes[~_NEXT_TO_QUOTES[outer]], side="right") - 1)
    return quotes, first, counts % 2 == 1, astray


def joined(data: bytes, offsets: npt.NDArray[np.integer], suspects: Rows) -> Iterator[tuple[int, int]]:
    """The ranges of lines that form one record: (its first line's start, its last line's end).

    Args:
        data: begins and ends with a record.
        offsets: where each line begins, and the last one ends.
        suspects: lines that may leave a quote open.
    """
    free, size = 0, int(offsets[-1])
    for row in suspects.tolist():
        start, end = int(offsets[row]), int(offsets[row + 1])
        if start >= free and _leaves_open(data, start, end):
            stop = _end_of_inside(data, end, min(size, start + LONGEST_JOINED), is_all=size <= start + LONGEST_JOINED)
            if stop > 0:
                yield start, stop
                free = stop


def bytes_joined(block: bytes, size: int, ahead: bytes, read: Callable[[int], bytes]) -> tuple[bytes, int]:
    """How many of the bytes after a block belong to its last record.

    Args:
        block: begins with a record; its first `size` bytes are the block.
        ahead: the bytes after the block that have been read.
        read: reads further bytes.

    Returns:
        The bytes after the block that have been read by now, and how many of them belong to the block.
    """
    if block.rfind(b'"', max(0, size - LONGEST_JOINED), size) < 0:
        return ahead, 0
    ahead, end = _look_ahead(ahead, read)
    return ahead, _joined_across(block[:size], ahead[:end]) if end > 0 else 0


def first_record(file: IO[bytes], start: int, ahead: bytes) -> tuple[int, bytes]:
    """The start of the first record that begins at or after `start`, which is the start of a line.

    Args:
        ahead: the bytes after `start` that have been read; `file` is positioned after them.

    Returns:
        The place, and the bytes after it that have been read by now.
    """
    ahead, end = _look_ahead(ahead, file.read)
    if end <= 0:
        return start, ahead
    reach, known = _STEP, -1
    while known < 0:
        begin = max(0, start - reach)
        file.seek(begin)
        before = file.read(start - begin)
        if not begin:
            known = len(_BOM) if before.startswith(_BOM) else 0
        elif (line := before.find(b"\n") + 1) and _is_outside(before + ahead, line):
            known = line
        reach *= 2
    file.seek(start + len(ahead))
    count = _joined_across(before[known:], ahead[:end])
    return start + count, ahead[count:]


def _is_outside(data: bytes, line: int) -> bool:
    """Whether a line that begins there is outside quotes for certain, whatever came before."""
    limit = line + LONGEST_JOINED
    end = _end_of_inside(data, line, min(limit, len(data)), is_all=False)
    return end == _WRONG or (end == _UNKNOWN and limit <= len(data))


def _look_ahead(ahead: bytes, read: Callable[[int], bytes]) -> tuple[bytes, int]:
    """Reads on until the end of a quoted value that contains the start of `ahead` is known; 0: there is none."""
    is_all = False
    while True:
        end = _end_of_inside(ahead, 0, min(len(ahead), LONGEST_JOINED), is_all=is_all)
        if end != _UNKNOWN or is_all or len(ahead) >= LONGEST_JOINED:
            return ahead, max(end, 0)
        more = read(max(_STEP, len(ahead)))
        is_all, ahead = not more, ahead + more


def _joined_across(before: bytes, after: bytes) -> int:
    """How many bytes of `after`, all or none, belong to the last record of `before`, which begins with a record."""
    data = before + after
    octets = np.frombuffer(data, np.uint8)
    offsets = np.concatenate([[0], np.flatnonzero(octets == _NEWLINE) + 1])
    if offsets[-1] < len(data):
        offsets = np.append(offsets, len(data))
    _, _, odd, astray = quoted_lines(octets, offsets[:-1])
    suspects = np.union1d(np.flatnonzero(odd), astray)
    size = len(before)
    return next((stop - size for start, stop in joined(data, offsets, suspects) if start < size < stop), 0)


def _leaves_open(data: bytes, start: int, end: int) -> bool:
    """Whether a line that begins outside quotes ends inside them."""
    opening = start if data[start] == _QUOTE else _opening(data, start, end)
    while opening >= 0:
        closing = _closing(data, opening + 1, end)
        if closing < 0:
            return True
        opening = _opening(data, closing + 1, end)
    return False


def _opening(data: bytes, at: int, end: int) -> int:
    """The next quote that begins a value; -1: there is none before `end`."""
    comma = data.find(b',"', at, end)
    return comma + 1 if comma >= 0 else -1


def _end_of_inside(data: bytes, start: int, end: int, *, is_all: bool) -> int:
    """The end of the record, correct from there on, in which `start` is inside a quoted value.

    Args:
        is_all: whether nothing follows `end`.

    Returns:
        The beginning of the line after it; `_WRONG`: there is none; `_UNKNOWN`: only bytes after `end` decide.
    """
    at, lacking = start, _WRONG if is_all else _UNKNOWN
    while True:
        close = _closing(data, at, end)
        if close < 0:
            return lacking
        after = data[close + 1 : min(close + 3, end)]
        if after in (b"", b"\r") and not is_all:
            return lacking
        if after[:1] == b"\n":
            return close + 2
        if after in (b"\r\n", b"\r", b""):
            return close + 1 + len(after)
        if after[:1] != b",":
            return _WRONG
        at = close + 2
        while data[at : at + 1] != b'"' or at >= end:
            special = _SPECIAL.search(data, at, end)
            if special is None:
                return end if is_all else _UNKNOWN
            if special[0] == b'"':
                return _WRONG
            at = special.end()
            if special[0] == b"\n":
                return at
        at += 1


def _closing(data: bytes, at: int, end: int) -> int:
    """The quote that closes a value whose inside begins at `at`; -1: there is none before `end`."""
    while True:
        at = data.find(b'"', at, end)
        if at < 0 or data[at + 1 : min(at + 2, end)] != b'"':
            return at
        at += 2

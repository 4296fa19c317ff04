"""Finds where lines begin, and the lines that are not UTF-8."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy import uint64

from transforms.collection.parsing.compiled import compiled
from transforms.collection.parsing.compiled.characters import NEWLINE
from transforms.record.arrays import Ints, Octets

_NONE, _ONES, _HIGHS = uint64(0), uint64(0x0101010101010101), uint64(0x8080808080808080)
_NEWLINES = uint64(0x0A0A0A0A0A0A0A0A)


class Found(NamedTuple):
    """The number of newlines, and the number of lines that are not UTF-8."""

    newlines: int
    unreadable: int


@compiled
def find_lines(octets: Octets, words: npt.NDArray[np.uint64], starts: Ints, unreadable: Ints) -> Found:
    """Writes the start of each line but the first to `starts`, and the lines that are not UTF-8 to `unreadable`.

    Args:
        words: the octets in groups of eight, as many as are full; most hold no newline and only ASCII.
    """
    newlines = odd = 0
    begin = 0
    is_ascii = True
    for word in range(len(words) + 1):
        first = word * 8
        last = len(octets)
        if word < len(words):
            eight = words[word]
            ends = eight ^ _NEWLINES
            if ((ends - _ONES) & ~ends | eight) & _HIGHS == _NONE:
                continue
            last = first + 8
        for at in range(first, last):
            octet = octets[at]
            if octet == NEWLINE:
                if not is_ascii and not _is_utf8(octets, begin, at):
                    unreadable[odd] = newlines
                    odd += 1
                starts[newlines] = begin = at + 1
                newlines += 1
                is_ascii = True
            elif octet >= 0x80:
                is_ascii = False
    if not is_ascii and not _is_utf8(octets, begin, len(octets)):
        unreadable[odd] = newlines
        odd += 1
    return Found(newlines, odd)


@compiled
def _is_utf8(octets: Octets, at: int, end: int) -> bool:
    """Whether octets are UTF-8. Source: The Unicode Standard 15.0, table 3-7."""
    while at < end:
        octet = octets[at]
        at += 1
        if octet < 0x80:
            continue
        low, high, more = 0x80, 0xBF, 0
        if 0xC2 <= octet <= 0xDF:
            more = 1
        elif 0xE0 <= octet <= 0xEF:
            more = 2
            low = 0xA0 if octet == 0xE0 else low
            high = 0x9F if octet == 0xED else high
        elif 0xF0 <= octet <= 0xF4:
            more = 3
            low = 0x90 if octet == 0xF0 else low
            high = 0x8F if octet == 0xF4 else high
        if more == 0 or at + more > end or not low <= octets[at] <= high:
            return False
        for place in range(at + 1, at + more):
            if not 0x80 <= octets[place] <= 0xBF:
                return False
        at += more
    return True

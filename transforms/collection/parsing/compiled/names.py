"""The names of fields, and their columns."""

from typing import NamedTuple

import numpy as np

from transforms.collection.parsing.compiled import compiled, inlined
from transforms.collection.parsing.compiled.characters import QUOTE
from transforms.collection.parsing.compiled.columns import USED, Notes, Wanted
from transforms.collection.parsing.compiled.texts import BROKEN, HALF, broken_at, read_text
from transforms.record.arrays import Longs, Octets


class Name(NamedTuple):
    """The end of a name, or `broken_at`, and its column; -1: none."""

    end: int
    column: int


@inlined
def read_name(octets: Octets, at: int, place: int, wanted: Wanted, notes: Notes) -> Name:
    """Reads the name at `at`, which belongs to the `place`th field of its record."""
    place = min(place, len(notes.known) - 1)
    begin, length = notes.known[place, 0], notes.known[place, 1]
    same = 0
    while same < length and octets[at + same] == octets[begin + same]:
        same += 1
    if length and same == length:
        return Name(at + length, notes.known[place, 2])
    if octets[at] != QUOTE:
        return Name(broken_at(at), -1)
    first = notes.counts[USED]
    name = read_text(octets, at + 1, notes.texts, first)
    if name.kind == BROKEN:
        return Name(broken_at(name.end), -1)
    column = -1 if name.kind == HALF else _find(notes.texts, first, name.used, wanted)
    notes.known[place, 0], notes.known[place, 1], notes.known[place, 2] = at, name.end - at, column
    return Name(name.end, column)


@inlined
def _find(texts: Octets, begin: int, end: int, wanted: Wanted) -> int:
    """The number of the name that equals a text; -1: none."""
    mask = len(wanted.slots) - 1
    slot = hashed(texts, begin, end) & mask
    found = -1
    while found < 0 and wanted.slots[slot] >= 0:
        column = wanted.slots[slot]
        first = wanted.name_ends[column - 1] if column else 0
        last = wanted.name_ends[column]
        same = 0
        while first + same < last and begin + same < end and wanted.names[first + same] == texts[begin + same]:
            same += 1
        if first + same == last and begin + same == end:
            found = column
        slot = (slot + 1) & mask
    return found


@compiled
def hashed(octets: Octets, begin: int, end: int) -> int:
    """A non-negative hash of some octets. Source: Fowler, Noll, Vo, "FNV-1a", 64 bits (RFC 9923)."""
    bits = np.uint64(0xCBF29CE484222325)
    for at in range(begin, end):
        bits = (bits ^ np.uint64(octets[at])) * np.uint64(0x100000001B3)
    return np.int64((bits ^ (bits >> np.uint64(32))) & np.uint64(0x7FFFFFFF))


@compiled
def fill_slots(names: Octets, name_ends: Longs, slots: Longs) -> None:
    """Enters every name into a hash table that holds -1 and has free room; its length is a power of two."""
    first = 0
    for column in range(len(name_ends)):
        slot = hashed(names, first, name_ends[column]) & (len(slots) - 1)
        while slots[slot] >= 0:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = column
        first = name_ends[column]

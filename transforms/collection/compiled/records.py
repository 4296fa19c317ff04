"""JSON lines as columns: every byte is looked at once, and every line judged by itself."""

from typing import NamedTuple

import numpy as np

from transforms.arrays import Ints, Longs, Octets
from transforms.collection.compiled import compiled, inlined
from transforms.collection.compiled.characters import CLOSE, COLON, COMMA, NEWLINE, OPEN, QUOTE
from transforms.collection.compiled.columns import PENDING, REMEMBERED, SPARE, Columns, Notes, Wanted, set_null
from transforms.collection.compiled.fields import read_field
from transforms.collection.compiled.texts import BROKEN, broken_at, read_text, skip_space, skip_value
from transforms.collection.compiled.verdicts import GOOD, MISSING, NO_JSON, NO_OBJECT, UNKNOWN


class _Name(NamedTuple):
    """Where a name ends, or `broken_at`, and its column, -1: none."""

    end: int
    column: int


class _Record(NamedTuple):
    """What became of a line, and what `faults` has of it."""

    verdict: int
    column: int
    begin: int
    end: int


@compiled
def read_records(octets: Octets, starts: Ints, verdicts: Octets, wanted: Wanted, columns: Columns, notes: Notes) -> int:
    """Reads the lines that `starts` bounds into columns; returns how many are not refused.

    Every line ends in a newline and, unless its entry in `verdicts` is SKIPPED, holds UTF-8. The other entries are
    GOOD, and turn into what became of the line.
    """
    rows, refused = 0, 0
    for line in range(len(starts) - 1):
        if verdicts[line] != GOOD:
            continue
        pending, spare = notes.counts[PENDING], notes.counts[SPARE]
        record = _read_record(octets, np.int64(starts[line]), line, rows, wanted, columns, notes)
        if record.verdict == GOOD:
            for text_row in range(len(columns.texts)):
                columns.text_ends[text_row, rows + 1] = columns.used[text_row]
            columns.lines[rows] = line
            rows += 1
            continue
        verdicts[line] = record.verdict
        notes.faults[refused, 0] = record.column
        notes.faults[refused, 1] = record.begin
        notes.faults[refused, 2] = record.end
        refused += 1
        notes.counts[PENDING], notes.counts[SPARE] = pending, spare
        for text_row in range(len(columns.texts)):
            columns.used[text_row] = columns.text_ends[text_row, rows]
        for column in range(len(wanted.kinds)):
            columns.is_null[column, rows] = False
    return rows


@inlined
def _read_record(
    octets: Octets, start: int, line: int, row: int, wanted: Wanted, columns: Columns, notes: Notes
) -> _Record:
    at = skip_space(octets, start)
    if octets[at] != OPEN:
        return _Record(NO_OBJECT, -1, at, at)
    at = skip_space(octets, at + 1)
    verdict, wrong_column, wrong_begin, wrong_end = GOOD, -1, start, start
    place = seen = 0
    is_open = octets[at] != CLOSE
    while is_open:
        name_begin = at
        name = _read_name(octets, at, place, wanted, notes)
        if name.end < 0:
            return _no_json(broken_at(name.end))
        place = min(place + 1, REMEMBERED - 1)
        at = skip_space(octets, name.end)
        if octets[at] != COLON:
            return _no_json(at)
        at = skip_space(octets, at + 1)
        column, fault, begin = name.column, GOOD, at
        if column < 0 or notes.seen_in[column] == line:
            end = skip_value(octets, at, notes.spare, notes.counts[SPARE], notes.nesting)
            if column < 0 and wanted.is_strict:
                fault, begin, at = UNKNOWN, name_begin, name.end
        else:
            notes.seen_in[column] = line
            seen += 1
            field = read_field(octets, at, row, column, wanted, columns, notes)
            at = end = field.end
            fault = field.fault
        if end < 0:
            return _no_json(broken_at(end))
        if fault and not verdict:
            verdict, wrong_column, wrong_begin, wrong_end = fault, column, begin, at
        at = skip_space(octets, end)
        is_open = octets[at] == COMMA
        if is_open:
            at = skip_space(octets, at + 1)
    if octets[at] != CLOSE:
        return _no_json(at)
    at = skip_space(octets, at + 1)
    if octets[at] != NEWLINE:
        return _no_json(at)
    if seen < len(wanted.kinds):
        for column in range(len(wanted.kinds)):
            if notes.seen_in[column] != line:
                set_null(columns, column, row)
                if wanted.is_required[column] and not verdict:
                    verdict, wrong_column = MISSING, column
    return _Record(verdict, wrong_column, wrong_begin, wrong_end)


@inlined
def _no_json(at: int) -> _Record:
    return _Record(NO_JSON, -1, at, at)


@inlined
def _read_name(octets: Octets, at: int, place: int, wanted: Wanted, notes: Notes) -> _Name:
    """The field's column. Records mostly have the fields of the one before, in its order and spelling."""
    begin, length = notes.known[place, 0], notes.known[place, 1]
    same = 0
    while same < length and octets[at + same] == octets[begin + same]:
        same += 1
    if length and same == length:
        return _Name(at + length, notes.known[place, 2])
    if octets[at] != QUOTE:
        return _Name(broken_at(at), -1)
    first = notes.counts[SPARE]
    name = read_text(octets, at + 1, notes.spare, first)
    if name.kind == BROKEN:
        return _Name(broken_at(name.end), -1)
    column = _find(notes.spare, first, name.used, wanted.names, wanted.name_ends)
    notes.known[place, 0], notes.known[place, 1], notes.known[place, 2] = at, name.end - at, column
    return _Name(name.end, column)


@compiled
def _find(texts: Octets, begin: int, end: int, names: Octets, name_ends: Longs) -> int:
    """Which of the names a text is, -1: none."""
    first = 0
    for column in range(len(name_ends)):
        last = name_ends[column]
        if last - first == end - begin:
            same = 0
            while first + same < last and names[first + same] == texts[begin + same]:
                same += 1
            if first + same == last:
                return column
        first = last
    return -1

"""JSON lines as columns: every byte is looked at once, and every line judged by itself."""

from typing import NamedTuple

import numpy as np

from transforms.collection.compiled import compiled, inlined
from transforms.collection.compiled.columns import REMEMBERED, Columns, Ints, Longs, Notes, Octets, Wanted, set_null
from transforms.collection.compiled.texts import (
    BROKEN,
    CLOSE,
    COLON,
    COMMA,
    NEWLINE,
    OPEN,
    QUOTE,
    read_text,
    skip_space,
    skip_value,
)
from transforms.collection.compiled.values import read_value
from transforms.collection.compiled.verdicts import GOOD, MISSING, NO_JSON, NO_OBJECT, UNKNOWN


class Read(NamedTuple):
    """How many lines are not refused, and where the pending values end."""

    rows: int
    pending: int


class _Name(NamedTuple):
    """Where a name ends (-1 - place: it breaks there), and its column, -1: none."""

    end: int
    column: int


class _Record(NamedTuple):
    """What became of a line, how many values are pending then, and what `faults` has of it."""

    verdict: int
    waiting: int
    column: int
    begin: int
    end: int


@compiled
def read_records(
    octets: Octets, starts: Ints, verdicts: Octets, wanted: Wanted, columns: Columns, notes: Notes
) -> Read:
    """Reads the lines that `starts` bounds into columns, and writes what became of them to `verdicts`.

    Every line ends in a newline and, unless its verdict is SKIPPED, holds UTF-8.
    """
    rows, waiting, refused = 0, 1, 0
    for line in range(len(starts) - 1):
        if verdicts[line] != GOOD:
            continue
        record = _read_record(octets, np.int64(starts[line]), line, rows, wanted, columns, notes, waiting)
        if record.verdict == GOOD:
            for text in range(len(columns.texts)):
                columns.text_ends[text, rows + 1] = columns.used[text]
            columns.lines[rows] = line
            rows += 1
            waiting = record.waiting
        else:
            verdicts[line] = record.verdict
            notes.faults[refused, 0] = record.column
            notes.faults[refused, 1] = record.begin
            notes.faults[refused, 2] = record.end
            refused += 1
            for text in range(len(columns.texts)):
                columns.used[text] = columns.text_ends[text, rows]
            for column in range(len(wanted.kinds)):
                columns.is_null[column, rows] = False
    return Read(rows, waiting)


@inlined
def _read_record(
    octets: Octets, start: int, line: int, row: int, wanted: Wanted, columns: Columns, notes: Notes, waiting: int
) -> _Record:
    at = skip_space(octets, start)
    if octets[at] != OPEN:
        return _Record(NO_OBJECT, waiting, -1, at, at)
    at = skip_space(octets, at + 1)
    verdict, wrong_column, wrong_begin, wrong_end = GOOD, -1, start, start
    field = seen = 0
    is_open = octets[at] != CLOSE
    while is_open:
        if octets[at] != QUOTE:
            return _Record(NO_JSON, waiting, -1, at, at)
        name_begin = at
        name = _read_name(octets, at, field, wanted, notes, waiting)
        if name.end < 0:
            return _Record(NO_JSON, waiting, -1, -1 - name.end, start)
        field = min(field + 1, REMEMBERED - 1)
        at = skip_space(octets, name.end)
        if octets[at] != COLON:
            return _Record(NO_JSON, waiting, -1, at, at)
        at = skip_space(octets, at + 1)
        column, fault, begin = name.column, GOOD, at
        if column < 0 or notes.seen_in[column] == line:
            end = skip_value(octets, at, notes.spare, notes.pending[waiting - 1, 2], notes.nesting)
            if column < 0 and wanted.is_strict:
                fault, begin, at = UNKNOWN, name_begin, name.end
        else:
            notes.seen_in[column] = line
            seen += 1
            value = read_value(octets, at, row, column, wanted, columns, notes, waiting)
            at = end = value.end
            fault, waiting = value.fault, value.waiting
        if end < 0:
            return _Record(NO_JSON, waiting, -1, -1 - end, start)
        if fault and not verdict:
            verdict, wrong_column, wrong_begin, wrong_end = fault, column, begin, at
        at = skip_space(octets, end)
        is_open = octets[at] == COMMA
        if is_open:
            at = skip_space(octets, at + 1)
    if octets[at] != CLOSE:
        return _Record(NO_JSON, waiting, -1, at, at)
    at = skip_space(octets, at + 1)
    if octets[at] != NEWLINE:
        return _Record(NO_JSON, waiting, -1, at, at)
    if seen < len(wanted.kinds):
        for column in range(len(wanted.kinds)):
            if notes.seen_in[column] != line:
                set_null(columns, column, row)
                if wanted.is_required[column] and not verdict:
                    verdict, wrong_column = MISSING, column
    return _Record(verdict, waiting, wrong_column, wrong_begin, wrong_end)


@inlined
def _read_name(octets: Octets, at: int, field: int, wanted: Wanted, notes: Notes, waiting: int) -> _Name:
    """The field's column. Records mostly have the fields of the one before, in its order and spelling."""
    begin, length = notes.known[field, 0], notes.known[field, 1]
    same = 0
    while same < length and octets[at + same] == octets[begin + same]:
        same += 1
    if length and same == length:
        return _Name(at + length, notes.known[field, 2])
    first = notes.pending[waiting - 1, 2]
    name = read_text(octets, at + 1, notes.spare, first)
    if name.kind == BROKEN:
        return _Name(-1 - name.end, -1)
    column = _find(notes.spare, first, name.used, wanted.names, wanted.name_ends)
    notes.known[field, 0], notes.known[field, 1], notes.known[field, 2] = at, name.end - at, column
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

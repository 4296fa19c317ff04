"""JSON lines as columns: each byte is read once, and each line is judged independently."""

from typing import NamedTuple

import numpy as np

from transforms.collection.parsing.compiled import compiled, inlined
from transforms.collection.parsing.compiled.characters import CLOSE, COLON, COMMA, NEWLINE, OPEN
from transforms.collection.parsing.compiled.columns import PENDING, REFUSED, USED, Columns, Notes, Wanted, set_null
from transforms.collection.parsing.compiled.fields import read_field
from transforms.collection.parsing.compiled.names import read_name
from transforms.collection.parsing.compiled.texts import broken_at, skip_space, skip_value
from transforms.collection.parsing.compiled.verdicts import GOOD, MISSING, NO_JSON, NO_OBJECT, UNKNOWN
from transforms.record.arrays import Ints, Octets


class Read(NamedTuple):
    """The next line to read, and the number of rows that are filled."""

    line: int
    rows: int


class _Record(NamedTuple):
    """The verdict on a line, and its entry in `faults`."""

    verdict: int
    column: int
    begin: int
    end: int


@compiled
def read_records(
    octets: Octets, starts: Ints, line: int, verdicts: Octets, wanted: Wanted, columns: Columns, notes: Notes
) -> Read:
    """Reads the lines bounded by `starts`, from `line`, into columns until these are full.

    Every line ends in a newline and, unless its entry in `verdicts` is SKIPPED, holds UTF-8. The other entries are GOOD
    at first, and are replaced by the verdicts.
    """
    rows = 0
    while line < len(starts) - 1:
        if verdicts[line] == GOOD:
            if rows == len(columns.lines):
                break
            used, pending = notes.counts[USED], notes.counts[PENDING]
            record = _read_record(octets, np.int64(starts[line]), line, rows, wanted, columns, notes)
            if record.verdict == GOOD:
                columns.lines[rows] = line
                rows += 1
            else:
                verdicts[line] = record.verdict
                entry = notes.counts[REFUSED]
                notes.faults[entry, 0] = record.column
                notes.faults[entry, 1] = record.begin
                notes.faults[entry, 2] = record.end
                notes.counts[USED], notes.counts[PENDING], notes.counts[REFUSED] = used, pending, entry + 1
                for column in range(len(wanted.kinds)):
                    columns.is_null[column, rows] = False
        line += 1
    return Read(line, rows)


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
        name = read_name(octets, at, place, wanted, notes)
        if name.end < 0:
            return _no_json(broken_at(name.end))
        place += 1
        at = skip_space(octets, name.end)
        if octets[at] != COLON:
            return _no_json(at)
        at = skip_space(octets, at + 1)
        column, fault, begin = name.column, GOOD, at
        if column < 0 or notes.seen_in[column] == line:
            end = skip_value(octets, at, notes.texts, notes.counts[USED], notes.nesting)
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
                set_null(wanted, columns, column, row)
                if wanted.is_required[column] and not verdict:
                    verdict, wrong_column = MISSING, column
    return _Record(verdict, wrong_column, wrong_begin, wrong_end)


@inlined
def _no_json(at: int) -> _Record:
    return _Record(NO_JSON, -1, at, at)

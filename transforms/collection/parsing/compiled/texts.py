"""JSON's texts, words and white space; and values of unwanted fields."""

from typing import NamedTuple

from transforms.collection.parsing.compiled import compiled, inlined
from transforms.collection.parsing.compiled.characters import (
    COLON,
    COMMA,
    ESCAPE,
    MINUS,
    NEWLINE,
    OPEN,
    OPEN_LIST,
    QUOTE,
    RETURN,
    SPACE,
    TAB,
    TO_CLOSING,
    TO_SMALL,
)
from transforms.collection.parsing.compiled.decimals import read_number
from transforms.record.arrays import Ints, Octets

TRUE, FALSE, NULL, NOT_FINITE = 1, 2, 3, 4
"""The words that are values; the last is NaN or an infinity, which JSON lacks."""

PLAIN, HALF, NUL, BROKEN = range(4)
"""A text; one with half a surrogate pair; one with U+0000; not a text."""


class Text(NamedTuple):
    """A text: its end, how much of `out` is then used, and PLAIN, HALF, NUL or BROKEN (`end` says where)."""

    end: int
    used: int
    kind: int


class Word(NamedTuple):
    """A word: its end, and which word; 0: none."""

    end: int
    word: int


@inlined
def broken_at(place: int) -> int:
    """Encodes the place of an error as a value that is not a valid end; applied to such a value, returns the place."""
    return -1 - place


@compiled
def skip_space(octets: Octets, at: int) -> int:
    """The end of JSON's white space within a line."""
    while octets[at] == SPACE or octets[at] == TAB or octets[at] == RETURN:
        at += 1
    return at


@compiled
def trimmed(octets: Octets, begin: int, end: int) -> tuple[int, int]:
    """The begin and end of a text without the JSON white space around it."""
    while begin < end and _is_space(octets[begin]):
        begin += 1
    while begin < end and _is_space(octets[end - 1]):
        end -= 1
    return begin, end


@compiled
def _is_space(octet: int) -> bool:
    return octet in (SPACE, TAB, RETURN, NEWLINE)


@compiled
def read_text(octets: Octets, at: int, out: Octets, used: int) -> Text:
    """Appends the text whose opening quote is before `at` to `out`, after its used part, as UTF-8."""
    kind = PLAIN
    while True:
        octet = octets[at]
        if octet == QUOTE:
            return Text(at + 1, used, kind)
        if octet < 0x20:
            return Text(at, used, BROKEN)
        if octet != ESCAPE:
            out[used] = octet
            used += 1
            at += 1
            continue
        at += 1
        short = _short_escape(octets[at])
        if short:
            out[used] = short
            used += 1
            at += 1
            continue
        point = _hex(octets, at)
        if point < 0:
            return Text(at, used, BROKEN)
        at += 5
        if 0xD800 <= point < 0xE000:
            lower = _hex(octets, at + 1) if octets[at] == ESCAPE else -1
            if point >= 0xDC00 or not 0xDC00 <= lower < 0xE000:
                kind = HALF
                continue
            at += 6
            point = 0x10000 + ((point - 0xD800) << 10) + (lower - 0xDC00)
        if point == 0 and kind == PLAIN:
            kind = NUL
        used = _write(point, out, used)


@compiled
def _short_escape(octet: int) -> int:
    """The character that a backslash and this octet mean; 0: none."""
    if octet in (QUOTE, ESCAPE, ord("/")):
        return octet
    if octet == ord("n"):
        return ord("\n")
    if octet == ord("t"):
        return ord("\t")
    if octet == ord("r"):
        return ord("\r")
    if octet == ord("b"):
        return ord("\b")
    if octet == ord("f"):
        return ord("\f")
    return 0


@compiled
def _hex(octets: Octets, at: int) -> int:
    """The number that `u` and four hexadecimal digits write; -1 if they are something else."""
    if octets[at] != ord("u"):
        return -1
    number = 0
    for place in range(at + 1, at + 5):
        octet = octets[place]
        if ord("0") <= octet <= ord("9"):
            digit = int(octet) - ord("0")
        elif ord("a") <= octet | 0x20 <= ord("f"):
            digit = int(octet | 0x20) - ord("a") + 10
        else:
            return -1
        number = number * 16 + digit
    return number


@compiled
def _write(point: int, out: Octets, used: int) -> int:
    """Writes a character as UTF-8; returns how much is then used."""
    if point < 0x80:
        out[used] = point
        return used + 1
    if point < 0x800:
        out[used] = 0xC0 | point >> 6
        out[used + 1] = 0x80 | point & 0x3F
        return used + 2
    if point < 0x10000:
        out[used] = 0xE0 | point >> 12
        out[used + 1] = 0x80 | point >> 6 & 0x3F
        out[used + 2] = 0x80 | point & 0x3F
        return used + 3
    out[used] = 0xF0 | point >> 18
    out[used + 1] = 0x80 | point >> 12 & 0x3F
    out[used + 2] = 0x80 | point >> 6 & 0x3F
    out[used + 3] = 0x80 | point & 0x3F
    return used + 4


@compiled
def read_word(octets: Octets, at: int) -> Word:
    """Reads `true`, `false`, `null`, or any spelling of NaN or an infinity."""
    if _spells(octets, at, b"true", 0):
        return Word(at + 4, TRUE)
    if _spells(octets, at, b"false", 0):
        return Word(at + 5, FALSE)
    if _spells(octets, at, b"null", 0):
        return Word(at + 4, NULL)
    if octets[at] == MINUS:
        at += 1
    if _spells(octets, at, b"nan", TO_SMALL):
        return Word(at + 3, NOT_FINITE)
    if _spells(octets, at, b"infinity", TO_SMALL):
        return Word(at + 8, NOT_FINITE)
    if _spells(octets, at, b"inf", TO_SMALL):
        return Word(at + 3, NOT_FINITE)
    return Word(at, 0)


@compiled
def _spells(octets: Octets, at: int, word: bytes, also: int) -> bool:
    """Whether this word is at `at`; `also` is a bit in which its letters may differ."""
    same = 0
    while same < len(word) and octets[at + same] | also == word[same]:
        same += 1
    return same == len(word)


@compiled
def skip_value(octets: Octets, at: int, scratch: Octets, used: int, nesting: Octets) -> int:
    """The end of the value that begins at `at`, or `broken_at`.

    Args:
        scratch: receives texts after its used part.
        nesting: receives the open brackets; at least as long as the line.
    """
    depth = 0
    while True:
        # A value begins here.
        octet = octets[at]
        if octet in (OPEN, OPEN_LIST):
            nesting[depth] = octet
            depth += 1
            at = skip_space(octets, at + 1)
            if octets[at] != octet + TO_CLOSING:
                if octet == OPEN:
                    at = _skip_name(octets, at, scratch, used)
                    if at < 0:
                        return at
                continue
        elif octet == QUOTE:
            text = read_text(octets, at + 1, scratch, used)
            if text.kind == BROKEN:
                return broken_at(text.end)
            at = text.end
        else:
            number = read_number(octets, at)
            if number.end >= 0:
                at = number.end
            else:
                word = read_word(octets, at)
                if not word.word:
                    return broken_at(at)
                at = word.end
        # A value, or the beginning of an empty object or list, ended here.
        while True:
            if not depth:
                return at
            at = skip_space(octets, at)
            opened = nesting[depth - 1]
            if octets[at] == COMMA:
                at = skip_space(octets, at + 1)
                if opened == OPEN:
                    at = _skip_name(octets, at, scratch, used)
                    if at < 0:
                        return at
                break
            if octets[at] != opened + TO_CLOSING:
                return broken_at(at)
            depth -= 1
            at += 1


@compiled
def _skip_name(octets: Octets, at: int, scratch: Octets, used: int) -> int:
    """The begin of the value of the field whose name begins at `at`, or `broken_at`."""
    if octets[at] != QUOTE:
        return broken_at(at)
    name = read_text(octets, at + 1, scratch, used)
    if name.kind == BROKEN:
        return broken_at(name.end)
    at = skip_space(octets, name.end)
    if octets[at] != COLON:
        return broken_at(at)
    return skip_space(octets, at + 1)


@compiled
def gather_texts(texts: Octets, begins: Ints, ends: Ints, out: Octets) -> None:
    """Writes texts one after the other; `ends` has the end of each in `out`, whose length is the last end."""
    at = 0
    for entry in range(len(begins)):
        source = begins[entry]
        while at < ends[entry]:
            out[at] = texts[source]
            at += 1
            source += 1

"""CSV: every line by itself, quotes as in RFC 4180."""

import re
import timeit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.transforms.collection.outcome import TIME, dead, good, lines_of, parse, reasons, schema_of
from transforms.collection.parsing.csv_lines import header_of

SCHEMA = schema_of({TIME: "int64?", "a": "string", "b": "string?"})
HEADER = (TIME, "a", "b")
QUOTED = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\r]*))(,|$)')


def fields_of(line: str) -> list[str] | None:
    """RFC 4180 once more: the fields of a line, or None where it is no CSV."""
    fields, place = [], 0
    while True:
        match = QUOTED.match(line, place)
        if match is None:
            return None
        fields.append(match[2] if match[1] is None else match[1].replace('""', '"'))
        place = match.end()
        if match[3] == "":
            return fields if place == len(line) else None


OPEN = re.compile(r'(?:(?:"(?:[^"]|"")*"(?!")[^,]*|(?!")[^,]*),)*"(?:[^"]|"")*')
REST = re.compile(r'(?:[^"]|"")*"(?!")(?:,(?:"(?:[^"]|"")*"(?!")|(?!")[^",\n]*))*\r?(?:\n|\Z)')


def inner_lines(text: str) -> set[int]:
    """The lines, by the byte they begin at, that lie inside quotes which a line before them opened."""
    inner: set[int] = set()
    place = 0
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        start, place = place, place + len(line)
        if start not in inner and OPEN.fullmatch(line.rstrip("\n")) and (rest := REST.match(text, place)):
            inner |= {place, *(place + at.end() for at in re.finditer("\n", rest[0]))} - {rest.end()}
    return {len(text[:at].encode()) for at in inner}


def values(parsed: object, name: str) -> list[object]:
    return [record[name] for record in good(parsed).values()]  # type: ignore[arg-type]


pieces = st.sampled_from([",", ",", '"', '""', "\r", "x", "1", " ", "é", "\0", "\ufeff", "a", "'", "\\", ";"])
lines = st.lists(pieces, max_size=9).map("".join) | st.builds(
    "1,{},{}".format, st.lists(pieces, max_size=4).map("".join), st.just("y")
)


@settings(deadline=None, max_examples=200)
@given(st.lists(lines, min_size=1, max_size=9), st.sampled_from(["\n", "\r\n"]), st.booleans())
@example(['1x","y', "2,z", '4,"k"', "5,a\r6,b\r7,c", "8,9"], "\n", True)
@example(["\ufeffa,b,c"], "\n", False)
@example(['1,"x', "2,y,z", '3",4', "5,6,7"], "\r\n", True)
@example(['1,"x', "2,y,z", '3,"k",4', "5,6,7"], "\n", True)
def test_every_line_is_read_by_itself_and_as_rfc_4180_says(block: list[str], newline: str, ended: bool) -> None:
    data = (newline.join(block) + newline * ended).encode()
    if not data:
        return
    parsed = parse(data, schema_of({"x": "string?", "a": "string?", "b": "string?", TIME: "int64?"}), ("x", "a", "b"))
    inner = inner_lines(data.decode())
    for position, line in lines_of(data).items():
        fields = fields_of(line.decode().removesuffix("\r"))
        if position in inner or (not line.strip() and len(line) <= 1) or fields is None or len(fields) != 3:
            assert dead(parsed)[position] == ("malformed", line)
        elif any("\0" in field for field in fields):
            assert dead(parsed)[position] == ("out_of_range", line)
        else:
            assert good(parsed)[position] == {"x": fields[0], "a": fields[1], "b": fields[2], TIME: None}
    assert parsed.read == len(lines_of(data))


@pytest.mark.parametrize("kind", ["int64", "float64", "bool", "timestamp"])
@pytest.mark.parametrize("written", ["", '""'])
def test_an_empty_value_is_null_for_all_but_text(kind: str, written: str) -> None:
    schema = schema_of({TIME: "int64", "v": f"{kind}?"})
    assert good(parse(f"1,{written}\n".encode(), schema, (TIME, "v"))) == {0: {TIME: 1, "v": None}}
    strict = schema_of({TIME: "int64", "v": kind})
    assert reasons(parse(f"1,{written}\n".encode(), strict, (TIME, "v"))) == {0: "missing_field"}


@pytest.mark.parametrize("written", ["", '""'])
def test_an_empty_text_is_a_value(written: str) -> None:
    assert values(parse(f"1,{written},\n".encode(), SCHEMA, HEADER), "a") == [""]


@pytest.mark.parametrize(
    "line, detail",
    [
        ("1,x", "the line has 2 fields; the header names 3"),
        ("1,x,y,z", "the line has 4 fields; the header names 3"),
        ('1,"x,y', "a quoted value does not end on its line"),
        ('1,x",y', "a quoted value does not end on its line"),
        ('1,x"y"z,y', "a quote is inside a value, or text follows a quoted one"),
        ('1,"x"y,z', "a quote is inside a value, or text follows a quoted one"),
        ('1, "x",y', "a quote is inside a value, or text follows a quoted one"),
        ('1,"x" ,y', "a quote is inside a value, or text follows a quoted one"),
        ("1,x\ry,z", "a carriage return is outside quotes"),
        ("\r\r", "a carriage return is outside quotes"),
        ("\r", "the line is empty"),
        ("", "the line is empty"),
        ("\0", "the line has 1 fields; the header names 3"),
    ],
)
def test_the_detail_says_what_is_wrong_with_a_line(line: str, detail: str) -> None:
    parsed = parse(f"1,a,b\n{line}\n2,c,d\n".encode(), SCHEMA, HEADER)
    assert parsed.dead["detail"].to_pylist() == [detail]
    assert parsed.dead["payload"].to_pylist() == [line.encode()]
    assert values(parsed, "a") == ["a", "c"]


def test_a_line_inside_quotes_is_no_record_though_it_looks_like_one() -> None:
    parsed = parse(b'1,"a\n2,b,c\n\n3,d,e""\n4,f",g\n5,h,i\n', SCHEMA, HEADER)
    assert values(parsed, "a") == ["h"]
    within = "the line lies inside a quoted value that begins before it"
    details = ["a quoted value does not end on its line", within, "the line is empty", within, within]
    assert parsed.dead["detail"].to_pylist() == details
    assert parsed.dead["payload"].to_pylist() == [b'1,"a', b"2,b,c", b"", b'3,d,e""', b'4,f",g']
    assert parsed.read == 6


@pytest.mark.parametrize("rest", ["3,d,e", '3,"d",e', '3,d,"e"', '"3",d,e', '3,"",e\n4,"d",e'])
def test_a_quote_that_is_never_closed_rightly_spoils_its_own_line_only(rest: str) -> None:
    parsed = parse(f'1,"a,b\n2,b,c\n{rest}\n5,h,i\n'.encode(), SCHEMA, HEADER)
    assert values(parsed, "a")[0] == "b" and values(parsed, "a")[-1] == "h"
    assert reasons(parsed)[0] == "malformed"


@pytest.mark.parametrize("lines, good_lines", [(70_000, 1), (80_000, 80_001)])
def test_a_quote_that_is_open_for_a_mebibyte_spoils_its_own_line_only(lines: int, good_lines: int) -> None:
    parsed = parse(b'1,"a\n' + b"2,long text,c\n" * lines + b'4,f",g\n5,h,i\n', SCHEMA, HEADER)
    assert len(values(parsed, "a")) == good_lines


def test_carriage_returns_and_commas_and_quotes_live_inside_quotes() -> None:
    data = b'1,"a,b","c""d"\r\n2,"e\rf",""""\r\n3,"",""\r\n'
    assert list(good(parse(data, SCHEMA, HEADER)).values()) == [
        {TIME: 1, "a": "a,b", "b": 'c"d'},
        {TIME: 2, "a": "e\rf", "b": '"'},
        {TIME: 3, "a": "", "b": ""},
    ]


def test_values_keep_their_spaces_and_their_byte_order_marks() -> None:
    schema = schema_of({"a": "string", TIME: "int64?"})
    for data in ("\ufeffx,1\n y ,2\n", " y ,1\n\ufeffx,2\n"):
        assert sorted(map(str, values(parse(data.encode(), schema, ("a", TIME)), "a"))) == [" y ", "\ufeffx"]


def test_a_block_of_nothing_but_a_byte_order_mark_is_one_dead_letter() -> None:
    assert dead(parse("\ufeff".encode(), SCHEMA, HEADER)) == {0: ("malformed", b"\xef\xbb\xbf")}


def test_long_values_are_read_like_short_ones() -> None:
    long = "x" * 400_000
    data = f'1,{long},y\n2,"{long}","z"\n3,"q"q"\n'.encode()
    parsed = parse(data, SCHEMA, HEADER)
    assert values(parsed, "a") == [long, long]
    assert list(reasons(parsed).values()) == ["malformed"]


def test_a_column_the_header_does_not_name_is_null_and_others_are_ignored() -> None:
    parsed = parse(b"x,1,2\n", SCHEMA, ("other", TIME, "a"))
    assert good(parsed) == {0: {TIME: 1, "a": "2", "b": None}}
    assert reasons(parse(b"x,1\n", SCHEMA, ("other", TIME))) == {0: "missing_field"}
    assert reasons(parse(b"x,y\n", SCHEMA, ("one", "other"))) == {0: "missing_field"}


def test_a_file_of_one_column_has_records_too() -> None:
    parsed = parse(b'1\n""\n\n2\n', schema_of({TIME: "int64"}), (TIME,))
    assert [record[TIME] for record in good(parsed).values()] == [1, 2]
    assert reasons(parsed) == {2: "missing_field", 5: "malformed"}


@pytest.mark.parametrize(
    "line, names",
    [
        (b"a,b\n", ("a", "b")),
        (b"\xef\xbb\xbfa,b\r\n", ("a", "b")),
        (b'\xef\xbb\xbf"a","b ""c"", d"\n', ("a", 'b "c", d')),
        ("é,😀, spaced ,'q'".encode(), ("é", "😀", " spaced ", "'q'")),
        (b"a,", ("a", "")),
    ],
)
def test_a_header_names_the_columns(line: bytes, names: tuple[str, ...]) -> None:
    assert header_of(line) == names


def test_a_wide_header_takes_time_in_proportion() -> None:
    def seconds(columns: int) -> float:
        line = ",".join(map(str, range(columns))).encode()
        return min(timeit.repeat(lambda: header_of(line), number=1, repeat=3))

    assert seconds(40_000) < 40 * seconds(4_000)


@pytest.mark.parametrize(
    "line, sentence",
    [
        (b"", "its first line is not a CSV header"),
        (b"\n", "its first line is not a CSV header"),
        (b"\xef\xbb\xbf", "its first line is not a CSV header"),
        (b'"a,b\n', "its first line is not a CSV header"),
        (b"a\rb\n", "its first line is not a CSV header"),
        (b"a,b,a\n", "its header names 'a' twice"),
        (b"a,\xff\n", "its header line is not UTF-8"),
    ],
)
def test_what_is_no_header_is_refused(line: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        header_of(line)

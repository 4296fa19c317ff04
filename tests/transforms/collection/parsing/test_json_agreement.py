"""Every line meets the documented rules, whatever stands beside it."""

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.transforms.collection.outcome import dead, good, lines_of, parse, schema_of
from tests.transforms.collection.parsing.json_rules import record_of

TYPES = ("string", "int64", "float64", "bool", "timestamp")
NUMBERS = """
    0 -0 1 -1 1.0 1.7 1e3 1E3 -1.5e3 -0.0 0.1 1.50 1e16 1e22 1e-7 1e-30 1e-400 1e999 -1e999 12345678901234567.0
    9007199254740991 9007199254740992 9007199254740993 9007199254740993.0 9007199254740993.5 9223372036854775807
    9223372036854775808 -9223372036854775808 -9223372036854775809 18446744073709551616 123456789012345678901234567890
"""
TEXTS_OF_NUMBERS = ["12", " 12 ", "+5", "1.0", "1.7", "1e3", "1e999", "9007199254740993", "1e-30", "12x", "NaN", "-inf"]
TEXTS_OF_TIMES = ["2013-01-01", "2013-01-01 05:00:00.123456+02:00", "9999-01-01", "0001-01-01T00:00:00Z", "2013-02-30"]
OTHER_TEXTS = [
    "soon",
    "",
    "true",
    "FALSE",
    '{"a":1}',
    "[1]",
    "[1,]",
    "a,}",
    "é",
    "😀",
    "a\0b",
    "\\",
    '"',
    "nan",
    "Infinity",
]
NAMES = ("a", "b", "c", "other", "A", "é")

numbers = (
    st.sampled_from(NUMBERS.split())
    | st.integers(-(2**64), 2**64).map(str)
    | st.floats(allow_nan=False).map(json.dumps)
)
texts = (
    st.sampled_from(TEXTS_OF_NUMBERS)
    | st.sampled_from(TEXTS_OF_TIMES)
    | st.sampled_from(OTHER_TEXTS)
    | st.text(max_size=3)
)
words = st.sampled_from(
    ["true", "false", "null", "NaN", "Infinity", "-Infinity", "tru", "'a'", "01", "+1", ".5", "1.", "--1"]
)
escapes = st.sampled_from([r'"\ud800"', r'"\ud83d\ude00"', r'"\u0031"', r'"\x"', '"\t"', '"'])
nested = st.sampled_from(["{}", "[]", '{"a":1}', "[1,[2]]", "[1,]", '{"a":1 , }', "[" * 50, "[" * 99 + "]" * 99])
plain = st.sampled_from(["0", "1", "12.0", '"12"', '"x"', "true", "null", '"2013-01-01"'])
values = plain | numbers | st.builds(json.dumps, texts, ensure_ascii=st.booleans()) | words | escapes | nested
names = st.sampled_from([json.dumps(name) for name in NAMES] + [r'"\u0061"', '"é"'])
spaces = st.sampled_from(["", "", "", " ", "\t", " \r", "  "])
fields = st.builds("{}{}:{}{}{}".format, spaces, names, spaces, values, spaces)
ends = st.sampled_from(["}"] * 8 + [",}", ", }", "", "} x", "}}", "}\r", "} \t", "}\x0c", "}\0"])
objects = st.builds(
    lambda begin, parts, end: begin + ",".join(parts) + end,
    st.sampled_from(["{"] * 8 + [" {", "\t{", "[{", "\ufeff{"]),
    st.lists(fields, max_size=5),
    ends,
)
whole = st.builds(
    lambda parts: "{" + ",".join(f'"{name}":{value}' for name, value in zip(NAMES, parts, strict=False)) + "}",
    st.lists(plain | numbers, min_size=3, max_size=4),
)
odd = st.sampled_from(
    [b"", b" ", b"\r", b"null", b"[]", b"{}", b"5", b'"x"', b"x", b'{"a":"\xff"}', b"{", b"\xef\xbb\xbf"]
)
lines = (whole | whole | objects).map(lambda line: line.encode("utf-8", "surrogatepass").replace(b"\n", b"")) | odd
columns = st.fixed_dictionaries(
    {name: st.builds("{}{}".format, st.sampled_from(TYPES), st.sampled_from(["", "?", "?"])) for name in "abc"}
).map(lambda chosen: {**chosen, "ts": "int64?"})


def check(block: list[bytes], chosen: dict[str, str], strict: bool, last: bytes) -> None:
    data = b"\n".join(block) + last
    if not data:
        return
    schema = schema_of(chosen, strict=strict, unit=None)
    parsed = parse(data, schema)
    found_good, found_dead = good(parsed), dead(parsed)
    for position, line in lines_of(data).items():
        expected, why = record_of(line, schema)
        if expected is None:
            reason, payload = found_dead[position]
            assert reason in why, line
            assert payload == line
        else:
            assert position in found_good, (line, found_dead.get(position))
            assert found_good[position] == expected, line
    assert len(found_good) + len(found_dead) == parsed.read == len(lines_of(data))


@settings(deadline=None, max_examples=150)
@given(st.lists(lines, min_size=1, max_size=12), columns, st.booleans(), st.sampled_from([b"", b"\n"]))
@example([b'{"a":1,"other":[1,2,]}'], {"a": "int64", "ts": "int64?"}, False, b"\n")
@example([b"}", b'{"a":1,"other":{"b":1,}}'], {"a": "int64", "ts": "int64?"}, False, b"\n")
@example([b'{"a":1,"other":1}', b'{"a":1,"b":1}'], {"a": "int64", "b": "int64?", "ts": "int64?"}, True, b"")
@example([b'{"a":9007199254740993,"b":1e-30}'], {"a": "int64", "b": "int64", "ts": "int64?"}, False, b"")
@example([b'{"a":"' + 80 * "é".encode()], {"a": "int64", "ts": "int64?"}, False, b"")
@example([b""], {"a": "int64", "ts": "int64?"}, False, b"\n")
def test_every_line_of_a_block_meets_the_documented_rules(
    block: list[bytes], chosen: dict[str, str], strict: bool, last: bytes
) -> None:
    check(block, chosen, strict, last)


@settings(deadline=None, max_examples=40)
@given(st.lists(whole, min_size=1, max_size=40), columns)
def test_whole_records_meet_the_documented_rules_too(block: list[str], chosen: dict[str, str]) -> None:
    check([line.encode() for line in block], chosen, False, b"\n")


@settings(deadline=None, max_examples=40)
@given(lines, lines, columns)
def test_what_becomes_of_a_line_does_not_depend_on_its_neighbours(
    line: bytes, neighbour: bytes, chosen: dict[str, str]
) -> None:
    schema = schema_of(chosen, unit=None)
    alone = parse(line + b"\n", schema)
    for before, after in ((b"", neighbour), (neighbour + b"\n", b""), (b"", b"\n".join([neighbour] * 20))):
        parsed = parse(before + line + b"\n" + after, schema)
        assert good(parsed).get(len(before)) == good(alone).get(0)
        assert dead(parsed).get(len(before)) == dead(alone).get(0)

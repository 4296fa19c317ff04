"""JSON lines: examples beside the properties of test_json_agreement."""

import json
import random
import time
import tracemalloc

import pytest

from tests.transforms.collection.outcome import TIME, dead, good, lines_of, parse, reasons, schema_of

SPARSE = {TIME: "int64", "i": "int64?", "f": "float64?", "s": "string?", "b": "bool?", "t": "timestamp?"}


def only(data: bytes, **columns: str) -> dict[str, object]:
    """The one good record of `data`, its time left out."""
    (record,) = good(parse(data, schema_of({TIME: "int64?", **columns}))).values()
    return {name: value for name, value in record.items() if name != TIME}


@pytest.mark.parametrize("kind", ["string", "int64", "float64?"])
def test_the_first_of_two_fields_of_one_name_counts(kind: str) -> None:
    first = 1 if kind != "string" else "1"
    assert only(b'{"v":1,"v":2}', v=kind) == {"v": first}
    assert only(b'{"v":1,"\\u0076":2}', v=kind) == {"v": first}
    assert only(b'{"v":"1","x":{"v":3},"v":{"v":4}}', v=kind) == {"v": first}


def test_the_first_of_two_fields_counts_when_it_is_null() -> None:
    assert only(b'{"v":null,"v":2}', v="int64?") == {"v": None}
    assert reasons(parse(b'{"v":null,"v":2}', schema_of({TIME: "int64?", "v": "int64"}))) == {0: "missing_field"}


@pytest.mark.parametrize("word", ["NaN", "nan", "-NaN", "Infinity", "-Infinity", "inf", "-INF", "iNfInItY"])
@pytest.mark.parametrize("kind", ["string", "int64?", "float64", "bool"])
def test_a_number_that_is_none_is_out_of_range_however_it_is_spelt(word: str, kind: str) -> None:
    parsed = parse(f'{{"v":{word}}}\n{{"v":1,"x":{word}}}\n'.encode(), schema_of({TIME: "int64?", "v": kind}))
    assert reasons(parsed) == {0: "out_of_range"}
    assert len(good(parsed)) == 1


@pytest.mark.parametrize("written", ["nan", "Infinity", "-inf", "NaN", "{", "[", "{}", '"', "info"])
def test_a_text_that_looks_like_something_else_stays_a_text(written: str) -> None:
    assert only(json.dumps({"v": written}).encode(), v="string") == {"v": written}


def test_a_number_too_large_for_any_column_of_numbers_keeps_its_digits_as_text() -> None:
    digits = "1234567890" * 40
    assert only(f'{{"v":{digits}}}'.encode(), v="string") == {"v": digits}
    assert only(b'{"v":-1e999}', v="string") == {"v": "-1e999"}


@pytest.mark.parametrize(
    "written, read", [("1.50", "1.5"), ("1e3", "1000.0"), ("1E+2", "100.0"), ("-0", "0"), ("7", "7")]
)
def test_numbers_become_one_text(written: str, read: str) -> None:
    assert only(f'{{"v":{written},"i":1}}'.encode(), v="string", i="int64") == {"v": read, "i": 1}
    assert only(f'{{"v":{written},"i":"true"}}'.encode(), v="string", i="int64") == {"v": read, "i": 1}


BROKEN = ['{"v":1}}', '{"v":1', '{"v" 1}', "{'v':1}", '{"v":1} //', '[{"v":1}]', "1", '"v"', '{,"v":1}', '{"v":1}{}']
COMMAS = ['{"v":1,}', '{"v":1 , }', '{"v":1,"x":[1,2,]}', '{"v":1,"x":{"a":1,\t}}', '{"v":1,"x":[{"a":[1, ]}]}']


@pytest.mark.parametrize("line", [*BROKEN, *COMMAS, '{"v":1,' + " " * 5000 + "}"])
def test_broken_json_is_malformed(line: str) -> None:
    schema = schema_of({TIME: "int64?", "v": "int64"})
    for data in (line, line + "\n", line + "\r\n", '{"v":2}\n' + line, line + '\n{"v":2}'):
        assert list(reasons(parse(data.encode(), schema)).values()) == ["malformed"]


def test_a_comma_before_a_brace_inside_a_text_is_no_fault() -> None:
    assert only(b'{"v":"a,}","x":[",]"]}', v="string") == {"v": "a,}"}
    assert only(b'{"v":"a,}" }', v="string") == {"v": "a,}"}
    assert only(b'{ "v" : "a" , "x" : [ 1 , 2 ] }  ', v="string") == {"v": "a"}


@pytest.mark.parametrize("opened", ["[" * 100_000, '{"a":' * 100_000, '{"v":' + "[" * 100_000])
def test_a_line_nested_deeply_is_a_dead_letter(opened: str) -> None:
    data = f'{{"v":1}}\n{opened}\n{{"v":2}}\n'.encode()
    parsed = parse(data, schema_of({TIME: "int64?", "v": "int64"}))
    assert [record["v"] for record in good(parsed).values()] == [1, 2]
    assert dead(parsed) == {8: ("malformed", opened.encode())}


def test_a_field_nested_deeply_is_ignored_or_refused_like_any_other() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    assert only(f'{{"v":1,"x":{deep}}}'.encode(), v="int64") == {"v": 1}
    schema = schema_of({TIME: "int64?", "v": "string"})
    assert reasons(parse(f'{{"v":{deep}}}'.encode(), schema)) == {0: "wrong_type"}


def test_a_quoted_error_may_be_cut_in_the_middle_of_a_character() -> None:
    words = [b'{"v":' + b"x" * pad + "é😀".encode() * 80 for pad in range(8)]
    parsed = parse(b"\n".join([*words, b'{"v":1}']), schema_of({TIME: "int64?", "v": "int64"}))
    assert list(reasons(parsed).values()) == ["malformed"] * 8
    details = [letter["detail"] for letter in parsed.dead.to_pylist()]
    assert [detail[: len(start)] for detail, start in zip(details, STARTS, strict=True)] == STARTS
    assert len(good(parsed)) == 1


STARTS = [f"not JSON at byte 5: '{'x' * pad}é😀" for pad in range(8)]


def test_columns_of_any_name_are_read() -> None:
    names = ['a"b', "a'b", "a/b~c", "a.b", "$", "*", "é", "a b", "\\", "0", "{}", "a\tb", "-- ", "😀"]
    record = {name: str(index) for index, name in enumerate(names)}
    columns = dict.fromkeys(names, "string")
    assert only(json.dumps(record).encode(), **columns) == record
    sparse = dict.fromkeys(names, "int64?")
    assert only(json.dumps({**record, names[0]: None}).encode(), **sparse)[names[5]] == 5


@pytest.mark.parametrize("nullable", ["", "?"])
def test_an_unknown_field_is_refused_where_the_job_is_strict(nullable: str) -> None:
    schema = schema_of({TIME: "int64?", "v": f"int64{nullable}"}, strict=True)
    lines = [
        b'{"ts":1,"v":1}',
        b'{"ts":1,"v":1,"x":1}',
        b'{"v":1,"x":1}',
        b'{"ts":1,"v":1,"v":1}',
        b'{"ts":null,"V":1}',
    ]
    parsed = parse(b"\n".join(lines), schema)
    assert [lines_of(b"\n".join(lines))[position] for position in good(parsed)] == [lines[0], lines[3]]
    assert set(reasons(parsed).values()) == {"unknown_field"}


def test_an_unknown_field_cannot_hide_behind_an_absent_one() -> None:
    schema = schema_of({TIME: "int64", "v": "int64?"}, strict=True)
    assert reasons(parse(b'{"ts":1}\n{"ts":1,"x":1}\n', schema)) == {9: "unknown_field"}


def test_absent_and_null_fields_are_null_and_failed_ones_are_not() -> None:
    rng = random.Random(7)
    full = {"i": 3, "f": 2.5, "s": "x", "b": True, "t": "2013-01-01T00:00:00Z"}
    broken = {"i": "soon", "f": "much", "b": "maybe", "t": "soon"}
    records = []
    for row in range(500):
        record = {TIME: row, **{name: value for name, value in full.items() if rng.random() < 0.5}}
        record |= {name: None for name in full if rng.random() < 0.2}
        if row % 10 == 0:
            name = rng.choice(list(broken))
            record[name] = broken[name]
        records.append(record)
    parsed = parse("\n".join(map(json.dumps, records)).encode(), schema_of(SPARSE))
    assert [bool(record["f"]) for record in good(parsed).values()] == [
        bool(record.get("f")) for row, record in enumerate(records) if row % 10
    ]
    assert list(reasons(parsed).values()) == ["wrong_type"] * 50


def test_sparse_records_cost_a_few_times_full_ones_and_not_a_hundred_times() -> None:
    columns = {TIME: "int64", **{f"c{index}": "float64?" for index in range(10)}}
    rng = random.Random(1)
    full = [{TIME: row, **{f"c{index}": rng.random() for index in range(10)}} for row in range(20_000)]
    sparse = [{name: value for name, value in record.items() if name == TIME or rng.random() < 0.5} for record in full]
    seconds = []
    for records in (full, sparse):
        data = "\n".join(map(json.dumps, records)).encode()
        parse(data[:1000], schema_of(columns))
        began = time.process_time()
        assert parse(data, schema_of(columns)).batch.num_rows == 20_000
        seconds.append(time.process_time() - began)
    assert seconds[1] < 8 * seconds[0]


@pytest.mark.parametrize("name", [r"v\ud800", r"\udc00v", r"\ud800"])
def test_a_name_with_half_a_character_is_no_column(name: str) -> None:
    assert only(f'{{"{name}":5}}'.encode(), v="int64?") == {"v": None}
    assert only(f'{{"{name}":"x","v":7}}'.encode(), v="int64") == {"v": 7}
    strict = schema_of({TIME: "int64?", "v": "int64?"}, strict=True)
    assert reasons(parse(f'{{"{name}":5}}'.encode(), strict)) == {0: "unknown_field"}


@pytest.mark.parametrize("entries", [1, 7, 40])
def test_rows_are_the_same_however_many_there_is_room_for_at_a_time(
    entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(3)
    values = {"i": [1, "2", None, 1.7, "x"], "f": [0.5, "0.5", None, [1]], "s": ["a", "\u00e9", 1.50, None, {}]}
    records = [{TIME: row, **{name: rng.choice(written) for name, written in values.items()}} for row in range(300)]
    lines = [json.dumps(record) if rng.random() < 0.9 else "{}x" for record in records]
    schema = schema_of({TIME: "int64", "i": "int64?", "f": "float64?", "s": "string?"})
    data = "\n".join(lines).encode()
    whole = parse(data, schema)
    monkeypatch.setattr("transforms.collection.parsing.json_columns._ENTRIES", entries)
    portions = parse(data, schema)
    assert good(portions) == good(whole) and len(good(whole)) > 50
    assert portions.dead.equals(whole.dead)


def test_many_columns_and_a_long_line_need_no_more_memory_than_the_block() -> None:
    schema = schema_of({TIME: "int64", **{f"c{index}": "string?" for index in range(600)}}, max_line=1000)
    data = b'{"ts":1,"c7":"x"}\n' + b" " * 60_000_000 + b'\n{"ts":2}\n' + b"x\n" * 100_000
    tracemalloc.start()
    parsed = parse(data, schema)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [record["c7"] for record in good(parsed).values()] == ["x", None]
    assert parsed.dead.num_rows == 100_001
    assert peak < 2_000_000_000


def test_a_field_is_found_among_a_thousand_as_fast_as_among_ten() -> None:
    seconds = []
    for count in (10, 1000):
        names = [f"a long name that others begin with too, number {index}" for index in range(count)]
        rng = random.Random(1)
        lines = []
        for row in range(60_000 // count):
            rng.shuffle(names)
            lines.append(json.dumps({TIME: row, **dict.fromkeys(names, 1)}))
        schema = schema_of({TIME: "int64", **dict.fromkeys(names, "int64")})
        data = "\n".join(lines).encode()
        parse(data, schema)
        began = time.process_time()
        assert parse(data, schema).batch.num_rows == len(lines)
        seconds.append(time.process_time() - began)
    assert seconds[1] < 5 * seconds[0]

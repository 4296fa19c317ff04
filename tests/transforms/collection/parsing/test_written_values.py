"""What a text is as a value: the tables of docs/records.md, row by row, and random texts, in every format alike."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.collection.kafka.test_records import begun, parser, values_of
from tests.transforms.collection.outcome import TIME, column, dead, good, parse, read, reasons, schema_of
from tests.transforms.collection.parsing.registry_server import encoded, registry
from tests.transforms.collection.parsing.value_rules import Refused, value_of
from transforms.collection.kafka.records import Reading
from transforms.collection.parsing.avro import AvroDecoder
from transforms.record.batch import EVENT_TIME
from transforms.systems.schema_registry import RegistrySpec
from transforms.time.text import read_time_text

ROOT: Final = Path(__file__).parents[4]
MICROSECOND: Final = timedelta(microseconds=1)
NUMBERS: Final = ("int64", "float64", "bool")
SAME: Final = "the same"
AVRO: Final = {
    "type": "record",
    "name": "Written",
    "fields": [{"name": TIME, "type": "long"}, {"name": "v", "type": "string"}],
}

Verdicts = list[Any]
"""Of each text its value, or `! reason`."""


def table(title: str) -> Iterator[list[str]]:
    """The rows of the table below a title of docs/records.md, without its head."""
    section = (ROOT / "docs/records.md").read_text(encoding="utf-8").split(f"### {title}\n")[1].split("\n#")[0]
    for line in section.splitlines():
        if line.startswith('| `"'):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def text_in(cell: str) -> str:
    return str(json.loads(cell.strip().strip("`")))


def verdict_in(cell: str, kind: str) -> Any:
    if cell.startswith("`"):
        return f"! {cell.strip('`')}"
    if kind == "timestamp":
        return datetime.fromisoformat(cell.replace("Z", "+00:00"))
    return {"true": True, "false": False}[cell] if kind == "bool" else {"int64": int, "float64": float}[kind](cell)


def verdicts_of_lines(lines: Sequence[str], kind: str, header: tuple[str, ...] = ()) -> Verdicts:
    data = "".join(f"{line}\n" for line in lines)
    return _in_order(len(lines), *_parsed(parse(data.encode(), schema_of({TIME: "int64", "v": kind}), header)))


def _parsed(*parts: Any) -> tuple[dict[int, Any], list[str]]:
    values = dict(zip(column(parts, TIME), column(parts, "v"), strict=True))
    return values, [reason for part in parts for reason in reasons(part).values()]


def _in_order(count: int, values: Mapping[int, Any], refused: list[str]) -> Verdicts:
    left = iter(refused)
    found = [_plain(values[row]) if row in values else f"! {next(left)}" for row in range(count)]
    assert next(left, None) is None
    return found


def _plain(value: Any) -> Any:
    return value.astimezone(timezone.utc) if isinstance(value, datetime) else value


def in_json(texts: Sequence[str], kind: str) -> Verdicts:
    lines = [json.dumps({TIME: row, "v": text}, ensure_ascii=False) for row, text in enumerate(texts)]
    return verdicts_of_lines(lines, kind)


def in_json_with_escapes(texts: Sequence[str], kind: str) -> Verdicts:
    escaped = ["".join(f"\\u{ord(letter):04x}" for letter in text) for text in texts]
    return verdicts_of_lines([f'{{"{TIME}":{row},"v":"{text}"}}' for row, text in enumerate(escaped)], kind)


def in_csv(texts: Sequence[str], kind: str) -> Verdicts:
    return verdicts_of_lines([f'{row},"{text}"' for row, text in enumerate(texts)], kind, (TIME, "v"))


def in_parquet(values: pa.Array, kind: str, path: Path) -> Verdicts:
    pq.write_table(pa.table({TIME: range(len(values)), "v": values}), path / "a.parquet")
    return _in_order(len(values), *_parsed(*read(path / "a.parquet", schema_of({TIME: "int64", "v": kind}))))


def in_kafka(texts: Sequence[str], kind: str, avro: RegistrySpec | None = None) -> Verdicts:
    schema = schema_of({TIME: "int64", "v": kind})
    records = [{TIME: row, "v": text} for row, text in enumerate(texts)]
    if avro is None:
        values, decoder = [json.dumps(record, indent=1).encode() for record in records], None
    else:
        values, decoder = [encoded(1, AVRO, record) for record in records], AvroDecoder.of(avro, schema)
    flush = parser(schema=schema, avro=decoder, max_future=None).parse(Reading([values_of(0, *values)]), begun(1))
    found = {row[TIME]: row["v"] for batch in flush.batches for row in batch.to_pylist()}
    return _in_order(len(texts), found, flush.dead["reason"].to_pylist())


@pytest.fixture(scope="module")
def every_format(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Callable[..., Verdicts]]]:
    """What each format makes of texts in a column of a type."""
    path = tmp_path_factory.mktemp("formats")

    def of_type(type_: pa.DataType) -> Callable[..., Verdicts]:
        return lambda texts, kind: in_parquet(pa.array(texts, pa.string()).cast(type_), kind, path)

    with registry() as server:
        server.register(1, AVRO)
        avro = RegistrySpec(url=server.url)
        yield {
            "JSON": in_json,
            "JSON with escapes": in_json_with_escapes,
            "CSV": in_csv,
            "Parquet": of_type(pa.string()),
            "Parquet, large": of_type(pa.large_string()),
            "Parquet, views": of_type(pa.string_view()),
            "Parquet, dictionary": of_type(pa.dictionary(pa.int32(), pa.string())),
            "Kafka": in_kafka,
            "Avro": lambda texts, kind: in_kafka(texts, kind, avro),
        }


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_and_booleans_are_what_the_table_says_in_every_format(
    kind: str, every_format: Mapping[str, Callable[..., Verdicts]]
) -> None:
    rows = list(table("Numbers and Booleans"))
    texts = [text_in(row[0]) for row in rows]
    wanted = [repr(verdict_in(row[1 + NUMBERS.index(kind)], kind)) for row in rows]
    assert len(rows) > 50
    for name, verdicts in every_format.items():
        found = [repr(verdict) for verdict in verdicts(texts, kind)]
        assert dict(zip(texts, found, strict=True)) == dict(zip(texts, wanted, strict=True)), name


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_without_quotes_are_what_the_table_says_in_json(kind: str) -> None:
    rows = list(table("Numbers and Booleans"))
    texts = [text_in(row[0]) for row in rows]
    found = verdicts_of_lines([f'{{"{TIME}":{row},"v":{text}}}' for row, text in enumerate(texts)], kind)
    wanted = [verdict_in(row[1 + NUMBERS.index(kind) if row[4] == SAME else 4], kind) for row in rows]
    assert dict(zip(texts, map(repr, found), strict=True)) == dict(zip(texts, map(repr, wanted), strict=True))


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_of_other_types_of_parquet_are_what_the_table_says(kind: str, tmp_path: Path) -> None:
    tried = set()
    for row in table("Numbers and Booleans"):
        for values in _as_other_types(text_in(row[0])):
            wanted = verdict_in(row[1 + NUMBERS.index(kind)], kind)
            assert in_parquet(values, kind, tmp_path) == [wanted], (row[0], values.type)
            tried.add(str(values.type))
    assert tried >= {"int8", "uint8", "int64", "uint64", "float", "double", "bool", "decimal128(20, 4)"}


def _as_other_types(text: str) -> Iterator[pa.Array]:
    """What Parquet can hold that is the very number or Boolean of a text."""
    if text in ("true", "false"):
        yield pa.array([text == "true"])
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text):
        return
    number = Decimal(text)
    for bits in (8, 16, 32, 64):
        for least, most, name in ((-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, "int"), (0, 2**bits - 1, "uint")):
            if least <= number <= most and number == int(number):
                yield pa.array([int(number)], f"{name}{bits}")
    if number.adjusted() < 300:
        yield from (pa.array([float(number)], type_) for type_ in ("float", "double") if _is_exact(number, type_))
    if abs(number.adjusted()) < 38:
        yield pa.array([number])


def _is_exact(number: Decimal, type_: str) -> bool:
    return abs(number) < 10**30 and Decimal(pa.array([float(number)], type_)[0].as_py()) == number


def test_times_are_what_the_table_says_in_every_format(every_format: Mapping[str, Callable[..., Verdicts]]) -> None:
    rows = list(table("Times"))
    texts = [text_in(row[0]) for row in rows]
    wanted = [verdict_in(row[1], "timestamp") for row in rows]
    assert len(rows) > 50
    for name, verdicts in every_format.items():
        found = verdicts(texts, "timestamp")
        assert dict(zip(texts, found, strict=True)) == dict(zip(texts, wanted, strict=True)), name


@pytest.mark.parametrize("header", [(), (TIME,)])
def test_a_text_that_is_no_time_of_the_table_is_a_bad_event_time(header: tuple[str, ...]) -> None:
    rows = list(table("Times"))
    lines = [f'"{text_in(row[0])}"' if header else json.dumps({TIME: text_in(row[0])}) for row in rows]
    data = "".join(f"{line}\n" for line in lines).encode()
    parsed = parse(data, schema_of({TIME: "timestamp"}, unit=None), header)
    wanted = [verdict_in(row[1], "timestamp") for row in rows]
    assert [_plain(time) for time in column(parsed, EVENT_TIME)] == [time for time in wanted if time not in BAD]
    assert list(reasons(parsed).values()) == ["bad_event_time"] * sum(time in BAD for time in wanted)


BAD: Final = ("! wrong_type", "! out_of_range")


@pytest.mark.parametrize("value", ["20240301", "20240301.0", "2024", "true", "NaN", "1709294405"])
def test_what_is_no_text_in_json_is_no_time(value: str) -> None:
    assert verdicts_of_lines([f'{{"{TIME}":0,"v":{value}}}'], "timestamp") == ["! wrong_type"]


@pytest.mark.parametrize("value", [20240301, 20240301.0, Decimal("20240301"), True])
def test_what_is_no_text_in_parquet_is_no_time(value: Any, tmp_path: Path) -> None:
    assert in_parquet(pa.array([value]), "timestamp", tmp_path) == ["! wrong_type"]


@pytest.mark.parametrize("abbreviation", ["BST", "AST", "NST", "SST", "PST", "CST", "EDT", "UTC", "GMT", "Z "])
def test_the_abbreviation_of_a_zone_is_no_part_of_a_time(abbreviation: str) -> None:
    line = f'{{"ts": "2024-07-01T12:00:00 {abbreviation}", "k": "x"}}'.encode()
    parsed = parse(line, schema_of({TIME: "timestamp", "k": "string"}, unit=None))
    assert dead(parsed) == {0: ("bad_event_time", line)}
    assert good(parsed) == {}


SEEDS: Final = {
    "numbers": [
        *("12", "1.0", " 1 ", "-7", "1e3", "10e-1", "007", ".5", "5.", "0", "1", "true", "False", "nan", "-inf"),
        *("9223372036854775807", "-9223372036854775808", "99999999999999999999.5", "1.00000000000000000000000000000"),
        *("1.7976931348623157e308", "4.9406564584124654e-324", "2.2250738585072011e-308", "9007199254740993", "-0.0"),
    ],
    "times": [
        *("2024-03-01T12:00:05.123Z", "20240301T120005,5+0200", "2024-03-01", "20240301", "2024-02-29 12:00"),
        *("2024-03-01T12+02", "2024-03-01T24:00:00.0-18:00", " 0000-02-29t23:59:59z ", "20240301 1200Z"),
        *("9997-12-31T23:59:59.9999999-1759", "0002-01-01T00:00:00+00:30", "1900-02-28T24:00"),
    ],
}
ALPHABET: Final = {"numbers": "0123456789+-.eE_ ,xinfa\té٢", "times": "0123456789-:+.,TtZzW \té٢"}


@st.composite
def mutated(draw: st.DrawFn, what: str) -> str:
    """A text that is a value, with up to three letters put in, taken out or changed."""
    letters = list(draw(st.sampled_from(SEEDS[what])))
    for _ in range(draw(st.integers(0, 3))):
        place, other = draw(st.integers(0, len(letters))), draw(st.sampled_from(["", *ALPHABET[what]]))
        letters[place : place + draw(st.integers(0, 1))] = [other]
    return "".join(letters)


def by_the_rules(text: str, kind: str) -> Any:
    try:
        return value_of(text, kind)
    except Refused as why:
        return f"! {why}"


@settings(deadline=None, max_examples=60)
@given(st.lists(mutated("numbers").filter(str.strip), min_size=1, max_size=30), st.sampled_from(NUMBERS))
def test_random_texts_of_numbers_are_one_value_in_every_format(
    every_format: Mapping[str, Callable[..., Verdicts]], texts: list[str], kind: str
) -> None:
    wanted = [repr(by_the_rules(text, kind)) for text in texts]
    for name, verdicts in every_format.items():
        assert [repr(verdict) for verdict in verdicts(texts, kind)] == wanted, name


@settings(deadline=None, max_examples=60)
@given(st.lists(mutated("times").filter(str.strip), min_size=1, max_size=30))
def test_random_texts_of_times_are_one_time_in_every_format(
    every_format: Mapping[str, Callable[..., Verdicts]], texts: list[str]
) -> None:
    wanted = [by_the_rules(text, "timestamp") for text in texts]
    for name, verdicts in every_format.items():
        assert verdicts(texts, "timestamp") == wanted, name


def test_very_many_random_texts_meet_the_rules() -> None:
    chance = Random(11)
    for what, kinds in (("numbers", NUMBERS), ("times", ("timestamp",))):
        texts = []
        for _ in range(20_000):
            letters = list(chance.choice(SEEDS[what]))
            for _ in range(chance.randrange(4)):
                place = chance.randrange(len(letters) + 1)
                letters[place : place + chance.randrange(2)] = [chance.choice(["", *ALPHABET[what]])]
            texts.append("".join(letters) or "-")
        for kind in kinds:
            found, wanted = in_json(texts, kind), [by_the_rules(text, kind) for text in texts]
            pairs = zip(texts, map(repr, found), map(repr, wanted), strict=True)
            assert [(text, one, other) for text, one, other in pairs if one != other] == []


def test_a_single_time_is_read_as_one_of_a_column_is() -> None:
    texts = [text_in(row[0]) for row in table("Times")]
    found = [read_time_text(text) for text in texts]
    for text, time, wanted in zip(texts, found, in_json(texts, "timestamp"), strict=True):
        micros = wanted if wanted in BAD else (wanted - datetime(1970, 1, 1, tzinfo=timezone.utc)) // MICROSECOND
        if micros == "! wrong_type":
            assert time is None, text
        elif micros != "! out_of_range":
            assert time is not None and time.micros == micros, text
            assert time.has_offset == bool(re.search(r"([Zz]|[+-]\d\d(:?\d\d)?)$", text[11:])), text

"""What was published is what is read: every type, hostile names, hostile values."""

import tempfile
from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.storage import sql
from transforms.storage.sql import SqlTable
from transforms.storage.sql.table import REGISTRY, SCALARS, TIMESTAMP

from .conftest import Sink

HOSTILE = [
    '"; drop table "x"; --',
    "'; drop table x; --",
    "../../etc/passwd",
    "a%b %s %(c0)s %%",
    "a:b :c0 ?",
    "a.b",
    ".a",
    "[0]",
    "`back` \\ticks\\n",
    "select",
    "C0",
    "Größe ☃ 𝄞",
    " two  spaces ",
    "line\nbreak\r\n\ttab",
    "{x} $1 @y #z",
    "NULL",
    "\\.",
    "x",
]

UTC = timezone.utc
EARLIEST, LATEST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
VALUES: dict[pa.DataType, list[Any]] = {
    pa.int64(): [-(2**63), 2**63 - 1, 0, None],
    pa.float64(): [0.1 + 0.2, -1.7976931348623157e308, 5e-324, None],
    pa.bool_(): [True, False, True, None],
    pa.string(): ["", "NULL", '"quoted", and single', None],
    TIMESTAMP: [EARLIEST, LATEST, datetime(2024, 2, 29, 12, 30, 0, 1, tzinfo=UTC), None],
    pa.binary(): [b"", b"\x00\xff'\"\\", bytes(range(256)), None],
}


def top(type_: pa.DataType) -> pa.DataType:
    return pa.list_(pa.struct([("value", type_), ("count", pa.int64())]))


ALL_TYPES = SqlTable(
    name="all types",
    key=("id",),
    schema=pa.schema(
        [pa.field("id", pa.int64(), nullable=False)]
        + [pa.field(f"a {type_}", type_) for type_ in SCALARS]
        + [pa.field(f"top {type_}", top(type_)) for type_ in SCALARS]
    ),
)


def rows_of_all_types() -> list[dict[str, Any]]:
    lists = {
        type_: [[{"value": value, "count": 7} for value in values if value is not None], [], None, None]
        for type_, values in VALUES.items()
    }
    return [
        {"id": number}
        | {f"a {type_}": VALUES[type_][number] for type_ in SCALARS}
        | {f"top {type_}": lists[type_][number] for type_ in SCALARS}
        for number in range(4)
    ]


@pytest.mark.parametrize("replace", [True, False])
def test_values_of_every_type_come_back(sink: Sink, replace: bool) -> None:
    rows = rows_of_all_types()
    assert sink.publish(ALL_TYPES, rows, replace=replace) == 4
    assert sink.read(ALL_TYPES) == rows
    assert sql.read(sink.url, ALL_TYPES).schema == ALL_TYPES.schema


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_a_name(sink: Sink, name: str) -> None:
    by_name = SqlTable(name=name, key=(name,), schema=pa.schema([(name, pa.string()), ("n", pa.int64())]))
    bystander = SqlTable(name="bystander", key=("x",), schema=pa.schema([("x", pa.string())]))
    sink.publish(bystander, [{"x": "kept"}], replace=True)
    rows = sorted([{name: value, "n": place} for place, value in enumerate(HOSTILE)], key=lambda row: str(row[name]))
    for replace in (True, False, True):
        assert sink.publish(by_name, rows, replace=replace) == len(rows)
        assert sink.read(by_name) == rows
    assert sink.read(bystander) == [{"x": "kept"}]


def test_hostile_values_come_back_from_keys_lists_and_columns(sink: Sink) -> None:
    schema = pa.schema([("k", pa.string()), ("v", pa.string()), ("b", pa.binary()), ("top3", top(pa.string()))])
    table = SqlTable(name="t", key=("k",), schema=schema)
    rows = [{"k": value, "v": value, "b": value.encode(), "top3": [{"value": value, "count": 1}]} for value in HOSTILE]
    rows.sort(key=lambda row: str(row["k"]))
    sink.publish(table, rows, replace=False)
    sink.publish(table, rows, replace=False)
    assert sink.read(table) == rows


def test_rows_come_back_in_the_order_of_the_key_nulls_last(sink: Sink) -> None:
    schema = pa.schema([("a", pa.string()), ("b", pa.int64())])
    table = SqlTable(name="t", key=("b", "a"), schema=schema)
    ordered = [("B", 1), ("a", 1), ("ä", 1), (None, 1), ("a", 2), ("a", None), (None, None)]
    rows = [{"a": a, "b": b} for a, b in ordered]
    sink.publish(table, rows[::-1], replace=True)
    assert sink.read(table) == rows


def test_a_table_that_is_not_there_has_no_rows_and_is_not_made(sink: Sink) -> None:
    assert sql.read(sink.url, ALL_TYPES).equals(ALL_TYPES.schema.empty_table())
    assert sink.publish(ALL_TYPES, [], replace=True) == 0
    other = SqlTable(name="other", key=("id",), schema=ALL_TYPES.schema)
    assert sql.read(sink.url, other).equals(other.schema.empty_table())
    with pytest.raises(Exception, match=r"(?i)no such table|does not exist"):
        sink.execute("select * from other")


def test_postgresql_has_native_types_and_json(postgresql_url: str) -> None:
    sink = Sink(postgresql_url)
    sink.publish(ALL_TYPES, rows_of_all_types(), replace=True)
    types = sink.execute(
        "select data_type from information_schema.columns "
        "where column_name like 'a %%' and table_schema = current_schema order by 1"
    )
    assert [name for (name,) in types] == [
        "bigint", "boolean", "bytea", "double precision", "text", "timestamp with time zone"
    ]  # fmt: skip
    assert sink.execute("""select "top int64"::jsonb -> 1 ->> 'value' from "all types" where id = 0""") == [
        (str(2**63 - 1),)
    ]


TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
SCALAR_VALUES = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    # SQLite holds -0.0 as 0.0: equal, and here written alike.
    pa.float64(): st.floats(allow_nan=False).map(lambda value: value + 0.0),
    pa.bool_(): st.booleans(),
    pa.string(): TEXT,
    TIMESTAMP: st.integers(0, (LATEST - EARLIEST) // timedelta(microseconds=1)).map(
        lambda µs: EARLIEST + timedelta(microseconds=µs)
    ),
    pa.binary(): st.binary(max_size=20),
}


@st.composite
def published(draw: st.DrawFn) -> tuple[SqlTable, list[dict[str, Any]]]:
    """A table of any columns, and rows of different keys, of which any part may be null."""
    # SQLite compares names without regard to ASCII case.
    names = draw(st.lists(TEXT.filter(bool), min_size=1, max_size=6, unique_by=lambda name: name.lower()))
    scalars = [draw(st.sampled_from(SCALARS)) for _ in names]
    key = names[: draw(st.integers(1, len(names)))]
    lists = [name not in key and draw(st.booleans()) for name in names]
    schema = pa.schema([(n, top(t) if is_list else t) for n, t, is_list in zip(names, scalars, lists, strict=True)])
    row = {
        name: st.none()
        | (
            st.lists(st.fixed_dictionaries({"value": SCALAR_VALUES[type_], "count": st.integers(0, 9)}), max_size=3)
            if is_list
            else SCALAR_VALUES[type_]
        )
        for name, type_, is_list in zip(names, scalars, lists, strict=True)
    }
    rows = st.lists(st.fixed_dictionaries(row), max_size=8, unique_by=lambda one: tuple(one[name] for name in key))
    name = draw(TEXT.filter(lambda text: text and text.lower() != REGISTRY and not text.lower().startswith("sqlite_")))
    return SqlTable(name=name, key=tuple(key), schema=schema), draw(rows)


@settings(max_examples=60, deadline=None)
@given(published(), st.booleans())
def test_anything_comes_back_from_sqlite(drawn: tuple[SqlTable, list[dict[str, Any]]], replace: bool) -> None:
    table, rows = drawn
    with tempfile.TemporaryDirectory() as folder:
        sink = Sink(f"sqlite:///{folder}/x.db")
        for _ in range(2):
            assert sink.publish(table, rows, replace=replace) == len(rows)
            assert multiset(sink.read(table), table) == multiset(rows, table)


def multiset(rows: list[dict[str, Any]], table: SqlTable) -> list[str]:
    """The rows in an order of their own, as Arrow words them."""
    return sorted(map(repr, pa.Table.from_pylist(rows, table.schema).to_pylist()))

"""What stands in the tables after publications: keys, nulls, final rows, replacement, all or nothing."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, Final

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.errors import SqlSinkError
from transforms.storage import sql
from transforms.storage.sql import SqlTable, sqlite
from transforms.storage.sql.database import open_engine, parsed
from transforms.storage.sql.table import TIMESTAMP

from .conftest import PLAIN, Sink, batches_of, plain

MIDNIGHT: Final = datetime(2026, 1, 1, tzinfo=timezone.utc)
BY_CARRIER: Final = SqlTable(
    name="by_carrier",
    key=("window_start", "carrier", "gate"),
    schema=pa.schema(
        [
            pa.field("window_start", TIMESTAMP, nullable=False),
            ("carrier", pa.string()),
            ("gate", pa.int64()),
            ("rows", pa.int64()),
            ("final", pa.bool_()),
        ]
    ),
)


def figures(carrier: str | None, rows: int, *, gate: int | None = 1, final: bool | None = True) -> dict[str, Any]:
    return {"window_start": MIDNIGHT, "carrier": carrier, "gate": gate, "rows": rows, "final": final}


def test_an_upsert_keeps_other_rows_and_a_replacement_does_not(sink: Sink) -> None:
    sink.publish(PLAIN, plain(a=1, b=2), replace=True)
    assert sink.publish(PLAIN, plain(b=3, c=4), replace=False) == 2
    assert sink.read(PLAIN) == plain(a=1, b=3, c=4)
    assert sink.publish(PLAIN, plain(c=5, d=6), replace=True) == 2
    assert sink.read(PLAIN) == plain(c=5, d=6)


def test_null_in_a_key_is_a_value_of_its_own(sink: Sink) -> None:
    keys = [("", 0), ("", None), ("NULL", 0), ("NULL", None), ("null", 0), (None, 0), (None, None)]
    first = [figures(carrier, place, gate=gate) for place, (carrier, gate) in enumerate(keys)]
    second = [row | {"rows": row["rows"] + 100} for row in first]
    for replace in (True, False):
        sink.publish(BY_CARRIER, first, replace=replace)
        assert sink.publish(BY_CARRIER, second, replace=False) == len(keys)
        assert sink.read(BY_CARRIER) == second


def test_keys_are_equal_only_if_they_are_the_same_text(sink: Sink) -> None:
    """Case, accents, spaces at the end, forms of one letter and long beginnings tell keys apart, as they do here."""
    long = "x" * 5_000
    keys: list[str | None] = [f"k{i}{end}" for i in range(100) for end in ("", " ", "  ", "\t", "\n", "\xa0")]
    keys += [
        "a",
        "A",
        "\u00e4",
        "a\u0308",
        "\u00c4",
        "ss",
        "\u00df",
        "SS",
        "i",
        "I",
        "\u0130",
        "\u0131",
        "1",
        "\uff11",
        "\u00b9",
    ]
    keys += [
        "",
        " ",
        None,
        "\\",
        "\\\\",
        "\\x61",
        "%",
        "_",
        "'",
        "\x01",
        "a\x01",
        "\u200b",
        "a\u200b",
        "\U0001f600",
        "NULL",
    ]
    keys += [
        long,
        long + " ",
        long + "y",
        long[:-1],
        long[:2_400],
        long[:600],
        long[:601],
        "\u00e9" * 1_000,
        "\u00e9" * 999,
    ]
    table = SqlTable(
        name="t", key=("k", "l"), schema=pa.schema([("k", pa.string()), ("l", pa.string()), ("n", pa.int64())])
    )
    for replace, add in ((True, 0), (False, 1_000), (False, 2_000)):
        rows = [{"k": key, "l": key, "n": add + number} for number, key in enumerate(keys)]
        assert sink.publish(table, rows, replace=replace) == len(keys)
        assert {row["k"]: row["n"] for row in sink.read(table)} == {row["k"]: row["n"] for row in rows}


@pytest.mark.parametrize("type_", [pa.float64(), pa.bool_(), pa.binary(), TIMESTAMP], ids=str)
def test_null_is_a_key_in_columns_of_every_type(sink: Sink, type_: pa.DataType) -> None:
    value = {pa.float64(): 0.0, pa.bool_(): False, pa.binary(): b"", TIMESTAMP: MIDNIGHT}[type_]
    table = SqlTable(name="t", key=("k",), schema=pa.schema([("k", type_), ("n", pa.int64())]))
    for n in (1, 2):
        rows: list[dict[str, Any]] = [{"k": value, "n": n}, {"k": None, "n": n}]
        assert sink.publish(table, rows, replace=False) == 2
        assert sink.read(table) == rows


def test_a_provisional_row_never_replaces_a_final_one(sink: Sink) -> None:
    standing = [figures("final", 1), figures("open", 1, final=False), figures("unknown", 1, final=None)]
    sink.publish(BY_CARRIER, standing, replace=True)
    provisional = [figures(carrier, 2, final=False) for carrier in ("final", "new", "open", "unknown")]
    assert sink.publish(BY_CARRIER, provisional, replace=False) == 3
    assert sink.read(BY_CARRIER) == [standing[0], *provisional[1:]]
    corrected = [figures("final", 3), figures("open", 3)]
    assert sink.publish(BY_CARRIER, corrected, replace=False) == 2
    assert sink.read(BY_CARRIER) == [corrected[0], provisional[1], corrected[1], provisional[3]]


def test_a_replacement_publishes_provisional_rows_too(sink: Sink) -> None:
    sink.publish(BY_CARRIER, [figures("AA", 1)], replace=True)
    sink.publish(BY_CARRIER, [figures("AA", 2, final=False)], replace=True)
    assert sink.read(BY_CARRIER) == [figures("AA", 2, final=False)]


@pytest.mark.parametrize("replace", [True, False])
def test_rows_of_one_key_count_one_after_the_other(sink: Sink, replace: bool) -> None:
    rows = [figures("later", 1), figures("final", 1), figures("later", 2), figures(None, 1, gate=None)]
    rows += [figures("final", 2, final=False), figures("later", 3), figures(None, 2, gate=None)]
    sink.publish(BY_CARRIER, rows, replace=replace)
    assert sink.read(BY_CARRIER) == [figures("final", 1), figures("later", 3), figures(None, 2, gate=None)]


def test_publishing_twice_leaves_the_same_tables(sink: Sink) -> None:
    rows = [figures("AA", 1), figures(None, 2), figures("BB", 3, gate=None, final=False)]
    for replace in (True, True, False, False):
        assert sink.publish(BY_CARRIER, rows, replace=replace) == 3
        assert sink.read(BY_CARRIER) == [rows[0], rows[2], rows[1]]


def test_a_failure_in_the_last_table_leaves_the_first_as_it_was(sink: Sink) -> None:
    sink.publish(PLAIN, plain(a=1), replace=True)
    sink.execute("create table theirs (id integer)")
    theirs = SqlTable(name="theirs", key=("k",), schema=PLAIN.schema)
    new = SqlTable(name="new", key=("k",), schema=PLAIN.schema)
    tables = {table: batches_of(table, plain(b=2)) for table in (PLAIN, new, theirs)}
    with pytest.raises(SqlSinkError, match=r"'theirs'.*not made by Streamgauge"):
        sql.publish(sink.url, tables, replace=True)
    assert sink.read(PLAIN) == plain(a=1)
    assert sink.read(new) == []


@pytest.mark.parametrize("replace", [True, False])
def test_what_the_rows_source_raises_passes_and_nothing_is_written(sink: Sink, replace: bool) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield from batches_of(PLAIN, plain(c=3))
        raise ZeroDivisionError("the source broke")

    sink.publish(PLAIN, plain(a=1), replace=True)
    second = SqlTable(name="second", key=("k",), schema=PLAIN.schema)
    tables: Mapping[SqlTable, Iterator[pa.RecordBatch]] = {PLAIN: batches_of(PLAIN, plain(b=2)), second: broken()}
    with pytest.raises(ZeroDivisionError, match="the source broke"):
        sql.publish(sink.url, tables, replace=replace)
    assert sink.read(PLAIN) == plain(a=1)
    assert sink.read(second) == []


def test_a_null_where_the_schema_has_none_fails_and_changes_nothing(sink: Sink) -> None:
    sink.publish(BY_CARRIER, [figures("AA", 1)], replace=True)
    bad = pa.RecordBatch.from_arrays([pa.nulls(1, field.type) for field in BY_CARRIER.schema], schema=BY_CARRIER.schema)
    with pytest.raises(SqlSinkError, match=r"table 'by_carrier': .*window_start"):
        sql.publish(sink.url, {BY_CARRIER: [bad]}, replace=True)
    assert sink.read(BY_CARRIER) == [figures("AA", 1)]


def test_our_table_of_other_columns_is_made_again_by_a_replacement_only(sink: Sink) -> None:
    sink.publish(PLAIN, plain(a=1), replace=True)
    schema = pa.schema([("k", pa.string()), ("n", pa.float64()), ("more", pa.bool_())])  # n was int64
    changed = SqlTable(name="plain", key=("k",), schema=schema)
    rows = [{"k": "a", "n": 0.5, "more": None}]
    with pytest.raises(SqlSinkError, match="the table was made by another version of the job: it has the key k and"):
        sink.publish(changed, rows, replace=False)
    assert sink.read(PLAIN) == plain(a=1)
    sink.publish(changed, rows, replace=True)
    assert sink.read(changed) == rows
    sink.publish(PLAIN, plain(b=2), replace=True)
    assert sink.read(PLAIN) == plain(b=2)


def test_columns_that_may_be_null_are_added_to_our_table(sink: Sink) -> None:
    sink.publish(PLAIN, plain(a=1), replace=True)
    top = pa.list_(pa.struct([("value", pa.string()), ("count", pa.int64())]))
    fields = [pa.field('100% "new"', pa.float64()), *PLAIN.schema, pa.field("top", top)]
    grown = SqlTable(name="plain", key=("k",), schema=pa.schema(fields))
    new = {'100% "new"': 0.5, "k": "b", "n": 2, "top": [{"value": "x", "count": 3}]}
    old = {'100% "new"': None, "k": "a", "n": 1, "top": None}
    for _ in range(2):
        sink.publish(grown, [new], replace=False)
        assert sink.read(grown) == [old, new]
    with pytest.raises(SqlSinkError, match="the table was made by another version of the job"):
        sink.publish(PLAIN, plain(c=3), replace=False)
    sink.publish(grown, [old], replace=True)
    assert sink.read(grown) == [old]


def test_a_column_that_must_not_be_null_is_not_added(sink: Sink) -> None:
    sink.publish(PLAIN, plain(a=1), replace=True)
    grown = SqlTable(name="plain", key=("k",), schema=PLAIN.schema.append(pa.field("more", pa.int64(), nullable=False)))
    with pytest.raises(SqlSinkError, match="the table was made by another version of the job"):
        sink.publish(grown, [{"k": "b", "n": 2, "more": 1}], replace=False)
    assert sink.read(PLAIN) == plain(a=1)


def test_a_change_of_layout_is_undone_when_the_publication_fails(sink: Sink) -> None:
    sink.publish(PLAIN, plain(a=1), replace=True)
    changed = SqlTable(name="plain", key=("x",), schema=pa.schema([("x", pa.int64())]))
    other = SqlTable(name="other", key=("k",), schema=PLAIN.schema)
    with pytest.raises(SqlSinkError, match="a batch does not fit: its columns are x int64, the table's are k string"):
        sql.publish(
            sink.url, {changed: batches_of(changed, [{"x": 1}]), other: batches_of(changed, [{"x": 1}])}, replace=True
        )
    assert sink.read(PLAIN) == plain(a=1)


@pytest.mark.parametrize("replace", [True, False])
def test_a_table_of_somebody_else_is_not_touched(sink: Sink, replace: bool) -> None:
    sink.publish(BY_CARRIER, [], replace=True)
    sink.execute("create table plain (k text, n bigint)")
    sink.execute("insert into plain values ('theirs', 1)")
    with pytest.raises(SqlSinkError, match="'plain': a table of this name exists and was not made by Streamgauge"):
        sink.publish(PLAIN, plain(a=1), replace=replace)
    assert sink.execute("select * from plain") == [("theirs", 1)]


def test_a_table_put_in_place_of_ours_is_not_touched(sink: Sink) -> None:
    sink.publish(PLAIN, plain(a=1), replace=True)
    sink.execute("drop table plain")
    sink.execute("create table plain (precious text)")
    with pytest.raises(SqlSinkError, match=r"not made by Streamgauge .its columns are precious"):
        sink.publish(PLAIN, plain(a=1), replace=True)


def test_our_table_that_was_dropped_is_made_again(sink: Sink) -> None:
    sink.publish(PLAIN, plain(a=1), replace=True)
    sink.execute("drop table plain")
    assert sql.read(sink.url, PLAIN).num_rows == 0
    sink.publish(PLAIN, plain(b=2), replace=False)
    assert sink.read(PLAIN) == plain(b=2)


def test_reading_says_which_columns_a_table_lacks(sink: Sink) -> None:
    sink.publish(PLAIN, plain(a=1), replace=True)
    wider = SqlTable(name="plain", key=("k",), schema=PLAIN.schema.append(pa.field("more", pa.int64())))
    with pytest.raises(SqlSinkError, match="table 'plain': the table lacks the columns more"):
        sink.read(wider)


def test_batches_of_any_size_make_the_same_table(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.storage.sql.stored_form.CHUNK_ROWS", 7)
    rows = [{"k": f"{number % 23:02}", "n": number} for number in range(50)]
    last = rows[46:] + rows[27:46]
    for sizes in (1, 7, 20, 50):
        whole = pa.Table.from_pylist(rows, PLAIN.schema)
        sql.publish(sink.url, {PLAIN: iter(whole.to_batches(max_chunksize=sizes))}, replace=True)
        assert sink.read(PLAIN) == last


def test_tables_of_one_name_are_refused(sink: Sink) -> None:
    twin = SqlTable(name="plain", key=("n",), schema=PLAIN.schema)
    with pytest.raises(SqlSinkError, match="tables must have different names, they are plain, plain"):
        sql.publish(sink.url, {PLAIN: [], twin: []}, replace=True)


KEYS = st.sampled_from([None, "", "NULL", "a", "b"])
ROWS = st.lists(st.tuples(KEYS, st.sampled_from([None, 0, 1]), st.booleans()), max_size=8)


@settings(max_examples=30, deadline=None)
@given(publications=st.lists(ROWS, max_size=3))
def test_any_upserts_give_what_one_row_after_the_other_gives(
    publications: list[list[tuple[str | None, int | None, bool]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('law')}/x.db"
    engine = open_engine(parsed(url))
    model: dict[tuple[str | None, int | None], dict[str, Any]] = {}
    for number, publication in enumerate(publications):
        rows = [figures(carrier, number, gate=gate, final=final) for carrier, gate, final in publication]
        rows = [row | {"rows": number * 10 + place} for place, row in enumerate(rows)]
        for row in rows:
            standing = model.get((row["carrier"], row["gate"]))
            if standing is None or row["final"] or not standing["final"]:
                model[row["carrier"], row["gate"]] = row
        sqlite.publish(engine, {BY_CARRIER: batches_of(BY_CARRIER, rows)}, replace=False)
    found = sql.read(url, BY_CARRIER).to_pylist()
    assert {(row["carrier"], row["gate"]): row for row in found} == model


def test_a_table_of_somebody_else_is_told_when_the_sink_is_looked_at(sink: Sink) -> None:
    sink.publish(BY_CARRIER, [figures("AA", 1)], replace=True)
    sql.check(sink.url, [PLAIN, BY_CARRIER])
    sink.execute('create table "plain" (theirs integer)')
    sql.check(sink.url, [BY_CARRIER])
    with pytest.raises(SqlSinkError, match="'plain': a table of this name exists and was not made by Streamgauge"):
        sql.check(sink.url, [BY_CARRIER, PLAIN])
    assert sink.execute('select count(*) from "plain"') == [(0,)]

"""Names and keys that no database can hold are refused when the table is described."""

import pyarrow as pa
import pytest

from transforms.storage.sql import SqlTable

SCHEMA = pa.schema([("k", pa.string()), ("top3", pa.list_(pa.struct([("value", pa.string()), ("count", pa.int64())])))])


@pytest.mark.parametrize(
    ("name", "key", "schema", "words"),
    [
        ("", ("k",), SCHEMA, "name must not be empty"),
        ("streamgauge_tables", ("k",), SCHEMA, "must not be empty, 'streamgauge_tables' or"),
        ("Streamgauge_Tables", ("k",), SCHEMA, "is 'Streamgauge_Tables'"),
        ("a\0b", ("k",), SCHEMA, r"hold U\+0000, table 'a\\x00b'"),
        ("t", ("",), pa.schema([("", pa.string())]), "names must not be empty"),
        ("t", ("k",), pa.schema([("k", pa.string())] * 2), "columns must differ"),
        ("t", (), SCHEMA, r"key must name columns .* is \(\) in table 't'"),
        ("t", ("k", "k"), SCHEMA, "each once"),
        ("t", ("x",), SCHEMA, r"is \('x',\)"),
        ("t", ("top3",), SCHEMA, "a list cannot be part of a key, 'top3'"),
        ("t", ("k",), pa.schema([("k", pa.int32())]), "column 'k' of table 't' has type int32"),
        ("t", ("k",), pa.schema([("k", pa.timestamp("us"))]), r"has type timestamp\[us\]"),
        ("t", ("k",), pa.schema([("k", pa.string()), ("l", pa.list_(pa.string()))]), "has type list<"),
    ],
)
def test_a_table_that_cannot_be(name: str, key: tuple[str, ...], schema: pa.Schema, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SqlTable(name=name, key=key, schema=schema)


def test_a_table_is_a_value() -> None:
    one, same = (SqlTable(name="t", key=("k",), schema=SCHEMA) for _ in range(2))
    assert one == same
    assert {one: 1}[same] == 1


def test_only_a_bool_column_outside_the_key_protects_rows() -> None:
    def final_place(key: tuple[str, ...], type_: pa.DataType) -> int | None:
        schema = pa.schema([("k", pa.string()), ("final", type_)])
        return SqlTable(name="t", key=key, schema=schema).final_place

    assert final_place(("k",), pa.bool_()) == 1
    assert final_place(("k",), pa.string()) is None
    assert final_place(("final",), pa.bool_()) is None

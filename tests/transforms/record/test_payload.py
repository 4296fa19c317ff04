"""Payloads: lines as they are, rows of Parquet as JSON."""

import json
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.transforms.collection.outcome import TIME, column, read, schema_of
from transforms.record.batch import PAYLOAD
from transforms.record.payload import as_json, as_struct, written


def test_a_row_holds_every_column_as_json() -> None:
    row: dict[str, Any] = {
        "i": pa.array([2**53 + 1]),
        "n": pa.array([float("nan")]),
        "f": pa.array([float("inf")]),
        "d": pa.array([Decimal("1.50")]),
        "t": pa.array([datetime(2013, 1, 1, 5, tzinfo=timezone.utc)]),
        "day": pa.array([date(2013, 1, 1)]),
        "s": pa.array(['é"\n']),
        "b": pa.array([None], pa.bool_()),
        "x": pa.array([b"\xff"]),
    }
    expected = (
        '{"i": 9007199254740993, "n": null, "f": Infinity, "d": "1.50", "t": "2013-01-01T05:00:00+00:00", '
        '"day": "2013-01-01", "s": "é\\"\\n", "b": null, "x": "b\'\\\\xff\'"}'
    )
    assert as_json(pa.record_batch(list(row.values()), list(row)), 0).decode() == expected


def test_values_that_python_cannot_hold_are_written_all_the_same() -> None:
    times = pa.array([253_402_300_800_000, 2**62, None], pa.timestamp("ms"))
    texts = pa.StringArray.from_buffers(3, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff"))
    found = [json.loads(payload) for payload in written(as_struct(pa.record_batch([times, texts], ["t", "s"])))]
    assert found[0] == {"t": "10000-01-01 00:00:00.000", "s": "a"}
    assert found[1]["t"] == f"<value out of range: {2**62}>"
    assert found[1]["s"] not in ("", None)
    assert found[2] == {"t": None, "s": ""}


def test_rows_are_carried_through_filters_and_pieces() -> None:
    rows = pa.record_batch({"i": [1, 2, 3], "d": pa.array(["x", "y", None]).dictionary_encode()})
    carried = as_struct(rows).filter(pa.array([True, False, True]))
    assert written(pa.concat_arrays([carried, as_struct(rows).slice(1, 1)])) == [
        b'{"i": 1, "d": "x"}',
        b'{"i": 3, "d": null}',
        b'{"i": 2, "d": "y"}',
    ]


def test_rows_without_columns_are_empty_objects() -> None:
    none = pa.record_batch({"i": [1, 2]}).select([])
    assert written(as_struct(none).take(pa.array([1]))) == [b"{}"]


def test_bytes_are_their_own_payload() -> None:
    assert written(pa.array([b"\xff", b"", None])) == [b"\xff", b"", None]


def test_rows_of_a_file_carry_their_payloads_where_a_step_may_refuse_them(tmp_path: Path) -> None:
    pq.write_table(pa.table({"ts": [1, 2], "k": ["a", None], "other": [1, 2]}), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet", schema_of({TIME: "int64", "k": "string?"}), keep_payload=True)
    assert written(found[0].batch[PAYLOAD]) == [b'{"ts": 1, "k": "a"}', b'{"ts": 2, "k": null}']
    assert column(found, "k") == ["a", None]

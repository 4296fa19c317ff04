"""Dirty CSV and Parquet: each bad record is a dead letter with what it was, and comes back once it is repaired."""

import base64
import json
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tests.dataflow.jobs import (
    JSON_LINES,
    changed,
    parquet_table,
    parquet_tables,
    replayed,
    run,
    settled,
    streamgauge,
    write_job,
    write_json_lines,
)

GOOD: Final = 2_000
COLUMNS: Final = {"ts": "int64", "key": "string?", "value": "float64?", "count": "int64?", "ok": "bool?"}
JOB: Final = changed(
    JSON_LINES,
    record={"event_time": {"column": "ts", "unit": "s"}, "columns": COLUMNS, "max_line": "1KB"},
    aggregations=[
        {
            "name": "by_key",
            "key": ["key"],
            "window": {"size": "1h"},
            "statistics": {"value": ["count", "sum", "max"], "count": ["sum"], "ok": ["count"]},
        }
    ],
)
CSV_DIRT: Final = {
    b'1700000001,"open,1,1,true': "malformed",
    b'1700000001,mid"dle,1,1,true': "malformed",
    b"1700000001,a,1,1": "malformed",
    b"1700000001,a,1,1,true,more": "malformed",
    b"": "malformed",
    b"   ": "malformed",
    b"1700000001,\xff\xfe,1,1,true": "invalid_utf8",
    b"soon,a,1,1,true": "wrong_type",
    b"1700000001,a,much,1,true": "wrong_type",
    b"1700000001,a,1,1.7,true": "wrong_type",
    b"1700000001,a,1,1,perhaps": "wrong_type",
    b",a,1,1,true": "missing_field",
    b"1700000001,a,NaN,1,true": "out_of_range",
    b"1700000001,a,-Infinity,1,true": "out_of_range",
    b"1700000001,a,1e999,1,true": "out_of_range",
    b"1700000001,a,1,9223372036854775808,true": "out_of_range",
    b"1700000001,a\x00,1,1,true": "out_of_range",
    b"253402300800,a,1,1,true": "bad_event_time",
    b"1700000001," + b"x" * 2_000 + b",1,1,true": "too_long",
}
CSV_GOOD: Final = [
    b'"1700000001","a, ""b""","1.5","2","true"\r',
    b"1700000001,,,,",
    b"1.7e9,caf\xc3\xa9,-0.0,1.0,0",
    b"1700000001,null,1e-300,true,FALSE",
]


def good_csv(i: int) -> bytes:
    return b"%d,k%d,%d.5,%d,true" % (1_700_000_000 + i, i % 5, i % 91, i)


def book(folder: Path) -> Counter[str]:
    rows = parquet_table(folder / "out/ledger").drop_columns(["source", "first_position"]).to_pylist()
    return Counter({name: sum(row[name] for row in rows) for name in rows[0]})


def tables_of(folder: Path) -> dict[str, Any]:
    return {name: settled(table) for name, table in parquet_tables(folder / "out").items() if name != "ledger"}


def exported(job: Path) -> list[dict[str, Any]]:
    """The dead letters as `replay --export` writes them."""
    target = job.parent / "export.jsonl"
    ended = streamgauge("replay", job, "--export", target)
    assert ended.code == 0, ended.err
    return [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]


def payload_of(entry: dict[str, Any]) -> bytes:
    return entry["payload"].encode() if "payload" in entry else base64.b64decode(entry["payload_base64"])


def make_csv(folder: Path, lines: list[bytes]) -> Path:
    folder.mkdir()
    (folder / "data.csv").write_bytes(
        b"\xef\xbb\xbfts,key,value,count,ok\r\n" + b"".join(line + b"\n" for line in lines)
    )
    files = {"files": {"paths": ["data.csv"], "format": "csv"}}
    return write_job(folder, changed(JOB, source=files, execution={"range": "8KB"}))


def test_dirty_csv_is_kept_as_it_was_and_comes_back_repaired(tmp_path: Path) -> None:
    dirt = list(CSV_DIRT)
    lines = [good_csv(i) for i in range(GOOD)] + CSV_GOOD
    places = {17 + 101 * i: bad for i, bad in enumerate(dirt)}
    clean = make_csv(tmp_path / "clean", lines)
    job = make_csv(tmp_path / "dirty", [places.get(i, line) for i, line in enumerate(lines)])
    assert "dead" not in run(clean).out.split("ledger")[1].splitlines()[0]
    run(job)
    assert book(job.parent) == {**book(clean.parent), "accepted": len(lines) - len(dirt), "dead": len(dirt)}
    letters = parquet_table(job.parent / "out/dead_letters").to_pylist()
    assert sorted((letter["payload"], letter["reason"]) for letter in letters) == sorted(CSV_DIRT.items())
    assert all(letter["stage"] == "parse" and letter["detail"] for letter in letters)
    by_payload = {bad: i for i, bad in places.items()}
    entries = exported(job)
    for entry in entries:
        wanted = lines[by_payload[payload_of(entry)]]
        entry.pop("payload_base64", None)
        entry["payload"] = wanted.decode()
    replayed(job, write_json_lines(tmp_path / "repaired.jsonl", entries))
    assert tables_of(job.parent) == tables_of(clean.parent)
    assert book(job.parent) == book(clean.parent)
    run(job)
    assert tables_of(job.parent) == tables_of(clean.parent)


def test_what_csv_can_say_in_several_ways_is_read_in_each(tmp_path: Path) -> None:
    job = make_csv(tmp_path / "csv", CSV_GOOD)
    run(job)
    rows = {row["key"]: row for row in parquet_table(job.parent / "out/by_key").to_pylist()}
    assert set(rows) == {'a, "b"', "", "café", "null"}
    assert (rows['a, "b"']["value_sum"], rows['a, "b"']["count_sum"]) == (1.5, 2.0)
    assert (rows[""]["value_count"], rows[""]["value_sum"], rows[""]["ok_count"]) == (0, None, 0)
    assert (rows["null"]["value_sum"], rows["null"]["count_sum"], rows["null"]["ok_count"]) == (1e-300, 1.0, 1)


PARQUET_DIRT: Final[dict[str, tuple[Any, str]]] = {
    "ts": (None, "missing_field"),
    "value": (float("inf"), "out_of_range"),
    "key": ("a\0b", "out_of_range"),
    "count": (1.7, "wrong_type"),
    "ok": (2, "wrong_type"),
}


def make_parquet(folder: Path, records: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    kinds = pa.schema(
        [("ts", pa.int64()), ("key", pa.string()), ("value", pa.float32()), ("count", pa.float64()), ("ok", pa.int8())]
    )
    table = pa.Table.from_pylist(records, kinds)
    table = table.set_column(1, "key", table["key"].dictionary_encode())
    pq.write_table(table, folder / "data.parquet", row_group_size=300)
    return write_job(folder, changed(JOB, source={"files": {"paths": ["data.parquet"], "format": "parquet"}}))


def test_dirty_parquet_becomes_json_and_comes_back_repaired(tmp_path: Path) -> None:
    good = [
        {"ts": 1_700_000_000 + i, "key": f"k{i % 5}", "value": i % 91 + 0.5, "count": float(i), "ok": i % 2}
        for i in range(GOOD)
    ]
    good[3]["value"] = float("nan")  # which is a null
    bad = [dict(record) for record in good]
    for i, (name, (value, _)) in enumerate(PARQUET_DIRT.items()):
        bad[100 * i + 7][name] = value
    clean, job = make_parquet(tmp_path / "clean", good), make_parquet(tmp_path / "dirty", bad)
    run(clean)
    run(job)
    letters = {letter["position"]: letter for letter in parquet_table(job.parent / "out/dead_letters").to_pylist()}
    assert [letters[100 * i + 7]["reason"] for i in range(5)] == [reason for _, reason in PARQUET_DIRT.values()]
    assert book(job.parent)["dead"] == len(letters) == 5
    payload = json.loads(letters[207]["payload"])
    assert payload == {**bad[207], "count": 207.0, "key": "a\0b"}
    entries = exported(job)
    for entry in entries:
        entry["payload"] = json.dumps(good[entry["position"]])
    replayed(job, write_json_lines(tmp_path / "repaired.jsonl", entries))
    assert tables_of(job.parent) == tables_of(clean.parent)
    assert book(job.parent) == book(clean.parent)


def test_times_of_parquet_that_no_table_can_hold_are_dead_letters(tmp_path: Path) -> None:
    times = [datetime(2013, 1, 1, tzinfo=timezone.utc), datetime(1, 1, 1, tzinfo=timezone.utc), None]
    table = pa.table({"at": pa.array(times, pa.timestamp("ms", "UTC")), "far": pa.array([1, 2, 3], pa.uint64())})
    pq.write_table(table.set_column(1, "far", pa.array([1, 2**64 - 1, 3], pa.uint64())), tmp_path / "data.parquet")
    job = changed(
        JSON_LINES,
        source={"files": {"paths": ["data.parquet"], "format": "parquet"}},
        record={"event_time": {"column": "at"}, "columns": {"at": "timestamp", "far": "int64"}},
        aggregations=[{"name": "all", "window": {"size": "1d"}, "statistics": {"far": ["sum"]}}],
        dead_letters={"fail_above": 1},
    )
    run(write_job(tmp_path, job))
    letters = parquet_table(tmp_path / "out/dead_letters").to_pylist()
    assert [(letter["position"], letter["reason"]) for letter in letters] == [
        (1, "bad_event_time"),
        (2, "missing_field"),
    ]
    assert parquet_table(tmp_path / "out/all")["far_sum"].to_pylist() == [1.0]


def test_a_repair_that_is_still_bad_stays_dead_and_can_be_repaired_again(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_bytes(b'{"ts":1,"key":"a","value":1}\nbroken\n')
    job = write_job(tmp_path, JSON_LINES)
    run(job)
    for attempt, (payload, dead) in enumerate(
        [('{"ts":"soon"}', 1), ("still broken", 1), ('{"ts":2,"key":"b","value":5}', 0)], 2
    ):
        entry = {"source": "data.jsonl", "position": 29, "payload": payload}
        ended = replayed(job, write_json_lines(tmp_path / "repaired.jsonl", [entry]))
        assert f"replayed      1: {1 - dead} brought in, {dead} still dead" in ended.out
        letters = parquet_table(tmp_path / "out/dead_letters").to_pylist()
        assert [(letter["payload"], letter["attempts"]) for letter in letters] == [(payload.encode(), attempt)] * dead
        assert book(tmp_path) == Counter({**book(tmp_path), "read": 2, "accepted": 2 - dead, "dead": dead})
    assert {row["key"] for row in parquet_table(tmp_path / "out/by_key").to_pylist()} == {"a", "b"}


def test_an_export_that_is_none_or_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_bytes(b'{"ts":1,"key":"a","value":1}\nbroken\n')
    job = write_job(tmp_path, JSON_LINES)
    run(job)
    before = tables_of(tmp_path)
    for text, words in {
        '{"source": "data.jsonl", "position": 0, "payload": "x"}': "data.jsonl has no dead letter at 0",
        '{"source": "other.jsonl", "position": 29, "payload": "x"}': "other.jsonl has no dead letter at 29",
        '{"source": "data.jsonl", "position": "x"}': "is not a line of an export",
        '{"position": 29}': "is not a line of an export",
        "[]": "is not a line of an export",
        "\x00": "is not a line of an export",
        '{"source": "data.jsonl", "position": 29, "payload": 7}': "is not a line of an export",
        '{"source": "data.jsonl", "position": 29, "payload_base64": "!"}': "is not a line of an export",
    }.items():
        (tmp_path / "repaired.jsonl").write_text(text + "\n")
        ended = streamgauge("replay", job, tmp_path / "repaired.jsonl")
        assert (ended.code, words in ended.message, ":1: " in ended.message) == (2, True, True), (text, ended)
        assert tables_of(tmp_path) == before


def test_a_replay_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_bytes(b'{"ts":1,"key":"a","value":1}\nbroken\n')
    job = write_job(tmp_path, JSON_LINES)
    run(job)
    before = tables_of(tmp_path)
    entry = {"source": "data.jsonl", "position": 29, "payload": '{"ts":2,"key":"b","value":5}'}
    repaired = write_json_lines(tmp_path / "repaired.jsonl", [entry])
    (tmp_path / "out/by_key/foreign.parquet").write_text("somebody's")
    ended = streamgauge("replay", job, repaired)
    assert (ended.code, "foreign.parquet" in ended.message) == (1, True)
    (tmp_path / "out/by_key/foreign.parquet").unlink()
    assert tables_of(tmp_path) == before
    run(job)
    assert tables_of(tmp_path) == before
    replayed(job, repaired)
    assert tables_of(tmp_path) != before


def test_a_repair_outlives_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_bytes(b'{"ts":1,"key":"a","value":1}\nbroken\n')
    (tmp_path / "in_the_way_of_reports.py").write_text(
        "from pathlib import Path\n"
        "def put(frame):\n"
        "    if len(frame):\n"
        f"        Path({str(tmp_path)!r}, 'report').mkdir(exist_ok=True)\n"
        "    return frame\n"
    )
    job = write_job(tmp_path, changed(JSON_LINES, preprocess=[{"apply": "in_the_way_of_reports:put"}]))
    run(job)
    (tmp_path / "report").rmdir()
    entry = {"source": "data.jsonl", "position": 29, "payload": '{"ts":2,"key":"b","value":5}'}
    repaired = write_json_lines(tmp_path / "repaired.jsonl", [entry])
    assert streamgauge("replay", job, repaired, "--set", "report=report").code == 1
    assert {row["key"] for row in parquet_table(tmp_path / "out/by_key").to_pylist()} == {"a", "b"}
    run(job)
    assert {row["key"] for row in parquet_table(tmp_path / "out/by_key").to_pylist()} == {"a", "b"}

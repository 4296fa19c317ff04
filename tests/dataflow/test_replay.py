"""100,000 good and 1,000 bad records: the ledger closes, payloads are the original bytes, repairs bring all back."""

import base64
import json
import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from tests.dataflow.jobs import JSON_LINES, changed, parquet_table, readings, settled, streamgauge, write_job

GOOD, BAD = 100_000, 1_000
HUGE = b'{"ts":1700000000,"key":"' + b"x" * (10 << 20) + b'","value":1}'
DIRT = {
    b'{"ts":1700000000,"key":"k1","val': "malformed",
    b"ERROR connection reset by peer": "malformed",
    b'{"ts":1700000000,"key":"k1","value":1,}': "malformed",
    b"": "malformed",
    b"   ": "malformed",
    b'\xef\xbb\xbf{"ts":1700000000,"key":"k1","value":1}': "malformed",
    b'{"a":' * 50_000: "malformed",
    b'{"ts":1700000000,"key":"\xff\xfe","value":1}': "invalid_utf8",
    b'{"ts":1700000000,"key":"k1","value":"soon"}': "wrong_type",
    b'{"ts":1.7,"key":"k1","value":1}\r': "wrong_type",
    b'{"ts":"2013-02-30","key":"k1","value":1}': "wrong_type",
    b'{"ts":1700000000,"key":{"id":1},"value":1}': "wrong_type",
    b'{"ts":1700000000,"key":["k1"],"value":1}': "wrong_type",
    b'{"key":"k1","value":1}': "missing_field",
    b'{"ts":null,"key":"k1","value":1}': "missing_field",
    b'{"ts":1700000000,"key":"k1","value":NaN}': "out_of_range",
    b'{"ts":1700000000,"key":"k1","value":-Infinity}': "out_of_range",
    b'{"ts":1700000000,"key":"k1","value":1e999}': "out_of_range",
    b'{"ts":99999999999999999999,"key":"k1","value":1}': "out_of_range",
    b'{"ts":1700000000,"key":"k\\u0000","value":1}': "out_of_range",
    b'{"ts":253402300800,"key":"k1","value":1}': "bad_event_time",
}
"""A record of each kind, and the reason it is refused for."""


@pytest.fixture(scope="module")
def clean() -> list[bytes]:
    return [json.dumps(reading).encode() for reading in readings(GOOD + BAD)]


@pytest.fixture(scope="module")
def places() -> dict[int, bytes]:
    """Which records are bad, and what stands there instead."""
    chance = random.Random(20131)
    kinds = list(DIRT)
    return {
        place: (HUGE if n == 7 else kinds[n % len(kinds)])
        for n, place in enumerate(chance.sample(range(GOOD + BAD), BAD))
    }


def run_beside(folder: Path, lines: list[bytes]) -> Path:
    (folder / "data.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    job = write_job(folder, changed(JSON_LINES, execution={"range": "256KB"}))
    ended = streamgauge("run", job)
    assert (ended.code, ended.err) == (0, "")
    return job


def ledger(folder: Path) -> Counter[str]:
    rows = parquet_table(folder / "out" / "ledger").drop_columns(["source", "first_position"]).to_pylist()
    return Counter({name: sum(row[name] for row in rows) for name in rows[0]})


def test_bad_records_are_kept_as_they_were_and_come_back_repaired(
    clean: list[bytes], places: dict[int, bytes], tmp_path: Path
) -> None:
    wanted_folder, folder = tmp_path / "clean", tmp_path / "dirty"
    wanted_folder.mkdir()
    folder.mkdir()
    run_beside(wanted_folder, clean)
    lines = [places.get(number, line) for number, line in enumerate(clean)]
    starts = {}
    position = 0
    for number, line in enumerate(lines):
        starts[position] = number
        position += len(line) + 1
    job = run_beside(folder, lines)

    book = ledger(folder)
    assert book["read"] == GOOD + BAD == book["accepted"] + book["dead"]
    assert book["dead"] == BAD
    letters = parquet_table(folder / "out" / "dead_letters")
    reasons = {**DIRT, HUGE: "too_long"}
    for letter in letters.to_pylist():
        payload = places[starts[letter["position"]]]
        assert letter["payload"] == payload
        assert letter["reason"] == reasons[payload], letter["detail"]
        assert (letter["source"], letter["stage"], letter["attempts"]) == ("data.jsonl", "parse", 1)

    export = folder / "repair.jsonl"
    assert streamgauge("replay", job, "--export", export).code == 0
    entries = [json.loads(line) for line in export.read_text(encoding="utf-8").splitlines()]
    for entry in entries:
        original = entry["payload"].encode() if "payload" in entry else base64.b64decode(entry["payload_base64"])
        assert original == places[starts[entry["position"]]]
        entry.pop("payload_base64", None)
        entry["payload"] = clean[starts[entry["position"]]].decode()
    half = folder / "half.jsonl"
    half.write_text("".join(json.dumps(entry) + "\n" for entry in entries[: BAD // 2]), encoding="utf-8")
    export.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")

    assert streamgauge("replay", job, half).code == 0
    assert ledger(folder)["dead"] == BAD - BAD // 2
    ended = streamgauge("replay", job, export)
    assert ended.code == 0
    assert ledger(folder) == Counter({**dict.fromkeys(book, 0), "read": GOOD + BAD, "accepted": GOOD + BAD})
    assert_same_figures(wanted_folder, folder)

    again = streamgauge("replay", job, export)
    assert (again.code, "nothing to replay" in again.out) == (0, True)
    assert streamgauge("run", job).code == 0  # a plain run reads the repaired records too
    assert_same_figures(wanted_folder, folder)


def assert_same_figures(wanted: Path, got: Path) -> None:
    want, ours = (settled(parquet_table(folder / "out" / "by_key")) for folder in (wanted, got))
    assert len(want) == len(ours)
    for row, other in zip(want, ours, strict=True):
        assert {**row, "value_sum": pytest.approx(row["value_sum"], rel=1e-12)} == other


def test_trying_again_counts_the_attempts_and_a_changed_file_is_read_as_it_is(tmp_path: Path) -> None:
    lines = [json.dumps(reading).encode() for reading in readings(100)]
    lines[5] = b"broken"
    job = run_beside(tmp_path, lines)
    ended = streamgauge("replay", job)
    assert (ended.code, "1 still dead" in ended.out) == (0, True)
    letters = parquet_table(tmp_path / "out" / "dead_letters")
    assert letters["attempts"].to_pylist() == [2]

    position = letters["position"][0].as_py()
    repaired = tmp_path / "repaired.jsonl"
    entry = {
        "source": "data.jsonl",
        "position": position,
        "payload": json.dumps({"ts": 1_700_000_000, "key": "new", "value": 1}),
    }
    repaired.write_text(json.dumps(entry) + "\n")
    assert streamgauge("replay", job, repaired).code == 0
    assert "new" in keys(tmp_path)
    lines[5] = b"BROKEN"  # somebody changed the file: what was repaired is not there any more
    run_beside(tmp_path, lines)
    assert "new" not in keys(tmp_path)
    assert parquet_table(tmp_path / "out" / "dead_letters")["payload"].to_pylist() == [b"BROKEN"]


def keys(folder: Path) -> list[str]:
    found: pa.ChunkedArray = parquet_table(folder / "out" / "by_key")["key"]
    return found.to_pylist()

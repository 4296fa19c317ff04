from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from benchmarks.bad_records import GOOD_PER_BAD, KINDS
from benchmarks.events import START_MS, EventSet, file_paths

SMALL = EventSet(2_000, parts=2, keys=10)


def test_the_same_set_has_the_same_bytes_in_another_folder(tmp_path: Path) -> None:
    here, there = (file_paths(SMALL, "jsonl", tmp_path / name) for name in ("here", "o'clock"))
    assert [path.read_bytes() for path in here] == [path.read_bytes() for path in there]


def test_parts_differ_and_cover_the_same_time(tmp_path: Path) -> None:
    first, second = file_paths(SMALL, "parquet", tmp_path)
    assert first.read_bytes() != second.read_bytes()
    for path in (first, second):
        low, high = duckdb.read_parquet(str(path)).aggregate("min(ts), max(ts)").fetchall()[0]
        assert START_MS <= low < START_MS + 60_000
        assert 0 <= START_MS + SMALL.span // timedelta(milliseconds=1) - high < 60_000


def test_json_lines_and_parquet_hold_the_same_rows(tmp_path: Path) -> None:
    lines, rows = ([str(path) for path in file_paths(SMALL, kind, tmp_path)] for kind in ("jsonl", "parquet"))
    with duckdb.connect() as connection:
        text, table = connection.sql("from read_ndjson($1)", params=[lines]), connection.read_parquet(rows)
        assert text.fetchall() == table.fetchall()


def test_head_is_the_beginning_of_the_whole_file(tmp_path: Path) -> None:
    (whole, _), (head,) = (
        file_paths(events, "jsonl", tmp_path) for events in (SMALL, EventSet(2_000, keys=10, head=300))
    )
    assert head.read_bytes().splitlines() == whole.read_bytes().splitlines()[:300]


def test_one_record_in_a_hundred_is_bad_and_the_good_ones_are_untouched(tmp_path: Path) -> None:
    events = EventSet(2_000, keys=10, has_bad=True)
    (clean,), (mixed,) = (file_paths(each, "jsonl", tmp_path) for each in (events.clean, events))
    lines = mixed.read_bytes().splitlines(keepends=True)
    assert b"".join(line for line in lines if line not in KINDS) == clean.read_bytes()
    assert len(lines) == events.records == 2_000 + 2_000 // GOOD_PER_BAD


def test_bad_records_exist_as_text_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON lines only, not in parquet"):
        file_paths(EventSet(2_000, has_bad=True), "parquet", tmp_path)

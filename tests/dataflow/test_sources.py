"""Sources, from the command line: cut short or changed they end a job, and without records they do not."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tests.dataflow.jobs import (
    JSON_LINES,
    changed,
    in_process_of_its_own,
    parquet_table,
    parquet_tables,
    readings,
    run,
    settled,
    streamgauge,
    tree,
    write_job,
    written,
)
from transforms.collection.log.writer import LogWriter

CHANGE = """
import os
from pathlib import Path

HERE = Path(__file__).parent

def change(frame):
    try:
        if len(frame):
            (HERE / "changed").mkdir()
            data = HERE / "data.jsonl"
            {change}
    except FileExistsError:
        pass
    return frame
"""
HAPPENS = {
    "cut": ("os.truncate(data, 20_000)", "had 1[0-9,]+ bytes when it was listed, and has 20,000 bytes now"),
    "replaced": (
        "(HERE / 'other').rename(data)",
        "had 1[0-9,]+ bytes when it was listed, and another file of 27 bytes",
    ),
    "deleted": ("data.unlink()", ""),
    "appended to": ("data.open('a').write((HERE / 'other').read_text())", ""),
}
MODES = [(), ("--direct_num_workers=2",), ("--direct_num_workers=2", "--direct_running_mode=multi_processing")]


def job_of(paths: str, format_: str) -> dict[str, Any]:
    return changed(JSON_LINES, source={"files": {"paths": paths, "format": format_}})


@pytest.mark.parametrize("what, flags", [*(("cut", flags) for flags in MODES), *((what, ()) for what in HAPPENS)][1:])
def test_what_happens_to_a_file_under_a_run_is_one_sentence_or_nothing(
    tmp_path: Path, what: str, flags: tuple[str, ...]
) -> None:
    change, sentence = HAPPENS[what]
    (tmp_path / "change.py").write_text(CHANGE.replace("{change}", change))
    (tmp_path / "other").write_text('{"ts": 0, "key": "another"}')
    job = changed(JSON_LINES, execution={"range": 1000, "batch_rows": 50}, preprocess=[{"apply": "change:change"}])
    ended = in_process_of_its_own("run", written(tmp_path, job, readings(3000)), *flags)
    assert (tmp_path / "changed").exists()
    if what == "deleted":
        sentence = "data.jsonl cannot be read to its end: No such file or directory"
    elif sentence:
        sentence = f"data.jsonl changed while it was read: it {sentence}"
    if what == "appended to":
        assert ended.code == 0, ended.err
        assert sum(row["rows"] for row in parquet_table(tmp_path / "out/by_key").to_pylist()) == 3000
    else:
        assert ended.code == 1
        assert ended.message.count("\n") == 1
        assert re.match(f"error: {sentence}", ended.message), ended.message
        assert not [path for path in tree(tmp_path) if path.endswith(".parquet")]


@pytest.mark.parametrize("suffix, compress", [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_a_compressed_file_cut_short_leaves_the_tables_of_the_run_before(
    tmp_path: Path, suffix: str, compress: Any
) -> None:
    rows = "".join(json.dumps(row) + "\n" for row in readings(20_000)).encode()
    file = tmp_path / f"data.jsonl{suffix}"
    job = write_job(tmp_path, job_of(file.name, "jsonl"))
    file.write_bytes(compress(rows))
    run(job)
    before = settled(parquet_table(tmp_path / "out/by_key"))
    for frames in (compress(rows)[:-3], compress(rows)[:9000], compress(rows) + compress(rows)[:-3]):
        file.write_bytes(frames)
        ended = streamgauge("run", job)
        assert ended.code == 1
        assert f"error: {file.name} cannot be read to its end: its " in ended.message
        assert "data is cut short: its last member or frame is incomplete\n" in ended.message
        assert settled(parquet_table(tmp_path / "out/by_key")) == before
    file.write_bytes(compress(b'{"ts": 1}\n')[:-3])
    for command in ("check", "run"):
        ended = streamgauge(command, job)
        assert (ended.code, "cut short" in ended.message) == (2, True)


EMPTY: dict[str, list[bytes]] = {
    "jsonl": [b"", b"\xef\xbb\xbf"],
    "csv": [b"", b"\xef\xbb\xbf", b"\n\n", b"\r\n", b"ts,key,value\n", b"\xef\xbb\xbfts,key,value"],
}
PACKINGS: dict[str, Any] = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress, ".ZST": zstandard.compress}


def write_empty(folder: Path, format_: str) -> list[str]:
    """Files of a format that hold no record."""
    names = []
    for number, content in enumerate(EMPTY.get(format_, [])):
        for suffix, pack in PACKINGS.items():
            names.append(f"{number}.{format_}{suffix}")
            (folder / names[-1]).write_bytes(pack(content) + (pack(b"") if suffix else b""))
    if format_ == "parquet":
        schema = pa.schema({"ts": pa.int64(), "key": pa.string(), "value": pa.float64()})
        for groups in range(4):
            names.append(f"{groups}.parquet")
            with pq.ParquetWriter(folder / names[-1], schema) as writer:
                for _ in range(groups):
                    writer.write_table(schema.empty_table())
    return names


@pytest.mark.parametrize("format_", ["jsonl", "csv", "parquet"])
def test_files_without_records_fail_no_job_and_make_no_record(tmp_path: Path, format_: str) -> None:
    names = write_empty(tmp_path, format_)
    job = write_job(tmp_path, job_of(f"*.{format_}*", format_))
    assert f"{len(names)} files in " in streamgauge("check", job).out
    ended = run(job)
    tables = parquet_tables(tmp_path / "out")
    assert tables["by_key"].num_rows == tables["dead_letters"].num_rows == 0, ended.out
    assert sum(tables["ledger"]["read"].to_pylist()) == 0
    (tmp_path / "full.jsonl").write_bytes(b'{"ts": 1, "key": "a"}\n')
    (tmp_path / "full.csv").write_bytes(b"ts,key\n1,a\n")
    pq.write_table(pa.table({"ts": [1], "key": ["a"]}), tmp_path / "full.parquet")
    run(job)
    assert [row["rows"] for row in settled(parquet_table(tmp_path / "out/by_key"))] == [1]


def test_a_parquet_file_with_row_groups_without_rows_between_full_ones_is_read(tmp_path: Path) -> None:
    schema = pa.schema({"ts": pa.int64(), "key": pa.string(), "value": pa.float64()})
    with pq.ParquetWriter(tmp_path / "a.parquet", schema) as writer:
        for count in (0, 3, 0, 0, 2, 0):
            writer.write_table(pa.Table.from_pylist([{"ts": 1, "key": "a", "value": 1.0}] * count, schema))
    run(write_job(tmp_path, job_of("*.parquet", "parquet")))
    assert [row["rows"] for row in settled(parquet_table(tmp_path / "out/by_key"))] == [5]
    assert [row["read"] for row in settled(parquet_table(tmp_path / "out/ledger"))] == [3, 2]


def test_a_log_without_chunks_fails_no_job_and_makes_no_record(tmp_path: Path) -> None:
    LogWriter(str(tmp_path / "log")).close()
    run(write_job(tmp_path, changed(JSON_LINES, source={"log": {"path": "log"}})))
    tables = parquet_tables(tmp_path / "out")
    assert [tables[name].num_rows for name in ("by_key", "dead_letters", "ledger")] == [0, 0, 0]


def test_links_and_staging_folders_count_nothing_twice(tmp_path: Path) -> None:
    for folder in ("2024-01-01", "_temporary/0", ".snapshot"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        (tmp_path / "data" / folder / "a.jsonl").write_bytes(b'{"ts": 1, "key": "a"}\n')
    (tmp_path / "data/latest").symlink_to("2024-01-01")
    (tmp_path / "data/here").symlink_to(".")
    run(write_job(tmp_path, job_of("data/**/*.jsonl", "jsonl")))
    assert [row["rows"] for row in settled(parquet_table(tmp_path / "out/by_key"))] == [1]
    assert [row["source"] for row in settled(parquet_table(tmp_path / "out/ledger"))] == ["data/2024-01-01/a.jsonl"]

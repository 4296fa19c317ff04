"""Reading: ranges of files, whole and damaged ones, alone and in a pipeline."""

import csv
import gzip
import random
from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing import test_pipeline as testing
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.typehints.decorators import TypeCheckError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.transforms.collection.outcome import TIME, column, count, dead, good, lines_of, read, schema_of
from transforms.collection.files import read as reading
from transforms.collection.files.ranges import list_ranges
from transforms.collection.files.read import FileReader, ReadFiles, read_lines
from transforms.collection.files.spec import FilesSpec
from transforms.collection.parsing import csv_quotes
from transforms.collection.spec import RecordSpec
from transforms.errors import SourceError
from transforms.record import ledger
from transforms.record.batch import PAYLOAD, POSITION, origin_of

MARK = b"\xef\xbb\xbf"
SCHEMA = schema_of({TIME: "int64", "k": "string?"})
Compress = Callable[[bytes], bytes]


def in_members(compress: Compress) -> Compress:
    """Compresses a text in three pieces that a reader must put together again."""
    return lambda data: b"".join(compress(data[a:b]) for a, b in ((0, 7), (7, 7), (7, 1000), (1000, None)))


COMPRESSIONS: dict[str, tuple[str, Compress]] = {
    "plain": ("", bytes),
    "gzip": (".gz", gzip.compress),
    "gzip of several members": (".gz", in_members(gzip.compress)),
    "zstd": (".zst", zstandard.compress),
    "zstd of several frames": (".zst", in_members(zstandard.compress)),
}


def read_back(path: str, range_bytes: int, block_bytes: int) -> dict[int, bytes]:
    """Position and bytes of every line, whatever ranges and blocks it is read in; a line read twice fails."""
    found: dict[int, bytes] = {}
    for part in list_ranges(FilesSpec(paths=(path,), format="jsonl"), "/", range_bytes):
        for lines in read_lines(part, block_bytes):
            for row, position in enumerate(lines.positions.tolist()):
                assert position not in found
                found[position] = lines.payload(row)
    return found


pieces = st.binary(max_size=12) | st.integers(0, 200).map(lambda size: b"x" * size)
sizes = st.integers(1, 12) | st.integers(1, 500)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(pieces, min_size=1, max_size=12).map(b"\n".join),
    sizes,
    sizes,
    st.sampled_from(list(COMPRESSIONS)),
    st.sampled_from([b"", MARK]),
)
@example(b"a\n" + b"x" * 70_000 + b"\nb\n" + b"y" * 65_536 + b"\n" + b"z" * 65_535, 1, 1, "plain", b"")
@example(b"a\n" + b"x" * 70_000 + b"\nb\n" + b"y" * 65_536 + b"\n" + b"z" * 65_535, 9, 7, "zstd", MARK)
@example(b"x" * 65_537 + b"\n\n", 40_000, 1, "gzip", b"")
def test_every_line_is_read_exactly_once_however_a_text_is_cut(
    text: bytes, range_bytes: int, block_bytes: int, compression: str, mark: bytes
) -> None:
    suffix, compress = COMPRESSIONS[compression]
    data = mark + text.removeprefix(MARK)
    fsspec.filesystem("memory").pipe(f"/streamgauge/cut.jsonl{suffix}", compress(data))
    assert read_back(f"memory://streamgauge/cut.jsonl{suffix}", range_bytes, block_bytes) == lines_of(data, len(mark))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_records_are_the_same_in_every_compression_and_cut(compression: str, tmp_path: Path) -> None:
    suffix, compress = COMPRESSIONS[compression]
    rows = [b'{"ts":%d,"k":"%s"}' % (row, b"v" * (row % 50)) for row in range(2000)]
    rows[5:5], rows[900:900] = [b"", b"\r", b'{"ts":'], [b"\xff", b'{"ts":1}\r']
    data = MARK + b"\n".join(rows)
    (tmp_path / f"a.jsonl{suffix}").write_bytes(compress(data))
    found = [read(tmp_path / f"a.jsonl{suffix}", SCHEMA, range_bytes=size) for size in (1 << 20, 10_000, 333)]
    assert good(found[0]) == good(found[1]) == good(found[2])
    assert dead(found[0]) == dead(found[1]) == dead(found[2])
    assert {payload for _, payload in dead(found[0]).values()} == {b"", b"\r", b'{"ts":', b"\xff"}
    assert good(found[0]).keys() | dead(found[0]).keys() == lines_of(data, 3).keys()


@pytest.mark.parametrize("header", [b"ts,k\n", MARK + b'"ts","k"\r\n'])
def test_csv_is_cut_like_json_and_its_header_is_no_record(header: bytes, tmp_path: Path) -> None:
    data = header + b"".join(b'%d,"v,%d"\r\n' % (row, row) for row in range(150)) + b"9,last"
    (tmp_path / "a.csv").write_bytes(data)
    for size in (1 << 20, 777, 5):
        found = read(tmp_path / "a.csv", SCHEMA, range_bytes=size)
        assert list(good(found)) == list(lines_of(data, len(header)))
        assert column(found, "k") == [*(f"v,{row}" for row in range(150)), "last"]


csv_lines = st.lists(
    st.sampled_from(
        ["1,a", '1,"a"', '1,"a', 'b",2', 'b",2,"c', '"', '"",', '",', ',"', '5"6', "", '1,""', '""', '"""', "é"]
    ),
    max_size=14,
)


@settings(deadline=None, max_examples=400)
@example(['",', '"', '"'], "\n", False, 1, 1, 5, 1).via("a record of exactly LONGEST_JOINED bytes")
@given(csv_lines, st.sampled_from(["\n", "\r\n"]), st.booleans(), sizes, sizes, st.integers(1, 60), st.integers(1, 9))
def test_lines_inside_quotes_are_the_same_ones_however_a_file_is_cut(
    block: list[str], newline: str, ended: bool, range_bytes: int, block_bytes: int, longest: int, step: int
) -> None:
    data = ("ts,k" + newline + newline.join(block) + newline * ended).encode()
    memory = fsspec.filesystem("memory")
    memory.pipe("/streamgauge/quotes.csv", data)
    memory.pipe("/streamgauge/quotes.csv.gz", gzip.compress(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_quotes, "LONGEST_JOINED", longest)
        whole = dead(read("memory://streamgauge/quotes.csv", SCHEMA))
        patch.setattr(csv_quotes, "_STEP", step)
        patch.setattr(reading, "_READ_AHEAD", step)
        patch.setattr(reading, "BLOCK_BYTES", block_bytes)
        for suffix in ("", ".gz"):
            cut = read(f"memory://streamgauge/quotes.csv{suffix}", SCHEMA, range_bytes=range_bytes)
            assert dead(cut) == whole
            assert count(cut)[0] == len(lines_of(data, len("ts,k" + newline)))


@pytest.mark.parametrize("range_bytes", [1 << 30, 5000, 400, 60, 7])
def test_of_csv_with_newlines_in_quotes_the_records_of_one_line_are_read_and_no_others(
    tmp_path: Path, range_bytes: int
) -> None:
    dice = random.Random(4)
    texts = ["x", "", "1,y", "\n1,y\n", '\n"1","y"\n', "a\n2,b", '"', "\n", '",\n', "\n" * 50, ",\n,\n"]
    rows = [(row, "".join(dice.choices(texts, k=dice.randrange(3)))) for row in range(400)]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerows([(TIME, "k"), *rows])
    found = read(tmp_path / "a.csv", SCHEMA, range_bytes=range_bytes)
    assert list(zip(column(found, TIME), column(found, "k"), strict=True)) == [
        row for row in rows if "\n" not in row[1]
    ]
    assert {reason for reason, _ in dead(found).values()} == {"malformed"}


def test_a_file_behind_a_url_is_read_in_ranges() -> None:
    data = b"".join(b'{"ts":%d}\n' % row for row in range(300))
    fsspec.filesystem("memory").pipe("/streamgauge/ranges.jsonl", data)
    found = read("memory://streamgauge/ranges.jsonl", SCHEMA, range_bytes=100)
    assert len(found) > 10
    assert column(found, TIME) == list(range(300))
    assert {origin_of(part.batch).source for part in found} == {"memory:///streamgauge/ranges.jsonl"}


def test_blank_lines_and_a_mark_in_the_middle_are_dead_letters(tmp_path: Path) -> None:
    data = MARK + b'\n \n{"ts":1}\r\n\r\n' + MARK + b'{"ts":2}\n\n'
    (tmp_path / "a.jsonl").write_bytes(data)
    found = read(tmp_path / "a.jsonl", SCHEMA)
    assert column(found, TIME) == [1]
    assert {reason for reason, _ in dead(found).values()} == {"malformed"}
    assert [payload for _, payload in dead(found).values()] == [b"", b" ", b"\r", MARK + b'{"ts":2}', b""]


@pytest.mark.parametrize("content", [b"\n", b"\n\n", b" ", b"{", b"\r\n", b'{"ts":1}'])
def test_the_smallest_files_are_read(content: bytes, tmp_path: Path) -> None:
    for suffix, compress in COMPRESSIONS.values():
        (tmp_path / f"a.jsonl{suffix}").write_bytes(compress(content))
        found = read(tmp_path / f"a.jsonl{suffix}", SCHEMA)
        assert good(found).keys() | dead(found).keys() == lines_of(content).keys()


def test_a_line_of_ten_megabytes_is_kept_whole_and_its_neighbours_are_read(tmp_path: Path) -> None:
    long = b'{"ts":2,"k":"' + b"x" * 10_000_000 + b'"}'
    (tmp_path / "a.jsonl").write_bytes(b'{"ts":1}\n' + long + b'\n{"ts":3}')
    for size in (1 << 30, 1 << 20):
        found = read(tmp_path / "a.jsonl", SCHEMA, range_bytes=size)
        assert column(found, TIME) == [1, 3]
        assert dead(found) == {9: ("too_long", long)}


def test_a_file_cut_short_is_named_when_its_end_is_missed(tmp_path: Path) -> None:
    text = b"".join(b'{"ts":%d,"k":"%x"}\n' % (row, row**9) for row in range(20_000))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text)[:-1000])
    (tmp_path / "a.jsonl.zst").write_bytes(b"".join(map(zstandard.compress, (text, text)))[:-10])
    for name, packing in (("a.jsonl.gz", "gzip"), ("a.jsonl.zst", "zstd")):
        sentence = f"{name} cannot be read to its end: its {packing} data is cut short"
        with pytest.raises(SourceError, match=sentence):
            read(name, SCHEMA, base=str(tmp_path))


def test_a_damaged_file_is_named_when_the_damage_is_met(tmp_path: Path) -> None:
    text = b"".join(b'{"ts":%d,"k":"%x"}\n' % (row, row**9) for row in range(20_000))
    for suffix, compress in ((".gz", gzip.compress), (".zst", zstandard.compress)):
        (tmp_path / f"a.jsonl{suffix}").write_bytes((compress(text) * 2)[:-10] + b"0123456789")
        with pytest.raises(SourceError, match=f"^a.jsonl{suffix} cannot be read to its end: [^\n]+$"):
            read(f"a.jsonl{suffix}", SCHEMA, base=str(tmp_path))


def test_payloads_travel_with_the_records_where_a_step_may_still_refuse_them(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"ts":1 }\r\n{"k":\n{"ts":2}')
    assert column(read(tmp_path / "a.jsonl", SCHEMA, keep_payload=True), PAYLOAD) == [b'{"ts":1 }\r', b'{"ts":2}']
    assert PAYLOAD not in read(tmp_path / "a.jsonl", SCHEMA)[0].batch.schema.names


def files(folder: Path) -> FilesSpec:
    for name in ("a", "b"):
        rows = [b'{"ts":%d,"k":"%s"}' % (row, name.encode()) for row in range(100)]
        (folder / f"{name}.jsonl").write_bytes(b"\n".join([*rows, b"{", b""]))
    return FilesSpec(paths=("*.jsonl",), format="jsonl")


@pytest.mark.parametrize("threads, batch_rows", [(1, None), (3, 7)])
def test_the_pipeline_reads_what_the_kernel_reads(tmp_path: Path, threads: int, batch_rows: int | None) -> None:
    parts = list_ranges(files(tmp_path), str(tmp_path), 300)
    assert len(parts) > 10
    reader = FileReader("jsonl", SCHEMA, threads=threads, batch_rows=batch_rows)
    direct = [parsed for part in parts for parsed in reader.read(part)]
    with testing.TestPipeline(runner=FnApiRunner()) as pipeline:
        found = pipeline | beam.Create(parts) | ReadFiles(reader=reader)
        keys = found.batches | "Keys" >> beam.FlatMap(lambda batch: batch["k"].to_pylist())
        positions = found.batches | "Positions" >> beam.FlatMap(lambda batch: batch[POSITION].to_pylist())
        letters = found.dead_letters | "Letters" >> beam.FlatMap(lambda batch: batch["payload"].to_pylist())
        counts = found.ledger | "Counts" >> beam.Map(lambda entry: ledger.totals(entry)["read"])
        assert_that(keys, equal_to(column(direct, "k")), "keys")
        assert_that(positions, equal_to(column(direct, POSITION)), "positions")
        assert_that(letters, equal_to([b"{", b"{"]), "letters")
        assert_that(counts | beam.CombineGlobally(sum), equal_to([202]), "read")
    assert count(direct) == (202, 200, 2)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_ranges_read_side_by_side_come_in_order(tmp_path: Path, threads: int) -> None:
    parts = list_ranges(files(tmp_path), str(tmp_path), 150)
    reader = FileReader("jsonl", SCHEMA, threads=threads)
    found = list(reader.read_all(parts))
    assert [part for part, _ in found] == parts
    assert column([parsed for _, parsed in found], TIME) == [*range(100), *range(100)]


def test_every_range_has_one_ledger_entry_even_an_empty_one(tmp_path: Path) -> None:
    parts = list_ranges(files(tmp_path), str(tmp_path), 40)
    with testing.TestPipeline(runner=FnApiRunner()) as pipeline:
        entries = (pipeline | beam.Create(parts) | ReadFiles(reader=FileReader("jsonl", SCHEMA))).ledger
        keys = entries | beam.Map(lambda entry: (entry["source"][0].as_py(), entry["first_position"][0].as_py()))
        assert_that(keys, equal_to([(part.source, part.start) for part in parts]))


def test_a_wrong_element_is_refused_before_anything_runs() -> None:
    pipeline = beam.Pipeline()
    with pytest.raises(TypeCheckError):
        pipeline | beam.Create(["a.jsonl"]) | ReadFiles(reader=FileReader("jsonl", SCHEMA))


def test_the_longest_line_that_a_job_may_allow_is_kept_whole() -> None:
    RecordSpec(event_time={"column": TIME}, max_line="64MiB")
    with pytest.raises(ValidationError, match="max_line"):
        RecordSpec(event_time={"column": TIME}, max_line="65MiB")


def test_a_row_group_of_many_rows_is_read_in_parts_with_running_positions(tmp_path: Path) -> None:
    rows = (1 << 19) + 10
    pq.write_table(pa.table({TIME: range(rows)}), tmp_path / "a.parquet", row_group_size=rows)
    found = read(tmp_path / "a.parquet", SCHEMA)
    assert len(found) == 2
    assert [value for part in found for value in part.batch[POSITION].to_pylist()] == list(range(rows))


def test_parquet_positions_are_record_numbers_over_all_row_groups(tmp_path: Path) -> None:
    table = pa.table({TIME: pa.array([None if row % 10 == 3 else row for row in range(100)]), "k": ["x"] * 100})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    found = read(tmp_path / "a.parquet", SCHEMA)
    assert len(found) == 15
    assert list(good(found)) == [row for row in range(100) if row % 10 != 3]
    assert dead(found) == dict.fromkeys(range(3, 100, 10), ("missing_field", b'{"ts": null, "k": "x"}'))

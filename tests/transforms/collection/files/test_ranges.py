"""Files: what a job finds, and what it says of what it cannot find or read."""

import gzip
import re
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from transforms.collection.files.paths import list_files
from transforms.collection.files.ranges import FileRange, list_ranges
from transforms.collection.files.spec import FilesSpec
from transforms.errors import SourceError

LINE = b'{"ts":1}\n'


def sources(base: Path, *paths: str, format_: str = "jsonl") -> list[str]:
    return [source for _, source in list_files(FilesSpec(paths=paths, format=format_), str(base))]


def ranges(base: Path, *paths: str, format_: str = "jsonl", range_bytes: int = 1 << 20) -> list[FileRange]:
    return list_ranges(FilesSpec(paths=paths, format=format_), str(base), range_bytes)


def write(base: Path, *names: str, content: bytes = LINE) -> None:
    for name in names:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(content)


def test_files_come_in_the_order_of_the_paths_and_of_their_names(tmp_path: Path) -> None:
    write(tmp_path, "b.jsonl", "a.jsonl", "z/c.jsonl", "z/y/d.jsonl", "other.txt")
    assert sources(tmp_path, "z/*.jsonl", "*.jsonl") == ["z/c.jsonl", "a.jsonl", "b.jsonl"]
    assert sources(tmp_path, "**/*.jsonl") == ["a.jsonl", "b.jsonl", "z/c.jsonl", "z/y/d.jsonl"]


def test_a_file_that_several_paths_name_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", "b.jsonl")
    again = f"../{tmp_path.name}/a.jsonl"
    assert sources(tmp_path, "b.jsonl", "*.jsonl", again, str(tmp_path / "a.jsonl")) == ["b.jsonl", "a.jsonl"]


def test_a_name_with_brackets_is_a_name_where_there_is_such_a_file(tmp_path: Path) -> None:
    write(tmp_path, "a[1].jsonl", "a1.jsonl", "a b;'\"é.jsonl")
    assert sources(tmp_path, "a[1].jsonl") == ["a[1].jsonl"]
    assert sources(tmp_path, "a[0-9].jsonl") == ["a1.jsonl"]
    assert sources(tmp_path, "a b;'\"é.jsonl") == ["a b;'\"é.jsonl"]


@pytest.mark.parametrize(
    "path, sentence",
    [
        ("no.jsonl", "source.files.paths: there is no file no.jsonl (looked in {base})"),
        ("no/*.jsonl", "source.files.paths: no file matches no/*.jsonl (looked in {base})"),
        ("folder", "source.files.paths: there is no file folder (looked in {base})"),
        ("folder*", "source.files.paths: no file matches folder* (looked in {base})"),
        ("memory://no.jsonl", "source.files.paths: there is no file memory://no.jsonl"),
        ("memory://no*.jsonl", "source.files.paths: no file matches memory://no*.jsonl"),
        ("nowhere://a/b", "source.files.paths: nowhere://a/b cannot be searched for: Protocol not known: nowhere"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, path: str, sentence: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(SourceError, match=f"^{re.escape(sentence.format(base=tmp_path))}$"):
        sources(tmp_path, path)


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.jsonl.gz", LINE),
        ("a.jsonl.zst", LINE),
        ("a.jsonl.gz", gzip.compress(LINE, mtime=0)[:-9]),
        ("a.parquet", LINE * 100),
        ("a.jsonl.zst", zstandard.compress(LINE)[:-3]),
        ("a.jsonl.gz", b""),
        ("a.jsonl.zst", b""),
        ("a.parquet", b""),
        ("a.csv", b"\na,b\n"),
        ("a.csv", b"a,a\n"),
        ("a.csv", b"\xff\n"),
    ],
)
def test_what_is_not_of_its_format_is_refused_before_anything_runs(tmp_path: Path, name: str, content: bytes) -> None:
    write(tmp_path, name, content=content)
    format_ = name.split(".")[1]
    with pytest.raises(SourceError, match=f"^{name} cannot be read as {format_}: [^\n]+$"):
        ranges(tmp_path, name, format_=format_)


def test_a_parquet_file_with_two_columns_of_one_name_is_refused(tmp_path: Path) -> None:
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"^a\.parquet cannot be read as parquet: it has two columns named 'a'$"):
        ranges(tmp_path, "a.parquet", format_="parquet")


def test_files_behind_a_url_are_found_and_opened() -> None:
    memory = fsspec.filesystem("memory")
    for name in ("b", "a"):
        memory.pipe(f"/streamgauge/{name}.jsonl", LINE)
    found = ranges(Path("/"), "memory://streamgauge/*.jsonl")
    assert [part.source for part in found] == ["memory:///streamgauge/a.jsonl", "memory:///streamgauge/b.jsonl"]
    assert [(part.start, part.end) for part in found] == [(0, len(LINE))] * 2


def test_a_text_is_cut_into_ranges_and_a_compressed_one_is_not(tmp_path: Path) -> None:
    content = LINE * 10
    write(tmp_path, "a.jsonl", content=content)
    write(tmp_path, "b.jsonl.gz", content=gzip.compress(content))
    write(tmp_path, "c.jsonl.zst", content=zstandard.compress(content))
    found = ranges(tmp_path, "*.jsonl*", range_bytes=40)
    assert [(part.start, part.end) for part in found] == [(0, 40), (40, 80), (80, 90), (0, None), (0, None)]
    assert [(part.ordinal, part.opens) for part in found] == [(0, True), (0, False), (0, False), (1, True), (2, True)]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_and_a_header_belong_to_no_range(tmp_path: Path, mark: bytes) -> None:
    write(tmp_path, "a.jsonl", content=mark + LINE)
    write(tmp_path, "a.csv", content=mark + b"ts,a\r\n1,x\r\n")
    (json,) = ranges(tmp_path, "a.jsonl")
    (csv,) = ranges(tmp_path, "a.csv", format_="csv")
    assert (json.start, csv.start, csv.header) == (len(mark), len(mark) + 6, ("ts", "a"))


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_an_empty_text_has_no_range(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, "a.jsonl", "a.csv", content=content)
    assert ranges(tmp_path, "a.jsonl") == []
    assert ranges(tmp_path, "a.csv", format_="csv") == []


@pytest.mark.parametrize("content", [b"\n", b"\r\n\n", b"\xef\xbb\xbf \n", b"\n" * 100_000, b"ts,k\n", b"ts,k"])
def test_a_csv_without_records_has_no_range(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, "a.csv", content=content)
    assert ranges(tmp_path, "a.csv", format_="csv") == []


def test_parquet_is_cut_into_its_row_groups(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": range(10)}), tmp_path / "a.parquet", row_group_size=4)
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "b.parquet")
    with pq.ParquetWriter(tmp_path / "c.parquet", pa.schema({"a": pa.int64()})) as writer:
        for rows in (0, 3, 0, 0, 2, 0):
            writer.write_table(pa.table({"a": range(rows)}, writer.schema))
    assert pq.read_metadata(tmp_path / "c.parquet").num_row_groups == 6
    found = ranges(tmp_path, "*.parquet", format_="parquet")
    assert [(part.source, part.start, part.end, part.row_group) for part in found] == [
        ("a.parquet", 0, 4, 0),
        ("a.parquet", 4, 8, 1),
        ("a.parquet", 8, 10, 2),
        ("c.parquet", 0, 3, 1),
        ("c.parquet", 3, 5, 4),
    ]

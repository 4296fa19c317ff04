"""A source that is shorter than it said it was, or another one, is an error and never an end."""

import gzip
import os
import random
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tests.transforms.collection.outcome import TIME, column, count, format_of, read, schema_of
from transforms.collection.files.ranges import FileRange, list_ranges
from transforms.collection.files.read import FileReader, Format
from transforms.collection.files.spec import FilesSpec
from transforms.collection.parsing.parsed import Parsed
from transforms.errors import SourceError

SCHEMA = schema_of({TIME: "int64", "k": "string?"})
LONG_AGO = 1_000_000_000
SKIPPABLE = b"\x50\x2a\x4d\x18" + (6).to_bytes(4, "little") + b"a note"
"""A frame of zstd that holds nothing to read."""

JSON_PIECES = [b'{"ts":1,"k":"a"}\n{"ts":2}\n', b"", b'{"ts":3,"k":"c"}\n{"ts"', b':4}\n{"ts":5}\n']
CSV_PIECES = [b"ts,k\n1,a\n", b'2,"b', b'"\n3,c\n', b"4,\n5,e\n"]
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda data: gzip.compress(data, mtime=0),
    "zst": zstandard.compress,
    "zst with checksums": zstandard.ZstdCompressor(write_checksum=True).compress,
    "zst of unknown size": zstandard.ZstdCompressor(write_content_size=False).compress,
}


def records_of(folder: Path, name: str) -> list[int]:
    return column(read(name, SCHEMA, base=str(folder)), TIME)


@pytest.mark.parametrize("format_, pieces", [("jsonl", JSON_PIECES), ("csv", CSV_PIECES)])
@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("in_one", [True, False])
def test_a_compressed_file_cut_anywhere_is_an_error(
    format_: str, pieces: list[bytes], packing: str, in_one: bool, tmp_path: Path
) -> None:
    """A cut where one member or frame ends and the next begins leaves a file that is complete: nothing in it says that
    more of them followed. So there the records of the frames that are left are what such a file holds."""
    pack = PACKINGS[packing]
    frames = [pack(b"".join(pieces))] if in_one else [pack(piece) for piece in pieces]
    texts = [b"".join(pieces)] if in_one else pieces
    if packing.startswith("zst"):
        frames, texts = [SKIPPABLE, *frames, SKIPPABLE], [b"", *texts, b""]
    whole = b"".join(frames)
    held = dict(zip(accumulate(map(len, frames)), accumulate(texts), strict=True))
    name = f"a.{format_}.{packing.split()[0]}"
    for size in range(len(whole) + 1):
        (tmp_path / name).write_bytes(whole[:size])
        if size not in held:
            with pytest.raises(SourceError, match=f"^{name} cannot be read [^\n]+$"):
                records_of(tmp_path, name)
            continue
        (tmp_path / f"plain.{format_}").write_bytes(held[size])
        expected = count(read(f"plain.{format_}", SCHEMA, base=str(tmp_path)))
        assert count(read(name, SCHEMA, base=str(tmp_path))) == expected
    assert records_of(tmp_path, name) == [1, 2, 3, 4, 5]


def test_a_parquet_file_cut_anywhere_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({TIME: range(6), "k": list("abcabc")}), tmp_path / "a.parquet", row_group_size=2)
    whole = (tmp_path / "a.parquet").read_bytes()
    assert records_of(tmp_path, "a.parquet") == list(range(6))
    for size in range(len(whole)):
        (tmp_path / "a.parquet").write_bytes(whole[:size])
        with pytest.raises(SourceError, match=r"^a\.parquet cannot be read [^\n]+$"):
            records_of(tmp_path, "a.parquet")


def test_a_parquet_file_without_bytes_in_its_middle_is_an_error(tmp_path: Path) -> None:
    """Its footer is there, and says where the row groups are; they are not."""
    pq.write_table(pa.table({TIME: range(600)}), tmp_path / "a.parquet", row_group_size=200, use_dictionary=False)
    whole = (tmp_path / "a.parquet").read_bytes()
    dice = random.Random(3)
    for _ in range(300):
        begin = dice.randrange(4, len(whole) - 8)
        end = begin + dice.randrange(1, 200)
        (tmp_path / "a.parquet").write_bytes(whole[:begin] + whole[end:])
        with pytest.raises(SourceError, match=r"^a\.parquet cannot be read [^\n]+$"):
            records_of(tmp_path, "a.parquet")


def test_a_footer_that_counts_other_rows_than_there_are_is_an_error(tmp_path: Path) -> None:
    """A footer of ten rows is put under the row group of seven."""
    for rows in (7, 10):
        pq.write_table(pa.table({TIME: range(rows)}), tmp_path / f"{rows}.parquet", use_dictionary=False)
    seven, ten = ((tmp_path / f"{rows}.parquet").read_bytes() for rows in (7, 10))
    footer = int.from_bytes(ten[-8:-4], "little") + 8
    data = seven[: -int.from_bytes(seven[-8:-4], "little") - 8]
    (tmp_path / "a.parquet").write_bytes(data.ljust(len(ten) - footer, b"\0") + ten[-footer:])
    with pytest.raises(SourceError, match=r"^a\.parquet cannot be read [^\n]+$"):
        records_of(tmp_path, "a.parquet")


# What changes while it is read


def rows(first: int, end: int) -> bytes:
    return b"".join(b'{"ts":%d,"k":"%d"}\n' % (row, row % 7) for row in range(first, end))


@pytest.fixture
def listed(tmp_path: Path) -> tuple[Path, list[FileRange]]:
    """A file of a thousand records, and its ranges as they were listed."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(rows(0, 1000))
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path, list_ranges(FilesSpec(paths=("a.jsonl",), format="jsonl"), str(tmp_path), 4000)


def read_on(parts: list[FileRange], format_: Format = "jsonl") -> list[int]:
    return column([parsed for _, parsed in FileReader(format_, SCHEMA).read_all(parts)], TIME)


def test_a_file_that_grew_since_is_read_as_it_was(listed: Any) -> None:
    path, parts = listed
    with path.open("ab") as file:
        file.write(rows(1000, 2000))
    assert len(parts) > 3
    assert read_on(parts) == list(range(1000))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replace(path: Path) -> None:
    path.with_name("new").write_bytes(rows(5000, 9000))
    path.with_name("new").rename(path)


def replace_by_equals(path: Path) -> None:
    path.with_name("new").write_bytes(path.read_bytes().replace(b"1", b"2"))
    path.with_name("new").rename(path)


def touch(path: Path) -> None:
    path.touch()


def rewrite_longer(path: Path) -> None:
    path.write_bytes(rows(5000, 9000))


def rewrite_in_place(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"1", b"2"))


CHANGES: dict[Callable[[Path], None], str] = {
    cut: "it had [0-9,]+ bytes when it was listed, and has [0-9,]+ bytes now",
    replace: "it had [0-9,]+ bytes when it was listed, and another file of [0-9,]+ bytes is there now",
    replace_by_equals: "it had [0-9,]+ bytes when it was listed, and another file of [0-9,]+ bytes is there now",
    touch: "it was listed as written at 2001-09-09T01:46:40.0+, and was written to at 2[-0-9T:.]+",
    rewrite_longer: "its first [0-9,]+ bytes have changed since it was listed",
    rewrite_in_place: "it was listed as written at 2001-09-09T01:46:40.0+, and was written to at 2[-0-9T:.]+",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_since_is_an_error(listed: Any, change: Callable[[Path], None]) -> None:
    path, parts = listed
    change(path)
    with pytest.raises(SourceError, match=rf"^a\.jsonl changed while it was read: {CHANGES[change]}$"):
        read_on(parts)


def test_a_file_that_is_gone_is_an_error(listed: Any) -> None:
    path, parts = listed
    path.unlink()
    with pytest.raises(SourceError, match=r"^a\.jsonl cannot be read to its end: No such file or directory$"):
        read_on(parts)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(path.read_bytes())


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_whatever_changes_a_compressed_or_parquet_file_is_an_error(name: str, tmp_path: Path) -> None:
    for change in (cut, touch, append, replace_by_equals):
        path = tmp_path / name
        if name.endswith("parquet"):
            pq.write_table(pa.table({TIME: range(100)}), path, row_group_size=30)
        else:
            path.write_bytes(PACKINGS[path.suffix.removeprefix(".")](rows(0, 1000)))
        os.utime(path, (LONG_AGO, LONG_AGO))
        parts = list_ranges(FilesSpec(paths=(name,), format=format_of(name)), str(tmp_path), 4000)
        change(path)
        with pytest.raises(SourceError, match=f"^{name} changed while it was read: it [^\n]+$"):
            read_on(parts, format_of(name))


def test_what_a_url_names_must_not_change_either() -> None:
    memory = fsspec.filesystem("memory")
    spec = FilesSpec(paths=("memory://streamgauge/whole/a.jsonl",), format="jsonl")
    memory.pipe("/streamgauge/whole/a.jsonl", rows(0, 100))
    parts = list_ranges(spec, "/", 400)
    assert read_on(parts) == list(range(100))
    memory.pipe("/streamgauge/whole/a.jsonl", rows(0, 50))
    with pytest.raises(SourceError, match=r"^memory:///streamgauge/whole/a\.jsonl changed while it was read: it had "):
        read_on(parts)
    memory.pipe("/streamgauge/whole/a.jsonl", rows(0, 100).replace(b"1", b"2"))
    with pytest.raises(SourceError, match=r"^memory:///streamgauge/whole/a\.jsonl changed while it was read: it was "):
        read_on(parts)
    memory.rm("/streamgauge/whole/a.jsonl")
    with pytest.raises(SourceError, match=r"^memory:///streamgauge/whole/a\.jsonl cannot be read to its end: "):
        read_on(parts)


def in_between(parts: list[FileRange], moment: int, change: Callable[[], None]) -> Iterator[Parsed]:
    """Reads ranges one after the other, and makes a change before the one whose number is `moment`."""
    reader = FileReader("jsonl", SCHEMA)
    for number, part in enumerate(parts):
        if number == moment:
            change()
        yield from reader.read(part)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_between_two_ranges_the_records_are_right_or_there_is_an_error(
    seed: int, tmp_path: Path
) -> None:
    dice = random.Random(seed)
    path = tmp_path / "a.jsonl"
    size = dice.randrange(2, 600)
    path.write_bytes(rows(0, size))
    os.utime(path, (LONG_AGO, LONG_AGO))
    parts = list_ranges(FilesSpec(paths=("a.jsonl",), format="jsonl"), str(tmp_path), dice.choice([20, 300, 5000]))
    change = dice.choice([*CHANGES, append, Path.unlink])
    moment = dice.randrange(len(parts) + 1)
    try:
        found = column(in_between(parts, moment, lambda: change(path)), TIME)
    except SourceError as error:
        assert moment < len(parts) and change is not append
        assert str(error).startswith("a.jsonl ")
    else:
        assert found == list(range(size))
        assert moment == len(parts) or change is append

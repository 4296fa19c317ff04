"""Parquet folders that grow: files by tick, taken back, packed, and whole after any failure in between."""

import builtins
import json
import os
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest

from transforms.storage import parquet, parquet_log
from transforms.storage.error import SinkError
from transforms.storage.staging import Table

TABLE = Table("t", ("n",), pa.schema([pa.field("n", pa.int64())]))


class Stopped(Exception):
    """The process is gone."""


def rows(*numbers: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(numbers, pa.int64())], ["n"])


def append(path: Path, tick: int, *numbers: int) -> None:
    parquet_log.append(str(path), TABLE, [rows(*numbers)], "job", tick)


def stored(path: Path) -> list[int]:
    return sorted(parquet.read(str(path), TABLE.schema)["n"].to_pylist())


def on_disk(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.glob("*.parquet"))


def test_each_tick_with_rows_adds_a_file(tmp_path: Path) -> None:
    parquet_log.begin(str(tmp_path), "job")
    append(tmp_path, 4, 1, 2)
    parquet_log.append(str(tmp_path), TABLE, [rows()], "job", 8)
    append(tmp_path, 12, 3)
    assert stored(tmp_path) == [1, 2, 3]
    assert on_disk(tmp_path) == ["part-000000000004.parquet", "part-000000000012.parquet"]


def test_a_tick_that_comes_again_replaces_its_file(tmp_path: Path) -> None:
    append(tmp_path, 4, 1)
    append(tmp_path, 8, 2)
    append(tmp_path, 8, 2)
    assert stored(tmp_path) == [1, 2]


def test_a_rewind_takes_back_later_files_only(tmp_path: Path) -> None:
    for tick in (4, 8, 9, 12):
        append(tmp_path, tick, tick)
    parquet_log.rewind(str(tmp_path), "job", 8)
    assert stored(tmp_path) == [4, 8]
    assert on_disk(tmp_path) == ["part-000000000004.parquet", "part-000000000008.parquet"]
    parquet_log.rewind(str(tmp_path), "job", 8)
    assert stored(tmp_path) == [4, 8]


def test_a_rewind_removes_files_that_no_manifest_names(tmp_path: Path) -> None:
    append(tmp_path, 4, 1)
    for name in ("part-000000000016.parquet", "pack-000000000004.parquet"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("somebody's")
    parquet_log.rewind(str(tmp_path), "job", 4)
    assert on_disk(tmp_path) == ["part-000000000004.parquet"]
    assert (tmp_path / "notes.txt").exists()


def test_to_begin_empties_a_folder(tmp_path: Path) -> None:
    append(tmp_path / "t", 4, 1)
    for _ in range(2):
        parquet_log.begin(str(tmp_path / "t"), "job")
        assert stored(tmp_path / "t") == [] == on_disk(tmp_path / "t")
    parquet_log.begin(str(tmp_path / "new"), "job")
    assert stored(tmp_path / "new") == []


def test_packing_keeps_every_row_and_goes_on(tmp_path: Path) -> None:
    for tick in range(1, 33):
        append(tmp_path, tick, tick)
    parquet_log.pack(str(tmp_path), "job", 32)
    assert len(on_disk(tmp_path)) == 32, "there are not many yet"
    append(tmp_path, 33, 33)
    parquet_log.pack(str(tmp_path), "job", 33)
    assert on_disk(tmp_path) == ["pack-000000000033.parquet"]
    append(tmp_path, 40, 40)
    assert stored(tmp_path) == [*range(1, 34), 40]
    parquet_log.rewind(str(tmp_path), "job", 33)
    assert stored(tmp_path) == list(range(1, 34))


def test_a_rewind_cuts_a_packed_file_at_any_of_its_ticks(tmp_path: Path) -> None:
    """An engine may be taken back to where it was long before its files were packed, and packed again."""
    for tick in range(1, 80):
        append(tmp_path, tick, tick, -tick)
        parquet_log.pack(str(tmp_path), "job", tick)
    assert len(on_disk(tmp_path)) < 40
    for tick in (70, 33, 12, 12, 1):
        parquet_log.rewind(str(tmp_path), "job", tick)
        assert stored(tmp_path) == sorted([*range(1, tick + 1), *range(-tick, 0)])
        assert on_disk(tmp_path) == sorted(parquet.read_manifest(str(tmp_path))["files"])
    append(tmp_path, 3, 3)
    assert stored(tmp_path) == [-1, 1, 3]
    parquet_log.rewind(str(tmp_path), "job", 0)
    assert stored(tmp_path) == []


def test_files_with_and_without_a_new_column_are_packed_and_read_together(tmp_path: Path) -> None:
    parquet_log.begin(str(tmp_path), "job")
    grown = Table("t", ("n",), pa.schema([pa.field("new", pa.float64()), *TABLE.schema]))
    for tick in range(40):
        if tick < 20:
            append(tmp_path, tick, tick)
        else:
            batch = pa.record_batch([pa.array([0.5]), pa.array([tick], pa.int64())], schema=grown.schema)
            parquet_log.append(str(tmp_path), grown, [batch], "job", tick)
    for _ in range(2):
        found = parquet.read(str(tmp_path), grown.schema)
        assert found.schema.names == ["new", "n"]
        assert sorted(found["n"].to_pylist()) == list(range(40))
        assert found["new"].null_count == 20
        parquet_log.pack(str(tmp_path), "job", 39)
    assert on_disk(tmp_path) == ["pack-000000000039.parquet"]
    parquet_log.rewind(str(tmp_path), "job", 25)
    assert parquet.read(str(tmp_path), grown.schema)["new"].null_count == 20


def test_large_files_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(tmp_path, 1, *range(1000))
    size = (tmp_path / "part-000000000001.parquet").stat().st_size
    for tick in range(2, 35):
        append(tmp_path, tick, 10_000 + tick)
    monkeypatch.setattr(parquet_log, "_LARGE_BYTES", size)
    parquet_log.pack(str(tmp_path), "job", 34)
    assert on_disk(tmp_path) == ["pack-000000000034.parquet", "part-000000000001.parquet"]
    assert len(stored(tmp_path)) == 1033


@pytest.mark.parametrize("what", ["append", "pack", "rewind", "begin"])
def test_a_kill_at_any_operation_is_made_good_by_the_next_start(tmp_path: Path, what: str) -> None:
    """Files of ticks behind the checkpoint at 33 are whole all the time; what came later is taken back."""
    for tick in range(1, 34):
        append(tmp_path / "before", tick, tick)
    for number in range(200):
        path = tmp_path / str(number)
        shutil.copytree(tmp_path / "before", path)
        left = number

        def stopping(operation: Any, path: Path = path) -> Any:
            def attempt(*arguments: Any, **options: Any) -> Any:
                nonlocal left
                if str(path) in str(arguments[0]):
                    left -= 1
                    if left < 0:
                        raise Stopped
                return operation(*arguments, **options)

            return attempt

        done = False
        with (
            mock.patch.object(os, "replace", stopping(os.replace)),
            mock.patch.object(builtins, "open", stopping(builtins.open)),
            mock.patch.object(os, "remove", stopping(os.remove)),
        ):
            try:
                match what:
                    case "append":
                        append(path, 34, 34)
                    case "pack":
                        parquet_log.pack(str(path), "job", 33)
                    case "rewind":
                        parquet_log.rewind(str(path), "job", 33)
                    case "begin":
                        parquet_log.begin(str(path), "job")
                done = True
            except Stopped:
                pass
        if what == "begin":
            parquet_log.begin(str(path), "job")
            assert stored(path) == []
        else:
            assert set(range(1, 34)) <= set(stored(path)), "readers find everything at any moment"
            parquet_log.rewind(str(path), "job", 33)
            assert stored(path) == list(range(1, 34))
        assert on_disk(path) == sorted(json.loads((path / parquet.MANIFEST).read_text())["files"])
        if done:
            break
    assert done and number > 1


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for action in (
        lambda path: parquet_log.begin(path, "job"),
        lambda path: parquet_log.append(path, TABLE, [rows(1)], "job", 4),
    ):
        with pytest.raises(SinkError, match="file"):
            action(f"{tmp_path}/file/t")

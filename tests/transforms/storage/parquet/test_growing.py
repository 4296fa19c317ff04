"""Parquet folders that grow: files by tick, taken back, packed, and exactly the live ones whoever looks, and when."""

import builtins
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.errors import SinkError, TableLost
from transforms.storage.parquet import exchange
from transforms.storage.parquet import folder as parquet
from transforms.storage.parquet import growing as parquet_log
from transforms.storage.parquet.growing import Showing
from transforms.storage.tables import Table

TABLE = Table("t", ("n",), pa.schema([pa.field("n", pa.int64())]))


class Stopped(Exception):
    """The process is gone."""


def rows(*numbers: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(numbers, pa.int64())], ["n"])


@dataclass
class Folder:
    """A folder, and the files that a manifest names."""

    path: str
    files: list[str] = field(default_factory=list)
    attempt: int = 1
    check: Callable[[], None] = lambda: None

    def show(self) -> None:
        Showing("job", "owner", self.attempt, self.check).show(self.path, self.files)

    def append(self, tick: int, *numbers: int, table: Table = TABLE, batch: Any = None) -> None:
        found = batch if batch is not None else rows(*numbers)
        self.files += parquet_log.append(self.path, table, [found], tick, self.attempt)
        self.show()

    def pack(self, tick: int) -> None:
        self.files = parquet_log.packed(self.path, self.files, tick, self.attempt)
        self.show()

    def rewind(self, tick: int) -> None:
        self.attempt += 1
        self.files = parquet_log.rewound(self.path, self.files, tick, self.attempt)
        self.show()

    def tail(self, tick: int, *numbers: int) -> None:
        kept = [name for name in self.files if not parquet_log.is_tail(name)]
        self.files = [*kept, *parquet_log.put_tail(self.path, TABLE, rows(*numbers), tick, self.attempt)]
        self.show()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "t"))


def stored(folder: Folder) -> list[int]:
    return sorted(parquet.read(folder.path, TABLE.schema)["n"].to_pylist())


def on_disk(folder: Folder) -> list[str]:
    return sorted(entry.name for entry in Path(folder.path).glob("*.parquet"))


def by_glob(folder: Folder) -> list[int]:
    """What a reader finds that knows nothing of a manifest."""
    return sorted(n for path in Path(folder.path).glob("*.parquet") for n in pq.read_table(path)["n"].to_pylist())


def is_text(value: Any) -> bool:
    return isinstance(value, str | bytes | os.PathLike)


def test_each_tick_with_rows_adds_a_file(folder: Folder) -> None:
    folder.append(4, 1, 2)
    folder.append(8)
    folder.append(12, 3)
    assert stored(folder) == by_glob(folder) == [1, 2, 3]
    assert on_disk(folder) == ["part-000000000004-1.parquet", "part-000000000012-1.parquet"]


def test_what_is_written_is_seen_by_nobody_until_it_is_shown(folder: Folder) -> None:
    folder.append(4, 1)
    written = parquet_log.append(folder.path, TABLE, [rows(2)], 8, 1)
    assert stored(folder) == by_glob(folder) == [1]
    folder.files += written
    folder.show()
    assert stored(folder) == by_glob(folder) == [1, 2]


def test_a_rewind_takes_back_later_files_only(folder: Folder) -> None:
    for tick in (4, 8, 9, 12):
        folder.append(tick, tick)
    for _ in range(2):
        folder.rewind(8)
        assert stored(folder) == by_glob(folder) == [4, 8]


def test_files_that_no_manifest_names_go_and_those_of_others_stay(folder: Folder) -> None:
    folder.append(4, 1)
    for name in ("part-000000000016.parquet", "pack-000000000004-9.parquet", ".part-000000000020-3.parquet.next.new"):
        (Path(folder.path) / name).write_bytes(b"half")
    (Path(folder.path) / "notes.txt").write_text("somebody's")
    folder.show()
    assert sorted(os.listdir(folder.path)) == ["_manifest.json", "notes.txt", "part-000000000004-1.parquet"]


def test_a_folder_without_files_is_an_empty_table(folder: Folder) -> None:
    for _ in range(2):
        folder.show()
        assert stored(folder) == [] == on_disk(folder)


def test_rows_of_old_ticks_go_from_packed_files_too(folder: Folder) -> None:
    for tick in range(1, 34):
        folder.append(tick, tick, -tick)
    folder.pack(34)
    folder.append(34, 34)
    folder.tail(35, 0)
    folder.files = parquet_log.without(folder.path, folder.files, 30, 35, 1)
    folder.show()
    assert stored(folder) == by_glob(folder) == [-33, -32, -31, 0, 31, 32, 33, 34]
    assert on_disk(folder)[0] == "pack-000000000033-1-35.parquet"
    assert parquet_log.without(folder.path, folder.files, 30, 36, 1) == folder.files, "they went already"
    folder.rewind(32)
    assert stored(folder) == [-32, -31, 31, 32]
    folder.files = parquet_log.without(folder.path, folder.files, 33, 37, 2)
    folder.show()
    assert stored(folder) == [] == on_disk(folder)


def test_packing_keeps_every_row_and_goes_on(folder: Folder) -> None:
    for tick in range(1, 33):
        folder.append(tick, tick)
    folder.pack(32)
    assert len(on_disk(folder)) == 32, "there are not many yet"
    folder.append(33, 33)
    folder.pack(33)
    assert on_disk(folder) == ["pack-000000000033-1.parquet"]
    folder.append(40, 40)
    assert stored(folder) == by_glob(folder) == [*range(1, 34), 40]
    folder.rewind(33)
    assert stored(folder) == list(range(1, 34))


def test_a_rewind_cuts_a_packed_file_at_any_of_its_ticks(folder: Folder) -> None:
    """An engine may be taken back to where it was long before its files were packed, and packed again."""
    for tick in range(1, 80):
        folder.append(tick, tick, -tick)
        folder.pack(tick)
    assert len(on_disk(folder)) < 40
    for tick in (70, 33, 12, 12, 1):
        folder.rewind(tick)
        assert stored(folder) == by_glob(folder) == sorted([*range(1, tick + 1), *range(-tick, 0)])
        assert on_disk(folder) == sorted(parquet.read_manifest(folder.path)["files"])
    folder.append(3, 3)
    assert stored(folder) == [-1, 1, 3]
    folder.rewind(0)
    assert stored(folder) == []


def test_rows_that_may_still_grow_take_the_place_of_those_before(folder: Folder) -> None:
    folder.append(4, 1)
    for tick, numbers in ((8, (2,)), (12, (2, 3)), (16, ())):
        folder.tail(tick, *numbers)
        assert stored(folder) == by_glob(folder) == [1, *numbers]
    folder.tail(20, 5)
    folder.rewind(16)
    assert stored(folder) == [1]


def test_files_with_and_without_a_new_column_are_packed_and_read_together(folder: Folder) -> None:
    grown = Table("t", ("n",), pa.schema([pa.field("new", pa.float64()), *TABLE.schema]))
    for tick in range(40):
        if tick < 20:
            folder.append(tick, tick)
        else:
            batch = pa.record_batch([pa.array([0.5]), pa.array([tick], pa.int64())], schema=grown.schema)
            folder.append(tick, table=grown, batch=batch)
    for _ in range(2):
        found = parquet.read(folder.path, grown.schema)
        assert found.schema.names == ["new", "n"]
        assert sorted(found["n"].to_pylist()) == list(range(40))
        assert found["new"].null_count == 20
        folder.pack(39)
    assert on_disk(folder) == ["pack-000000000039-1.parquet"]
    folder.rewind(25)
    assert parquet.read(folder.path, grown.schema)["new"].null_count == 20


def test_large_files_are_left_alone(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.append(1, *range(1000))
    size = (Path(folder.path) / "part-000000000001-1.parquet").stat().st_size
    for tick in range(2, 35):
        folder.append(tick, 10_000 + tick)
    monkeypatch.setattr(parquet_log, "_LARGE_BYTES", size)
    folder.pack(34)
    assert on_disk(folder) == ["pack-000000000034-1.parquet", "part-000000000001-1.parquet"]
    assert len(stored(folder)) == 1033


def test_the_files_of_the_version_before_are_packed_and_cut_like_any(folder: Folder) -> None:
    for tick in range(1, 40):
        folder.append(tick, tick)
        old = f"part-{tick:012d}.parquet"
        os.rename(f"{folder.path}/{folder.files[-1]}", f"{folder.path}/{old}")
        folder.files[-1] = old
    folder.show()
    folder.pack(40)
    folder.rewind(20)
    assert stored(folder) == by_glob(folder) == list(range(1, 21))


@pytest.mark.slow
@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("what", ["append", "pack", "rewind", "begin", "tail"])
def test_a_kill_at_any_operation_leaves_a_whole_table_and_is_made_good(
    folder: Folder, tmp_path: Path, what: str, can_exchange: bool
) -> None:
    """Where two folders can be exchanged, whoever lists the files finds one state or the other, never both."""
    for tick in range(1, 34):
        folder.append(tick, tick)
    folder.tail(33, 100)
    before = stored(folder)
    for number in range(400):
        tried = Folder(str(tmp_path / str(number)), list(folder.files))
        shutil.copytree(folder.path, tried.path)
        left = number

        def stopping(operation: Any, path: str = tried.path) -> Any:
            def attempt(*arguments: Any, **options: Any) -> Any:
                nonlocal left
                if str(arguments[0] if not isinstance(arguments[0], int) else arguments[1]).find(
                    os.path.basename(path)
                ):
                    left -= 1
                    if left < 0:
                        raise Stopped
                return operation(*arguments, **options)

            return attempt

        rename = stopping(exchange._renameat2()) if can_exchange else None
        done = False
        with (
            mock.patch.object(os, "replace", stopping(os.replace)),
            mock.patch.object(os, "link", stopping(os.link)),
            mock.patch.object(builtins, "open", stopping(builtins.open)),
            mock.patch.object(os, "remove", stopping(os.remove)),
            mock.patch.object(exchange, "_renameat2", mock.Mock(return_value=rename)),
        ):
            try:
                match what:
                    case "append":
                        tried.append(34, 34)
                    case "pack":
                        tried.pack(33)
                    case "rewind":
                        tried.rewind(20)
                    case "begin":
                        tried.files = []
                        tried.show()
                    case "tail":
                        tried.tail(34, 100, 101)
                done = True
            except Stopped:
                pass
        after = {
            "append": [*range(1, 35), 100],
            "pack": before,
            "rewind": list(range(1, 21)),
            "begin": [],
            "tail": [*range(1, 34), 100, 101],
        }[what]
        if can_exchange:
            assert by_glob(tried) in (before, after), "a listing is one state or the other"
        assert stored(tried) in (before, after), "so is what the folder's own manifest names"
        if done:
            assert by_glob(tried) == stored(tried) == after
            break
        tried.show()  # the next start does what the manifest says: the new state, or the one before
        assert by_glob(tried) == stored(tried)
        assert by_glob(tried) in (before, after)
        assert on_disk(tried) == sorted(tried.files)
        shutil.rmtree(tried.path)
    assert done and number > 1


def test_whoever_lists_the_folder_while_it_changes_finds_one_state(folder: Folder) -> None:
    for tick in range(1, 30):
        folder.append(tick, tick)
    seen: list[frozenset[str]] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.append(frozenset(name for name in os.listdir(folder.path) if name.endswith(".parquet")))

    reader = threading.Thread(target=look)
    reader.start()
    states = {frozenset(folder.files)}
    for tick in range(30, 120):
        folder.append(tick, tick)
        states.add(frozenset(folder.files))
        folder.pack(tick)
        states.add(frozenset(folder.files))
        folder.tail(tick, 1000 + tick)
        states.add(frozenset(folder.files))
    done.set()
    reader.join()
    strange = [sorted(state) for state in set(seen) - states]
    assert len(set(seen)) > 5 and strange == []


def test_a_reader_of_ours_finds_every_row_while_files_are_packed(folder: Folder) -> None:
    for tick in range(1, 30):
        folder.append(tick, tick)
    failures: list[Any] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            found = stored(folder)
            if found != list(range(1, len(found) + 1)):
                failures.append(found)

    reader = threading.Thread(target=look)
    reader.start()
    for tick in range(30, 200):
        folder.append(tick, tick)
        folder.pack(tick)
    done.set()
    reader.join()
    assert failures == []


@pytest.mark.parametrize("stale", ["append", "pack"])
def test_a_writer_that_was_overtaken_before_it_shows_changes_nothing(folder: Folder, stale: str) -> None:
    """It was stopped after it had written beside; another took its place, and cleaned up."""
    for tick in range(1, 34):
        folder.append(tick, tick)
    left = Folder(folder.path, list(folder.files))
    if stale == "append":
        left.files += parquet_log.append(left.path, TABLE, [rows(999)], 34, 1)
    else:
        left.files = parquet_log.packed(left.path, left.files, 33, 1)
    folder.attempt = 2
    folder.show()
    folder.append(34, 34)
    with pytest.raises(TableLost):
        left.show()
    assert stored(folder) == by_glob(folder) == list(range(1, 35))


def test_a_folder_that_waits_to_take_the_place_of_another_goes_when_another_writer_comes(folder: Folder) -> None:
    """A writer was stopped right before the exchange: what it wants to exchange is gone when it goes on."""
    for tick in range(1, 34):
        folder.append(tick, tick)
    left = Folder(folder.path, list(folder.files))
    taken: list[str] = []

    def overtaken(aside: str, place: str) -> bool:
        if not taken:
            taken.append(aside)
            folder.attempt = 2
            folder.append(34, 34)
        return exchange.exchanged(aside, place)

    with mock.patch.object(parquet_log, "exchanged", overtaken), pytest.raises(SinkError, match="No such file"):
        left.pack(33)
    assert taken
    assert stored(folder) == by_glob(folder) == list(range(1, 35))


def test_a_writer_is_asked_between_looking_and_changing(folder: Folder) -> None:
    folder.append(1, 1)

    def refuse() -> None:
        raise SinkError("another writes")

    folder.check = refuse
    with pytest.raises(SinkError, match="another writes"):
        folder.append(2, 2)
    assert stored(folder) == by_glob(folder) == [1]


@pytest.mark.parametrize("what", [lambda f: f.append(34, 34), lambda f: f.pack(33), lambda f: f.rewind(20)])
def test_a_live_file_that_is_gone_is_named(folder: Folder, what: Callable[[Folder], None]) -> None:
    for tick in range(1, 34):
        folder.append(tick, tick)
    folder.pack(33)
    for tick in range(34, 70):
        folder.append(tick, tick)
    gone = folder.files[0]
    os.remove(f"{folder.path}/{gone}")
    with pytest.raises(TableLost, match=f"{gone}, which this job wrote, is gone; .* `rebuild`"):
        what(folder)


def test_a_damaged_page_is_named_and_never_packed(folder: Folder) -> None:
    for tick in range(1, 34):
        folder.append(tick, *range(tick * 100, tick * 100 + 50))
    path = Path(folder.path) / folder.files[7]
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    with pytest.raises(TableLost, match=f"{folder.files[7]}: is damaged"):
        folder.pack(33)


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = Folder(f"{tmp_path}/file/t")
    actions: Sequence[Callable[[], None]] = (folder.show, lambda: folder.append(4, 1))
    for action in actions:
        with pytest.raises(SinkError, match="file"):
            action()

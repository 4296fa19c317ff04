"""A file in numbered versions, of which each is written once."""

import errno
import os
import threading
from pathlib import Path
from unittest import mock

import pytest

from transforms.process import versions
from transforms.process.versions import Damaged, VersionTaken


def test_the_newest_counts_and_two_are_kept(tmp_path: Path) -> None:
    folder = str(tmp_path / "new")
    assert versions.read(folder) is None
    for number in range(1, 6):
        versions.write(folder, number, b"%d" % number)
        found = versions.read(folder)
        assert found is not None and (found.number, found.content, found.follows_damage) == (
            number,
            b"%d" % number,
            False,
        )
    assert versions.numbers_in(folder) == [4, 5]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_version_that_is_there_or_was_is_not_written_again(tmp_path: Path, number: int) -> None:
    folder = str(tmp_path)
    for written in (1, 2, 3):
        versions.write(folder, written, b"first")
    with pytest.raises(VersionTaken):
        versions.write(folder, number, b"again")
    found = versions.read(folder)
    assert found is not None and (found.number, found.content) == (3, b"first")
    assert sorted(os.listdir(folder)) == ["000000000002.json", "000000000003.json"]


def test_of_many_who_write_the_same_version_at_once_one_does(tmp_path: Path) -> None:
    written: list[int] = []
    start = threading.Barrier(8)

    def write(writer: int) -> None:
        start.wait()
        for number in range(1, 60):
            try:
                versions.write(str(tmp_path), number, b"%d of %d" % (number, writer))
                written.append(number)
            except VersionTaken:
                pass

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(set(written)) == len(written), "no version was written twice"
    assert max(written) == 59


def test_half_a_version_is_passed_over(tmp_path: Path) -> None:
    folder = str(tmp_path)
    versions.write(folder, 1, b"one")
    versions.write(folder, 2, b"two")
    path = tmp_path / "000000000002.json"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        found = versions.read(folder)
        assert found is not None and (found.content, found.newest, found.follows_damage) == (b"one", 2, True)
    (tmp_path / "000000000001.json").write_bytes(b"")
    with pytest.raises(Damaged, match="so is every older version"):
        versions.read(folder)


def test_file_systems_without_links_do_as_well(tmp_path: Path) -> None:
    refused = OSError(errno.EPERM, "Operation not permitted")
    with mock.patch("os.link", mock.Mock(side_effect=refused)):
        versions.write(str(tmp_path), 1, b"one")
        with pytest.raises(VersionTaken):
            versions.write(str(tmp_path), 1, b"other")
    found = versions.read(str(tmp_path))
    assert found is not None and found.content == b"one"


def test_what_a_killed_writer_left_beside_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".abc").write_bytes(b"half")
    versions.write(str(tmp_path), 1, b"one")
    versions.sweep(str(tmp_path))
    assert os.listdir(tmp_path) == ["000000000001.json"]

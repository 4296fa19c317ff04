"""Checkpoints: which are kept, what survives a torn write or a flipped bit, whose they are, and who may write them."""

import json
import os
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest

from transforms.errors import CheckpointDamaged, NotShared, SinkError, StateRefused, TakenOver
from transforms.process import versions
from transforms.specification import Seconds
from transforms.storage.checkpoint.folder import BEFORE, FOLDER, MANIFEST, CheckpointFolder
from transforms.storage.checkpoint.manifest import Checkpoint, Manifest


def checkpoint(name: int, taken: float | None = None) -> Checkpoint:
    return Checkpoint(name, name // 4, name * 1000, {"position": name}, float(name) if taken is None else taken)


def snapshot(name: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array([b"state %d" % name])], ["state"]).replace_schema_metadata({b"a": b"%d" % name})


def keep(folder: CheckpointFolder, name: int, *snapshots: pa.RecordBatch, as_is: Checkpoint | None = None) -> Manifest:
    """Keeps a checkpoint, as a keeper does."""
    before = folder.root() or folder.claim("launch")
    new = folder.put(as_is or checkpoint(name), snapshots or [snapshot(name)], before.attempt)
    found = folder.with_checkpoint(before.checkpoints, new)
    return folder.commit(before, replace(before, identity=folder.identity, checkpoints=found, at=new.place))


def names(folder: CheckpointFolder) -> list[int]:
    manifest = folder.read()
    return [entry.name for entry in manifest.checkpoints] if manifest else []


def files(state: Path) -> list[str]:
    return sorted(path.name for path in (state / FOLDER).iterdir())


def test_there_is_nothing_to_go_on_from_at_first(tmp_path: Path) -> None:
    folder = CheckpointFolder(str(tmp_path))
    assert folder.read() is None
    folder.claim("launch")
    assert folder.read() is None, "a launch alone is no checkpoint"


def test_snapshots_come_back_as_they_were_kept(tmp_path: Path) -> None:
    folder = CheckpointFolder(str(tmp_path), {"job": "a"})
    kept = keep(folder, 4, snapshot(1), snapshot(2))
    manifest = CheckpointFolder(str(tmp_path), {"job": "a"}).read()
    assert manifest is not None and manifest.newest == manifest.oldest == kept.newest
    loaded = folder.load(manifest.newest)
    assert loaded == [snapshot(1), snapshot(2)]
    assert [batch.schema.metadata for batch in loaded] == [{b"a": b"1"}, {b"a": b"2"}]


def test_a_job_without_shards_to_keep_has_an_empty_checkpoint(tmp_path: Path) -> None:
    folder = CheckpointFolder(str(tmp_path))
    empty = folder.put(checkpoint(4), [], 1)
    assert folder.load(empty) == []


@pytest.mark.parametrize("step", [1, 3, 7, 30])
def test_three_are_kept_and_the_oldest_is_just_old_enough(tmp_path: Path, step: int) -> None:
    folder = CheckpointFolder(str(tmp_path), retain=Seconds(20.0))
    before: list[int] = []
    for name in range(step, 200, step):
        keep(folder, name)
        kept = names(folder)
        assert len(kept) <= 3 and kept == sorted(kept) and kept[-1] == name
        there = sorted({*before, *kept})
        assert files(tmp_path) == [f"{entry:012d}-1.arrows" for entry in there], "those of the version before as well"
        before = kept
        age = name - kept[0]
        assert age >= 20 or kept[0] == step, "verify reaches back as far as was asked"
        assert age <= 2 * 20 + 2 * step, "and the log is not kept for ever"


def by_the_log(name: int, taken: float, elapsed: float) -> Checkpoint:
    source = {"position": name, "progress": {"elapsed": int(elapsed * 1e6)}}
    return Checkpoint(name, name // 4, name * 1000, source, taken)


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
def test_a_clock_that_jumps_makes_no_checkpoint_older_or_younger(tmp_path: Path, jump: float) -> None:
    folder = CheckpointFolder(str(tmp_path), retain=Seconds(20.0))
    for second in range(1, 60):
        taken = second + (jump if second > 10 else 0.0)
        keep(folder, 4 * second, as_is=by_the_log(4 * second, taken, second))
        age = second - names(folder)[0] / 4
        assert age >= 20 or names(folder)[0] == 4, "a jump ahead lets go of nothing"
        assert age <= 2 * 20 + 2, "a jump back holds nothing for ever"


@pytest.mark.parametrize("torn", range(1, 12))
def test_a_torn_write_leaves_the_checkpoint_before(tmp_path: Path, torn: int) -> None:
    """The disk refuses the nth operation that matters."""
    folder = CheckpointFolder(str(tmp_path))
    keep(folder, 4)
    calls = 0

    def failing(operation: Any) -> Any:
        def attempt(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == torn:
                raise OSError(28, "No space left on device")
            return operation(*arguments, **options)

        return attempt

    refused = False
    with (
        mock.patch("os.replace", failing(os.replace)),
        mock.patch("os.fsync", failing(os.fsync)),
        mock.patch("os.link", failing(os.link)),
    ):
        try:
            keep(folder, 8)
        except SinkError as error:
            assert "No space left on device" in str(error)
            refused = True
    newest = names(folder)[-1]
    assert newest == 8 or refused
    manifest = folder.read()
    assert manifest is not None and folder.load(manifest.newest) == [snapshot(newest)]
    keep(folder, 12)
    keep(folder, 16)
    assert names(folder)[-1] == 16
    assert all(name.endswith(".arrows") for name in files(tmp_path)), "nothing torn is left"


def test_the_state_of_another_job_is_refused_with_what_differs(tmp_path: Path) -> None:
    keep(CheckpointFolder(str(tmp_path), {"job": "a", "aggregations by_key": "1"}), 4)
    assert names(CheckpointFolder(str(tmp_path), {"job": "a", "aggregations by_key": "1"})) == [4]
    for identity, part in (({"job": "b"}, "job"), ({"job": "a", "aggregations by_key": "2"}, "aggregations by_key")):
        with pytest.raises(StateRefused) as refused:
            CheckpointFolder(str(tmp_path), identity).read()
        assert str(refused.value) == (
            f"{tmp_path}: its checkpoints belong to a job with different `{part}`; give this job another `state` and"
            " other sinks, or let `--begin-anew` empty its tables and begin with what its source still holds"
        )


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    folder = CheckpointFolder(str(tmp_path))
    keep(folder, 4)
    version = versions.read(f"{tmp_path}/{MANIFEST}")
    assert version is not None
    content = {**json.loads(version.content), "format": 99}
    versions.write(f"{tmp_path}/{MANIFEST}", version.number + 1, json.dumps(content).encode())
    with pytest.raises(StateRefused, match="has format 99, this version reads 3; use the one that wrote it"):
        folder.read()


@pytest.mark.parametrize("text", ["", "{", "\x00", "{}", "[]", "1"])
def test_a_manifest_that_cannot_be_read_is_refused_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / BEFORE).write_text(text)
    with pytest.raises(StateRefused, match=r"manifest cannot be read .* let `--begin-anew` empty"):
        CheckpointFolder(str(tmp_path)).read()


def test_the_state_of_the_version_before_is_read_and_goes_on(tmp_path: Path) -> None:
    """Format 2: one file, and snapshots without a checksum under the names of their ticks alone."""
    folder = CheckpointFolder(str(tmp_path), {"job": "a"})
    file = folder.put(checkpoint(4), [snapshot(4)], 1).file
    os.rename(tmp_path / FOLDER / file, tmp_path / FOLDER / "000000000004.arrows")
    entry = {"name": 4, "chunk": 1, "watermark": 4000, "source": {"position": 4}, "taken": 4.0, "drained": False}
    before = {"identity": {"job": "a"}, "checkpoints": [{**entry, "topics": []}], "format": 2, "taken_back": False}
    (tmp_path / BEFORE).write_text(json.dumps({**before, "since": {"t": {"x": 1}}}))
    manifest = folder.read()
    assert manifest is not None and (manifest.newest.name, manifest.since) == (4, {"t": {"x": 1}})
    assert manifest.at.is_at(manifest.newest.place)
    assert folder.load(manifest.newest) == [snapshot(4)]
    folder.claim("launch")
    keep(folder, 8)
    assert names(folder) == [4, 8]
    assert json.loads((tmp_path / BEFORE).read_text()) == {"format": 3}, "the version before refuses it by its number"


def test_a_launch_that_was_left_over_must_not_write(tmp_path: Path) -> None:
    folder = CheckpointFolder(str(tmp_path))
    with pytest.raises(NotShared, match="the same folder for the process that launches and for every worker"):
        folder.current("first")
    folder.claim("first")
    first = folder.current("first")
    folder.claim("second")
    with pytest.raises(TakenOver, match="another launch"):
        folder.current("first")
    with pytest.raises(TakenOver, match="another launch"):
        folder.commit(first, replace(first, since={"t": {}}))
    assert folder.current("second").since == {}


def test_of_two_who_have_read_the_same_manifest_one_writes(tmp_path: Path) -> None:
    """However long one was stopped in between, and however many versions the other has written since."""
    folder = CheckpointFolder(str(tmp_path))
    stale = folder.claim("launch")
    for name in range(4, 80, 4):
        keep(folder, name)
        with pytest.raises(TakenOver):
            folder.commit(stale, replace(stale, since={"t": {"wrong": 1}}))
        assert names(folder)[-1] == name
    assert len(versions.numbers_in(f"{tmp_path}/{MANIFEST}")) == 2


def test_a_left_over_writer_removes_no_snapshots_of_a_later_one(tmp_path: Path) -> None:
    folder = CheckpointFolder(str(tmp_path))
    keep(folder, 4)
    before = folder.root()
    assert before is not None
    later = folder.put(checkpoint(8), [snapshot(8)], before.attempt + 1)
    folder._forget(before, before)
    assert folder.load(later) == [snapshot(8)]


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_of_a_checkpoint_is_noticed(tmp_path: Path, seed: int) -> None:
    folder, chance = CheckpointFolder(str(tmp_path)), Random(seed)
    kept = keep(folder, 4).newest
    path = tmp_path / FOLDER / kept.file
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    with pytest.raises(CheckpointDamaged, match="is damaged"):
        folder.load(kept)
    path.unlink()
    with pytest.raises(CheckpointDamaged, match="cannot be read"):
        folder.load(kept)


@pytest.mark.parametrize("seed", range(20))
def test_after_a_flipped_bit_the_manifest_before_counts_and_says_so(tmp_path: Path, seed: int) -> None:
    folder, chance = CheckpointFolder(str(tmp_path)), Random(seed)
    for name in (4, 8, 12):
        keep(folder, name)
    newest = max((tmp_path / MANIFEST).iterdir())
    content = bytearray(newest.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    newest.write_bytes(content)
    manifest = folder.read()
    assert manifest is not None and manifest.is_behind and manifest.newest.name == 8
    assert folder.load(manifest.newest) == [snapshot(8)], "its snapshots are there"
    keep(folder, 16)
    assert names(folder)[-2:] == [8, 16] and not folder.read().is_behind  # type: ignore[union-attr]


def test_a_start_from_nothing_gives_up_a_state_that_cannot_be_read(tmp_path: Path) -> None:
    folder = CheckpointFolder(str(tmp_path))
    keep(folder, 4)
    for path in (tmp_path / MANIFEST).iterdir():
        path.write_bytes(b"junk")
    with pytest.raises(StateRefused, match="so is every older version"):
        folder.read()
    folder.claim("launch", anew=True)
    assert folder.read() is None
    keep(folder, 8)
    assert names(folder) == [8]

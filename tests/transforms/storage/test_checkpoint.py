"""Checkpoints: which are kept, what survives a torn write, and whose they are."""

import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest

from transforms.storage.checkpoint import (
    FOLDER,
    MANIFEST,
    Checkpoint,
    CheckpointFolder,
    NotShared,
    StateRefused,
    TakenOver,
)
from transforms.storage.error import SinkError


def checkpoint(name: int, taken: float | None = None) -> Checkpoint:
    return Checkpoint(name, name // 4, name * 1000, {"position": name}, float(name) if taken is None else taken)


def snapshot(name: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array([b"state %d" % name])], ["state"]).replace_schema_metadata({b"a": b"%d" % name})


def names(folder: CheckpointFolder) -> list[int]:
    manifest = folder.read()
    return [entry.name for entry in manifest.checkpoints] if manifest else []


def files(state: Path) -> list[str]:
    return sorted(path.name for path in (state / FOLDER).iterdir())


def test_there_is_nothing_to_go_on_from_at_first(tmp_path: Path) -> None:
    assert CheckpointFolder(str(tmp_path)).read() is None


def test_snapshots_come_back_as_they_were_kept(tmp_path: Path) -> None:
    folder = CheckpointFolder(str(tmp_path), {"job": "a"})
    folder.keep(checkpoint(4), [snapshot(1), snapshot(2)])
    manifest = CheckpointFolder(str(tmp_path), {"job": "a"}).read()
    assert manifest is not None and manifest.newest == manifest.oldest == checkpoint(4)
    loaded = folder.load(manifest.newest)
    assert loaded == [snapshot(1), snapshot(2)]
    assert [batch.schema.metadata for batch in loaded] == [{b"a": b"1"}, {b"a": b"2"}]


def test_a_job_without_shards_to_keep_has_an_empty_checkpoint(tmp_path: Path) -> None:
    folder = CheckpointFolder(str(tmp_path))
    folder.keep(checkpoint(4), [])
    assert folder.load(checkpoint(4)) == []


@pytest.mark.parametrize("step", [1, 3, 7, 30])
def test_three_are_kept_and_the_oldest_is_just_old_enough(tmp_path: Path, step: int) -> None:
    folder = CheckpointFolder(str(tmp_path), retain=20.0)
    for name in range(step, 200, step):
        folder.keep(checkpoint(name), [snapshot(name)])
        kept = names(folder)
        assert len(kept) <= 3 and kept == sorted(kept) and kept[-1] == name
        assert files(tmp_path) == [f"{entry:012d}.arrows" for entry in kept]
        age = name - kept[0]
        assert age >= 20 or kept[0] == step, "verify reaches back as far as was asked"
        assert age <= 2 * 20 + 2 * step, "and the log is not kept for ever"


def by_the_log(name: int, taken: float, elapsed: float) -> Checkpoint:
    source = {"position": name, "progress": {"elapsed": int(elapsed * 1e6)}}
    return Checkpoint(name, name // 4, name * 1000, source, taken)


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
def test_a_clock_that_jumps_makes_no_checkpoint_older_or_younger(tmp_path: Path, jump: float) -> None:
    folder = CheckpointFolder(str(tmp_path), retain=20.0)
    for second in range(1, 60):
        taken = second + (jump if second > 10 else 0.0)
        folder.keep(by_the_log(4 * second, taken, second), [snapshot(second)])
        age = second - names(folder)[0] / 4
        assert age >= 20 or names(folder)[0] == 4, "a jump ahead lets go of nothing"
        assert age <= 2 * 20 + 2, "a jump back holds nothing for ever"


def test_keeping_one_again_replaces_it(tmp_path: Path) -> None:
    folder = CheckpointFolder(str(tmp_path))
    folder.keep(checkpoint(4), [snapshot(4)])
    for _ in range(2):
        folder.keep(checkpoint(8), [snapshot(8)])
    assert names(folder) == [4, 8]


@pytest.mark.parametrize("torn", range(1, 8))
def test_a_torn_write_leaves_the_checkpoint_before(tmp_path: Path, torn: int) -> None:
    """The process ends, or the disk refuses, before the nth operation that matters."""
    folder = CheckpointFolder(str(tmp_path))
    folder.keep(checkpoint(4), [snapshot(4)])
    calls = 0

    def failing(operation: Any) -> Any:
        def attempt(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == torn:
                raise OSError(28, "No space left on device")
            return operation(*arguments)

        return attempt

    with mock.patch("os.replace", failing(os.replace)), mock.patch("os.fsync", failing(os.fsync)):
        if torn > 6:
            folder.keep(checkpoint(8), [snapshot(8)])
        else:
            with pytest.raises(SinkError, match="No space left on device"):
                folder.keep(checkpoint(8), [snapshot(8)])
    newest = 8 if torn > 5 else 4
    assert names(folder)[-1] == newest
    assert folder.load(checkpoint(newest)) == [snapshot(newest)]
    folder.keep(checkpoint(12), [snapshot(12)])
    assert names(folder)[-1] == 12
    assert all(name.endswith(".arrows") for name in files(tmp_path)), "nothing torn is left"


def test_half_a_snapshot_beside_the_manifest_is_forgotten(tmp_path: Path) -> None:
    folder = CheckpointFolder(str(tmp_path))
    folder.keep(checkpoint(4), [snapshot(4)])
    (tmp_path / FOLDER / "000000000008.arrows").write_bytes(b"half")
    (tmp_path / FOLDER / "000000000012.arrows.new").write_bytes(b"half")
    assert folder.load(checkpoint(4)) == [snapshot(4)]
    folder.keep(checkpoint(16), [snapshot(16)])
    assert files(tmp_path) == ["000000000004.arrows", "000000000016.arrows"]


def test_the_state_of_another_job_is_refused_with_what_differs(tmp_path: Path) -> None:
    CheckpointFolder(str(tmp_path), {"job": "a", "aggregations by_key": "1"}).keep(checkpoint(4), [])
    assert names(CheckpointFolder(str(tmp_path), {"job": "a", "aggregations by_key": "1"})) == [4]
    for identity, part in (({"job": "b"}, "job"), ({"job": "a", "aggregations by_key": "2"}, "aggregations by_key")):
        with pytest.raises(StateRefused) as refused:
            CheckpointFolder(str(tmp_path), identity).read()
        assert str(refused.value) == (
            f"{tmp_path}/{MANIFEST}: was written by a job with another `{part}`; give this job another `state`, or"
            f" remove {tmp_path} to begin anew with what its source still holds"
        )


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    folder = CheckpointFolder(str(tmp_path))
    folder.keep(checkpoint(4), [])
    content = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**content, "format": 99}))
    with pytest.raises(StateRefused, match="has format 99, this version reads 2; use the version that wrote it"):
        folder.read()


@pytest.mark.parametrize("text", ["", "{", "\x00", "{}", "[]", "1"])
def test_a_manifest_that_cannot_be_read_is_refused_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(StateRefused, match=f"cannot be read .* remove {tmp_path} to begin anew"):
        CheckpointFolder(str(tmp_path)).read()


def test_a_rewind_forgets_what_is_newer(tmp_path: Path) -> None:
    folder = CheckpointFolder(str(tmp_path))
    for name in (4, 8, 12):
        folder.keep(checkpoint(name), [snapshot(name)])
    folder.rewind(12)
    assert names(folder) == [4, 8, 12]
    folder.rewind(9)
    assert names(folder) == [4, 8]
    assert files(tmp_path) == ["000000000004.arrows", "000000000008.arrows"]


def test_a_rewind_to_before_every_checkpoint_leaves_nothing_to_go_on_from(tmp_path: Path) -> None:
    """To begin anew would be to lose what the log does not hold any more."""
    folder = CheckpointFolder(str(tmp_path))
    folder.keep(checkpoint(4), [snapshot(4)])
    folder.rewind(2)
    with pytest.raises(StateRefused, match="only that engine can"):
        folder.read()
    folder.keep(checkpoint(3), [snapshot(3)])
    assert names(folder) == [3]


def test_a_launch_that_was_left_over_must_not_write(tmp_path: Path) -> None:
    folder = CheckpointFolder(str(tmp_path))
    with pytest.raises(NotShared, match="the same one for who launches and for every worker"):
        folder.check_claim("first")
    folder.claim("first")
    folder.check_claim("first")
    folder.claim("second")
    with pytest.raises(TakenOver, match="another launch"):
        folder.check_claim("first")
    folder.check_claim("second")

"""Checkpoints: what a live job goes on from, each a folder named by its tick, and one manifest that says which.

A checkpoint holds the state of every shard made of exactly the records before its tick, and what the source needs
to go on from there. It is written after everything that those records gave is in the sinks. Three are kept: the
newest; one that is `retain` old or older, from which `verify` can run the log again as far as it is kept; and one
on its way to become that.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from transforms import durable
from transforms.retention import moments
from transforms.storage.error import SinkError, told_as_sink_error

FORMAT: Final = 2
FOLDER: Final = "checkpoints"
MANIFEST: Final = "checkpoint.json"
LAUNCH: Final = "launch"
STATISTICS: Final = "statistics of"
"""How the parts of an identity begin that new statistics may change."""

NOTHING: Final = -1
"""The name of where a job stood before its first checkpoint."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a job stood.

    Args:
        name: the tick's name, unique and growing.
        chunk: the first chunk that was not read.
        watermark: up to where event time had passed (µs).
        source: what the source needs to go on.
        taken: when, in s since the epoch.
        drained: whether all windows were closed before their time, so that nothing can go on from here.
        topics: how far the topics are that the job writes.
    """

    name: int
    chunk: int
    watermark: int
    source: Mapping[str, Any]
    taken: float
    drained: bool = False
    topics: Sequence[Mapping[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job stands: the name of its last checkpoint, and how far the topics were then that it writes."""

    name: int = NOTHING
    topics: Sequence[Mapping[str, Any]] = field(default_factory=list)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def from_json(content: bytes) -> "Place":
        return Place(**json.loads(content))


@dataclass(frozen=True, slots=True)
class Manifest:
    """The checkpoints of a job, oldest first, and what the job must be for them to fit.

    Args:
        taken_back: whether the tables were taken back to before the oldest of them, by an engine that had been there:
            until the next checkpoint only that engine can go on.
        since: of each table, the figures that the job was given while it ran, and the end (µs) of the last window
            that is without them.
    """

    identity: Mapping[str, str]
    checkpoints: Sequence[Checkpoint]
    format: int = FORMAT
    taken_back: bool = False
    since: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def newest(self) -> Checkpoint:
        return self.checkpoints[-1]

    @property
    def oldest(self) -> Checkpoint:
        return self.checkpoints[0]


class TakenOver(SinkError):
    """Another launch of the job goes on with its state: this one, left over on some machine, must not write it."""


class NotShared(SinkError):
    """A worker's state folder is another than that of who launched the job, at the same path."""


class StateRefused(SinkError):
    """A state folder that does not fit the job, with what to do about it."""


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of one job.

    Args:
        state: the job's folder for what outlives a run.
        identity: what the job is, part by part, in words and digests; a checkpoint fits the same only.
        retain: s that the log can at least be verified back.
    """

    state: str
    identity: Mapping[str, str] = field(default_factory=dict)
    retain: float = 3600.0

    def read(self, *, taken_back: bool = False) -> Manifest | None:
        """The checkpoints; None: there is none yet.

        Args:
            taken_back: whether those will do behind which the tables were taken back.

        Raises:
            StateRefused: if they are another job's, or were written by a newer version, or an engine took the tables
                back to before the oldest of them.
        """
        manifest = self.of_any_job()
        if manifest is not None:
            self.refuse_other(manifest, self.identity)
            if not taken_back:
                self.refuse_taken_back(manifest)
        return manifest

    def refuse_other(self, manifest: Manifest, identity: Mapping[str, str]) -> None:
        """Raises StateRefused if checkpoints are those of a job with another identity."""
        for part, value in identity.items():
            if manifest.identity.get(part) != value:
                raise StateRefused(
                    f"{self.state}/{MANIFEST}: was written by a job with another `{part}`;"
                    + (" `run --upgrade` or `flink upgrade` takes up new ones;" if part.startswith(STATISTICS) else "")
                    + f" give this job another `state`, or remove {self.state} to begin anew with what its source"
                    " still holds"
                )

    def refuse_taken_back(self, manifest: Manifest) -> None:
        """Raises StateRefused if nothing but an engine can go on, which took the tables back."""
        if manifest.taken_back:
            raise StateRefused(
                f"{self.state}: an engine has taken this job back to before its checkpoints, and only that engine can"
                " go on, by its own savepoint, until there is another checkpoint"
            )

    def of_any_job(self) -> Manifest | None:
        """The checkpoints, whether they fit the job or not; None: there is none yet.

        Raises:
            StateRefused: if they cannot be read, or were written by a newer version.
        """
        path = f"{self.state}/{MANIFEST}"
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error
        try:
            if (found := content["format"]) != FORMAT:
                raise StateRefused(
                    f"{path}: has format {found}, this version reads {FORMAT}; use the version that wrote it"
                )
            checkpoints = [Checkpoint(**entry) for entry in content.pop("checkpoints")]
            return Manifest(**content, checkpoints=checkpoints)
        except (KeyError, TypeError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> StateRefused:
        path = f"{self.state}/{MANIFEST}"
        return StateRefused(f"{path}: cannot be read ({error}); remove {self.state} to begin anew")

    def claim(self, launch: str) -> None:
        """From now on the state is that launch's.

        Raises:
            SinkError: if the disk refuses.
        """
        with told_as_sink_error(self.state):
            durable.write_text(f"{self.state}/{LAUNCH}", launch)

    def check_claim(self, launch: str) -> None:
        """Looks whether a launch may write.

        Raises:
            TakenOver: if the state is another launch's by now.
            NotShared: if this is not the folder that a launch has claimed.
        """
        try:
            claimed = Path(self.state, LAUNCH).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise NotShared(
                f"{self.state} is not the folder that this job was launched with: it must be the same one for who"
                " launches and for every worker"
            ) from None
        if claimed != launch:
            raise TakenOver(f"{self.state}: another launch of this job goes on with it")

    def load(self, checkpoint: Checkpoint) -> list[pa.RecordBatch]:
        """The snapshots in a checkpoint."""
        return read_snapshots(self._file(checkpoint))

    def keep(self, checkpoint: Checkpoint, snapshots: Iterable[pa.RecordBatch], *, instead: bool = False) -> Manifest:
        """Writes a checkpoint; from its manifest on, it is the one that counts. Older ones go as they may.

        Args:
            instead: whether the older ones go at once: nothing may go on from them any more.

        Raises:
            SinkError: if the disk refuses; the one before still counts.
        """
        path = self._file(checkpoint)
        with told_as_sink_error(self.state):
            write_snapshots(path, snapshots)
            before = None if instead else self.read(taken_back=True)
            kept = [entry for entry in before.checkpoints if entry.name < checkpoint.name] if before else []
            since = before.since if before else {}
            manifest = Manifest(self.identity, self._wanted([*kept, checkpoint]), since=since)
            self._write(manifest)
        self._forget(manifest)
        return manifest

    def rewind(self, name: int) -> None:
        """Forgets the checkpoints behind the one of this name.

        Raises:
            SinkError: if the disk refuses.
        """
        manifest = self.read(taken_back=True)
        if manifest is None or manifest.newest.name <= name:
            return
        kept = [entry for entry in manifest.checkpoints if entry.name <= name]
        # Without any, the next launch would take it that nothing was stored yet.
        left = replace(manifest, checkpoints=kept) if kept else replace(manifest, taken_back=True)
        with told_as_sink_error(self.state):
            self._write(left)
        self._forget(left)

    def adopt(self, manifest: Manifest, since: Mapping[str, Mapping[str, int]]) -> None:
        """Makes checkpoints those of this job, which knows what windows up to then are without.

        Raises:
            SinkError: if the disk refuses; nothing has changed.
        """
        with told_as_sink_error(self.state):
            self._write(replace(manifest, identity=self.identity, since=since))

    def _write(self, manifest: Manifest) -> None:
        durable.write_text(f"{self.state}/{MANIFEST}", json.dumps(asdict(manifest)))

    def _wanted(self, checkpoints: list[Checkpoint]) -> list[Checkpoint]:
        oldest, newest = checkpoints[0], checkpoints[-1]
        between = checkpoints[1:-1]
        times = moments([asdict(entry) for entry in checkpoints])
        ripe = [entry for entry, time in zip(between, times[1:-1], strict=True) if times[-1] - time >= self.retain]
        if ripe:
            oldest, between = ripe[-1], between[between.index(ripe[-1]) + 1 :]
        # The first one after the oldest is the next to become it; a newer one would only make that later.
        return [oldest, *between[:1], newest] if oldest is not newest else [newest]

    def _forget(self, manifest: Manifest) -> None:
        names = {os.path.basename(self._file(entry)) for entry in manifest.checkpoints}
        for path in Path(self.state, FOLDER).glob("*"):
            if path.name not in names:
                path.unlink(missing_ok=True)

    def _file(self, checkpoint: Checkpoint) -> str:
        return f"{self.state}/{FOLDER}/{checkpoint.name:012d}.arrows"


def write_snapshots(path: str, snapshots: Iterable[pa.RecordBatch]) -> None:
    """Writes snapshots to a file, durably and in one step.

    Raises:
        OSError: if the disk refuses; the file is as it was.
    """
    with durable.replacing(path) as file:
        for snapshot in snapshots:
            with pa.ipc.new_stream(file, snapshot.schema) as writer:
                writer.write_batch(snapshot)


def read_snapshots(path: str) -> list[pa.RecordBatch]:
    """What `write_snapshots` wrote."""
    with pa.OSFile(path, "rb") as file:
        snapshots = []
        while file.tell() < file.size():
            with pa.ipc.open_stream(file) as stream:
                snapshots.append(stream.read_next_batch())
                for _ in stream:
                    raise AssertionError("a snapshot is one batch")
        return snapshots

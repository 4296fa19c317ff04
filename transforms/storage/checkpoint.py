"""Checkpoints: what a live job resumes from, each a file of snapshots, and one manifest that says which of them count.

A checkpoint holds the state of every shard made of exactly the records before its tick, and what the source needs
to go on from there. It is written after everything that those records gave is in the sinks. Three are kept: the
newest; one that is `retain` old or older, from which `verify` can run the log again as far as it is kept; and one
on its way to become that.

The manifest is all that counts of a job: its line of histories, who may write, its checkpoints, and which files of its
Parquet folders are live. It changes by compare-and-set only (`transforms.versions`): a writer that was overtaken while
it was stopped changes nothing.
"""

import json
import os
import uuid
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from transforms import durable, versions
from transforms.storage.error import SinkError, told_as_sink_error
from transforms.storage.history import Line, Place, Stretch, begun

FORMAT: Final = 3
FOLDER: Final = "checkpoints"
MANIFEST: Final = "manifest"
"""The folder of the manifest's versions."""

BEFORE: Final = "checkpoint.json"
"""The manifest of format 2; one that says format 3 keeps older versions of this program away."""

STATISTICS: Final = "statistics of"
"""How the parts of an identity begin that new statistics may change."""

BEGIN_ANEW: Final = "--begin-anew"
"""What makes a live job start from nothing where tables or a state are there."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a job stood.

    Args:
        name: the tick's name, unique and growing within a history.
        chunk: the first chunk that was not read.
        watermark: up to where event time had passed (µs).
        source: what the source needs to go on.
        taken: when, in s since the epoch.
        drained: whether all windows were closed before their time, so that nothing can go on from here.
        topics: how far the topics are that the job writes.
        history: the history that it is of.
        file: the name of its snapshots' file.
        checksum: the CRC-32 of that file; None: an earlier version of this program wrote it.
    """

    name: int
    chunk: int
    watermark: int
    source: Mapping[str, Any]
    taken: float
    drained: bool = False
    topics: Sequence[Mapping[str, Any]] = field(default_factory=list)
    history: str = ""
    file: str = ""
    checksum: int | None = None

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.name, self.topics, self.history)


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that counts of a job.

    Args:
        identity: what the job must be for its checkpoints to fit, part by part.
        checkpoints: oldest first.
        owner: names this state among all others; tables say whose they are by it.
        line: the histories that led to where the job stands.
        at: where the job stands, and its tables with it.
        launch: which launch of the job may write; a launch ends those before it.
        attempt: counts those who were allowed to write: a later one ends the earlier ones.
        files: the live files of each Parquet folder.
        databases: the databases whose tables were begun, by digests of their URLs.
        taken_back: whether the tables were taken back to before the oldest checkpoint, by an engine that had been
            there: until the next checkpoint only that engine can go on.
        since: of each table, the figures that the job was given while it ran, and the end (µs) of the last window
            that is without them.
        number: the version that this was read from; 0: none was written yet.
        is_behind: whether a version after this one is there and is damaged.
    """

    identity: Mapping[str, str]
    checkpoints: Sequence[Checkpoint] = ()
    owner: str = ""
    line: Line = ()
    at: Place = field(default_factory=Place)
    launch: str = ""
    attempt: int = 0
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)
    databases: Sequence[str] = ()
    taken_back: bool = False
    since: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    number: int = 0
    is_behind: bool = False

    @property
    def newest(self) -> Checkpoint:
        return self.checkpoints[-1]

    @property
    def oldest(self) -> Checkpoint:
        return self.checkpoints[0]

    @staticmethod
    def new(identity: Mapping[str, str]) -> "Manifest":
        """That of a job which has stored nothing yet."""
        line = begun()
        return Manifest(identity, owner=uuid.uuid4().hex[:16], line=line, at=Place(history=line[-1].history))

    def to_json(self) -> bytes:
        content = asdict(self)
        del content["number"], content["is_behind"]
        return json.dumps({"format": FORMAT, **content}).encode()

    @staticmethod
    def from_json(content: Mapping[str, Any], number: int = 0, is_behind: bool = False) -> "Manifest":
        known = {name: value for name, value in content.items() if name != "format"}
        checkpoints = [Checkpoint(**entry) for entry in known.pop("checkpoints")]
        line = tuple(Stretch(**entry) for entry in known.pop("line"))
        at = Place(**known.pop("at"))
        return Manifest(**known, checkpoints=checkpoints, line=line, at=at, number=number, is_behind=is_behind)


class TakenOver(SinkError):
    """Another launch or attempt of the job goes on with its state: this one, left over, must not write it."""


class NotShared(SinkError):
    """A worker's state folder is another than that of who launched the job, at the same path."""


class StateRefused(SinkError):
    """A state folder that does not fit the job, with what to do about it."""


class Abandoned(StateRefused):
    """A place that the job has left: it was taken back to before it, and is in another history now."""


class CheckpointDamaged(StateRefused):
    """A checkpoint whose file is not what was written."""


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
        """The manifest, if the job can go on from it; None: there is no checkpoint yet.

        Args:
            taken_back: whether checkpoints will do that the tables were taken back to before.

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
                    f"{self.state}: was written by a job with another `{part}`;"
                    + (" `run --upgrade` or `flink upgrade` takes up new ones;" if part.startswith(STATISTICS) else "")
                    + f" give this job another `state` and other sinks, or let `{BEGIN_ANEW}` empty its tables and"
                    " begin with what its source still holds"
                )

    def refuse_taken_back(self, manifest: Manifest) -> None:
        """Raises StateRefused if nothing but an engine can go on, which took the tables back."""
        if manifest.taken_back:
            raise StateRefused(
                f"{self.state}: an engine has taken this job back to before its checkpoints, and only that engine can"
                " go on, by its own savepoint, until there is another checkpoint"
            )

    def of_any_job(self) -> Manifest | None:
        """The manifest, whether it fits the job or not; None: there is no checkpoint yet.

        Raises:
            StateRefused: if it cannot be read, or was written by a newer version.
        """
        manifest = self.root()
        return manifest if manifest is not None and (manifest.checkpoints or manifest.taken_back) else None

    def root(self) -> Manifest | None:
        """The manifest, also before the first checkpoint; None: no live job was ever launched with this state.

        Raises:
            StateRefused: if it cannot be read, or was written by a newer version.
        """
        try:
            version = versions.read(self._manifest)
            if version is None:
                return self._of_format_2()
            content = json.loads(version.content)
            if content["format"] != FORMAT:
                raise self._other_format(content["format"])
            return Manifest.from_json(content, version.number, version.follows_damage)
        except (versions.Damaged, OSError, ValueError, KeyError, TypeError) as error:
            raise self._unreadable(error) from error

    def _of_format_2(self) -> Manifest | None:
        try:
            content = json.loads(Path(self.state, BEFORE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if content["format"] == FORMAT:  # a launch that was killed before its first version
            return None
        if content["format"] != 2:
            raise self._other_format(content["format"])
        found = [Checkpoint(**entry) for entry in content["checkpoints"]]
        checkpoints = [replace(entry, file=f"{entry.name:012d}.arrows") for entry in found]
        return Manifest(
            content["identity"],
            checkpoints,
            owner=uuid.uuid4().hex[:16],
            line=(Stretch(""),),
            at=checkpoints[-1].place if checkpoints else Place(),
            taken_back=content.get("taken_back", False),
            since=content.get("since", {}),
        )

    def _other_format(self, found: Any) -> StateRefused:
        return StateRefused(f"{self.state}: has format {found}, this version reads {FORMAT}; use the one that wrote it")

    def _unreadable(self, error: Exception) -> StateRefused:
        return StateRefused(
            f"{self.state}: its manifest cannot be read ({error}); restore it, or let `{BEGIN_ANEW}` empty the job's"
            " tables and begin with what its source still holds"
        )

    def commit(self, before: Manifest, after: Manifest) -> Manifest:
        """Makes `after` the manifest, if `before` still is it.

        Raises:
            TakenOver: if it is not: another has written meanwhile.
            SinkError: if the disk refuses; nothing has changed.
        """
        number = max(before.number, *versions.numbers_in(self._manifest), 0) if before.is_behind else before.number
        with told_as_sink_error(self.state):
            if not before.number:
                durable.write_text(f"{self.state}/{BEFORE}", json.dumps({"format": FORMAT}))
            try:
                versions.write(self._manifest, number + 1, after.to_json())
            except versions.Overtaken:
                raise self._taken_over() from None
        written = replace(after, number=number + 1, is_behind=False)
        self._forget(before, written)
        return written

    def claim(self, launch: str, *, anew: bool = False) -> Manifest:
        """From now on the state is that launch's.

        Args:
            anew: whether all that the state holds is given up: the job starts from nothing.

        Raises:
            StateRefused: if the state cannot be read.
            SinkError: if the disk refuses.
        """
        with told_as_sink_error(self.state):
            os.makedirs(self.state, exist_ok=True)
            versions.sweep(self._manifest)
        while True:
            before = self._given_up() if anew else (self.root() or Manifest.new(self.identity))
            try:
                return self.commit(before, replace(before, launch=launch, attempt=before.attempt + 1))
            except TakenOver:
                continue  # this is who takes it over; the other one was a moment earlier

    def _given_up(self) -> Manifest:
        """The manifest of a job that starts from nothing where another was."""
        new, numbers = Manifest.new(self.identity), versions.numbers_in(self._manifest)
        try:
            before = self.root()
        except StateRefused:
            before = None
        if before is None:
            return replace(new, number=numbers[-1] if numbers else 0)
        return replace(
            new, owner=before.owner, attempt=before.attempt, number=before.number, is_behind=before.is_behind
        )

    def current(self, launch: str) -> Manifest:
        """The manifest as a worker of a launch may change it.

        Raises:
            TakenOver: if the state is another launch's by now.
            NotShared: if this is not the folder that a launch has claimed.
        """
        manifest = self.root()
        if manifest is None or (launch and not manifest.launch):
            raise NotShared(
                f"{self.state} is not the folder that this job was launched with: it must be the same one for who"
                " launches and for every worker"
            )
        if manifest.launch != launch:
            raise self._taken_over()
        return manifest

    def _taken_over(self) -> TakenOver:
        return TakenOver(f"{self.state}: another launch of this job goes on with it")

    def load(self, checkpoint: Checkpoint) -> list[pa.RecordBatch]:
        """The snapshots in a checkpoint.

        Raises:
            CheckpointDamaged: if its file is not what was written.
        """
        path = f"{self.state}/{FOLDER}/{checkpoint.file}"
        try:
            if checkpoint.checksum is not None and _checksum_of(path) != checkpoint.checksum:
                raise CheckpointDamaged(f"{path}: is damaged: its checksum is not that of the manifest")
            return read_snapshots(path)
        except (OSError, pa.ArrowException) as error:
            raise CheckpointDamaged(f"{path}: cannot be read: {error}") from error

    def put(self, checkpoint: Checkpoint, snapshots: Iterable[pa.RecordBatch], attempt: int) -> Checkpoint:
        """Writes the snapshots of a checkpoint, under a name that no other attempt uses; the checkpoint with that name.

        Raises:
            SinkError: if the disk refuses.
        """
        file = f"{checkpoint.name:012d}-{attempt}.arrows"
        with told_as_sink_error(self.state):
            checksum = write_snapshots(f"{self.state}/{FOLDER}/{file}", snapshots)
        return replace(checkpoint, file=file, checksum=checksum)

    def with_checkpoint(self, before: Sequence[Checkpoint], checkpoint: Checkpoint) -> list[Checkpoint]:
        """The checkpoints to keep once there is another one."""
        return self._wanted([*(entry for entry in before if entry.name < checkpoint.name), checkpoint])

    def _wanted(self, checkpoints: list[Checkpoint]) -> list[Checkpoint]:
        oldest, newest = checkpoints[0], checkpoints[-1]
        between = checkpoints[1:-1]
        ripe = [entry for entry in between if newest.taken - entry.taken >= self.retain]
        if ripe:
            oldest, between = ripe[-1], between[between.index(ripe[-1]) + 1 :]
        # The first one after the oldest is the next to become it; a newer one would only make that later.
        return [oldest, *between[:1], newest] if oldest is not newest else [newest]

    def _forget(self, before: Manifest, now: Manifest) -> None:
        """Removes snapshots that neither the manifest nor the version before it names, and none of a later attempt."""
        named = {entry.file for entry in (*before.checkpoints, *now.checkpoints)}
        for path in Path(self.state, FOLDER).glob("*"):
            attempt = path.name.partition("-")[2].partition(".")[0]
            if path.name not in named and not (attempt.isdigit() and int(attempt) > now.attempt):
                path.unlink(missing_ok=True)

    @property
    def _manifest(self) -> str:
        return f"{self.state}/{MANIFEST}"


def write_snapshots(path: str, snapshots: Iterable[pa.RecordBatch]) -> int:
    """Writes snapshots to a file, durably and in one step; the checksum of the file.

    Raises:
        OSError: if the disk refuses; the file is as it was.
    """
    with durable.replacing(path) as file:
        for snapshot in snapshots:
            with pa.ipc.new_stream(file, snapshot.schema) as writer:
                writer.write_batch(snapshot)
        file.flush()
        return _checksum_of(file.name)


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


def _checksum_of(path: str) -> int:
    checksum = 0
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            checksum = zlib.crc32(piece, checksum)
    return checksum

"""Checkpoints: a live job resumes from them. Each is a file of snapshots, and one manifest says which of them count.

A checkpoint holds the state of every shard, made of exactly the records before its tick, and what the source needs to
resume there. It is written once the sinks hold everything that those records gave. Three are kept: the newest, one at
least `retain` old (the starting point for `verify`), and the candidate that will replace the latter.

The manifest is all that counts of a job: its line of histories, which attempt may write, its checkpoints, and which
files of its Parquet folders are live. It changes by compare-and-set only (`transforms.process.versions`), so a writer
that was overtaken while it was stopped changes nothing.
"""

import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from transforms.errors import CheckpointDamaged, NotShared, SinkError, StateRefused, TakenOver
from transforms.process import durable, versions
from transforms.specification import Seconds
from transforms.storage.checkpoint.history import Place, Stretch, left_at
from transforms.storage.checkpoint.manifest import FORMAT, Checkpoint, Manifest
from transforms.storage.checkpoint.snapshots import checksum_of, read_snapshots, write_snapshots
from transforms.storage.error import as_sink_error, sentence
from transforms.time.retention import moments

FOLDER: Final = "checkpoints"
MANIFEST: Final = "manifest"
"""The folder of the manifest's versions."""

BEFORE: Final = "checkpoint.json"
"""The manifest of format 2; if it says format 3, older versions of this program refuse it."""

SOURCE: Final = "source"
"""The part of an identity that earlier versions did not record; the next checkpoint does."""

STATISTICS: Final = "statistics of"
"""The prefix of the parts of an identity that new statistics may change."""

BEGIN_ANEW: Final = "--begin-anew"
"""The flag that lets a live job start from nothing although its tables or its state exist."""


def fits(known: Mapping[str, str], part: str, value: str | None) -> bool:
    """Whether a part of an identity has this value in what was recorded; a part that no version recorded then fits.

    >>> fits({"job": "a"}, "job", "b"), fits({"job": "a"}, SOURCE, "log"), fits({SOURCE: "log"}, SOURCE, "kafka")
    (False, True, False)
    """
    return known.get(part, value if part == SOURCE else None) == value


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of one job.

    Args:
        state: the job's folder for what outlives a run.
        identity: what the job is, part by part, in words and digests; a checkpoint fits only the same identity.
        retain: the least age (s) to which `verify` must be able to go back.
    """

    state: str
    identity: Mapping[str, str] = field(default_factory=dict)
    retain: Seconds = Seconds(3600.0)

    def read(self, *, taken_back: bool = False) -> Manifest | None:
        """The manifest, if the job can resume from it; None: there is no checkpoint yet.

        Args:
            taken_back: whether the tables may have been rolled back past the oldest checkpoint.

        Raises:
            StateRefused: if the checkpoints are another job's, or a newer version wrote them, or an engine rolled the
                tables back past the oldest of them.
        """
        manifest = self.of_any_job()
        if manifest is not None:
            self.refuse_other(manifest, self.identity)
            if not taken_back:
                self.refuse_rolled_back(manifest)
        return manifest

    def refuse_other(self, manifest: Manifest, identity: Mapping[str, str]) -> None:
        """Raises StateRefused if the checkpoints belong to a job with another identity."""
        for part, value in identity.items():
            if not fits(manifest.identity, part, value):
                raise StateRefused(
                    f"{self.state}: its checkpoints belong to a job with different `{part}`;"
                    + (" add new ones with `run --upgrade` or `flink upgrade`;" if part.startswith(STATISTICS) else "")
                    + f" give this job another `state` and other sinks, or let `{BEGIN_ANEW}` empty its tables and"
                    " begin with what its source still holds"
                )

    def refuse_rolled_back(self, manifest: Manifest) -> None:
        """Raises StateRefused if only the engine that rolled the tables back can resume."""
        if manifest.taken_back:
            raise StateRefused(
                f"{self.state}: an engine has rolled this job back past its oldest checkpoint; until there is another"
                " checkpoint, only that engine can resume, from its own savepoint"
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
            StateRefused: if it is damaged, or was written by a newer version.
            SinkError: if the disk refuses.
        """
        try:
            version = versions.read(self._manifest)
            if version is None:
                return self._of_format_2()
            content = json.loads(version.content)
            if content["format"] != FORMAT:
                raise self._other_format(content["format"])
            return Manifest.from_json(content, version.number, version.newest)
        except OSError as error:
            raise SinkError(sentence(self.state, error)) from error
        except (versions.Damaged, ValueError, KeyError, TypeError) as error:
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
        """Replaces the manifest `before` by `after`.

        Raises:
            TakenOver: if `before` is no longer the manifest: another writer has changed it.
            SinkError: if the disk refuses; nothing has changed.
        """
        number = before.newest_number + 1
        with as_sink_error(self.state):
            try:
                versions.write(self._manifest, number, after.to_json())
            except versions.VersionTaken:
                raise self._taken_over() from None
            written = replace(after, number=number, newest_number=number)
            self._forget(before, written)
        return written

    def _leave_a_mark(self) -> None:
        """Makes versions of this program that read format 2 refuse the state."""
        mark = json.dumps({"format": FORMAT})
        with as_sink_error(self.state):
            path = Path(self.state, BEFORE)
            if not path.exists() or path.read_text(encoding="utf-8") != mark:
                durable.write_text(str(path), mark)

    def claim(self, launch: str, *, anew: bool = False) -> Manifest:
        """Claims the state for a launch.

        Args:
            anew: whether the job starts from nothing and gives up all that the state holds.

        Raises:
            StateRefused: if the state cannot be read.
            SinkError: if the disk refuses.
        """
        with as_sink_error(self.state):
            os.makedirs(self.state, exist_ok=True)
            versions.sweep(self._manifest)
        while True:
            before = self._given_up() if anew else (self.root() or Manifest.new(self.identity))
            after = replace(before, launch=launch, attempt=before.attempt + 1)
            if before.is_behind:  # what only the damaged version held is abandoned
                after = replace(after, line=left_at(before.line, before.at))
            try:
                claimed = self.commit(before, after)
            except TakenOver:
                continue  # this launch takes the state over; the other one was a moment earlier
            self._leave_a_mark()
            return claimed

    def _given_up(self) -> Manifest:
        """The manifest of a job that starts from nothing and replaces another manifest."""
        new, numbers = Manifest.new(self.identity), versions.numbers_in(self._manifest)
        try:
            before = self.root()
        except StateRefused:
            before = None
        if before is None:
            return replace(new, newest_number=numbers[-1] if numbers else 0)
        number = before.newest_number
        return replace(new, owner=before.owner, attempt=before.attempt, newest_number=number)

    def current(self, launch: str) -> Manifest:
        """The manifest, which a worker of this launch may change.

        Raises:
            TakenOver: if the state is another launch's by now.
            NotShared: if this is not the folder that a launch has claimed.
        """
        manifest = self.root()
        if manifest is None or (launch and not manifest.launch):
            raise NotShared(
                f"{self.state} is not the folder that this job was launched with: it must be the same folder for the"
                " process that launches and for every worker"
            )
        if manifest.launch != launch:
            raise self._taken_over()
        return manifest

    def _taken_over(self) -> TakenOver:
        return TakenOver(f"{self.state}: another launch of this job has taken it over")

    def load(self, checkpoint: Checkpoint) -> list[pa.RecordBatch]:
        """The snapshots in a checkpoint.

        Raises:
            CheckpointDamaged: if its file differs from what was written.
        """
        path = f"{self.state}/{FOLDER}/{checkpoint.file}"
        try:
            if checkpoint.checksum is not None and checksum_of(path) != checkpoint.checksum:
                raise CheckpointDamaged(f"{path}: is damaged: its checksum differs from the manifest's")
            return read_snapshots(path)
        except (OSError, pa.ArrowException) as error:
            raise CheckpointDamaged(f"{path}: cannot be read: {error}") from error

    def put(self, checkpoint: Checkpoint, snapshots: Iterable[pa.RecordBatch], attempt: int) -> Checkpoint:
        """Writes the snapshots of a checkpoint under a name that no other attempt uses; returns the checkpoint with it.

        Raises:
            SinkError: if the disk refuses.
        """
        file = f"{checkpoint.name:012d}-{attempt}.arrows"
        with as_sink_error(self.state):
            checksum = write_snapshots(f"{self.state}/{FOLDER}/{file}", snapshots)
        return replace(checkpoint, file=file, checksum=checksum)

    def with_checkpoint(self, before: Sequence[Checkpoint], checkpoint: Checkpoint) -> list[Checkpoint]:
        """The checkpoints to keep once `checkpoint` is added."""
        return self._wanted([*(entry for entry in before if entry.name < checkpoint.name), checkpoint])

    def _wanted(self, checkpoints: list[Checkpoint]) -> list[Checkpoint]:
        oldest, newest = checkpoints[0], checkpoints[-1]
        between = checkpoints[1:-1]
        times = moments([asdict(entry) for entry in checkpoints])
        ripe = [entry for entry, time in zip(between, times[1:-1], strict=True) if times[-1] - time >= self.retain]
        if ripe:
            oldest, between = ripe[-1], between[between.index(ripe[-1]) + 1 :]
        # The first one after the oldest will replace it; a newer candidate would only delay that.
        return [oldest, *between[:1], newest] if oldest is not newest else [newest]

    def _forget(self, before: Manifest, now: Manifest) -> None:
        """Removes snapshots that neither this manifest nor the one before names, except those of a later attempt."""
        named = {entry.file for entry in (*before.checkpoints, *now.checkpoints)}
        for path in Path(self.state, FOLDER).glob("*"):
            attempt = path.name.partition("-")[2].partition(".")[0]
            if path.name not in named and not (attempt.isdigit() and int(attempt) > now.attempt):
                with suppress(OSError):  # the next change of the manifest tries again
                    path.unlink()

    @property
    def _manifest(self) -> str:
        return f"{self.state}/{MANIFEST}"

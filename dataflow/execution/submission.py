"""The record of a job that was submitted to a cluster: a file in its state folder, which also locks the job."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from dataflow.errors import JobRunning
from transforms.errors import SinkError, StateRefused
from transforms.process import durable
from transforms.storage.checkpoint.history import Line, Place, Stretch, holds
from transforms.storage.error import as_sink_error

FORMAT: Final = 1
RECORD: Final = "flink.json"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a job stood when a savepoint was taken of it.

    Args:
        name: the name of its last checkpoint; NOTHING: there was none.
        history: the history of that checkpoint.
        topics: how far the topics were.
        watermark: the most that event time can have passed (µs).
        reached: for each source, the first position that was not read; None: unknown.
        line: the histories that led there.
    """

    name: int
    history: str
    topics: Sequence[Mapping[str, Any]]
    watermark: int
    reached: Mapping[str, int] | None
    line: Line

    @property
    def place(self) -> Place:
        """The checkpoint."""
        return Place(self.name, self.topics, self.history)

    def is_on(self, line: Line) -> bool:
        """Whether the job has not left the place."""
        return holds(line, self.place)


@dataclass(frozen=True, slots=True)
class Savepoint:
    """A savepoint of the cluster, and the job that it was taken of.

    Args:
        labels: the transforms of the graph whose state it holds.
        identity: what its states fit, part by part.
        start: the name of the checkpoint at which its launch began.
        mark: where the job stood; None: unknown.
        began: the place at which its launch began, which counts until the launch has kept a checkpoint.
    """

    path: str
    taken: str
    job: str
    labels: Sequence[str]
    identity: Mapping[str, str]
    start: int
    mark: Standing | None = None
    began: Mapping[str, Any] | None = None

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "Savepoint":
        """The savepoint in a record."""
        mark = content.get("mark")
        if mark is not None:
            mark = Standing(**{**mark, "line": tuple(Stretch(**entry) for entry in mark["line"])})
        return Savepoint(**{**content, "mark": mark})

    def is_abandoned(self, line: Line) -> bool:
        """Whether the job has left its place."""
        return self.mark is not None and not self.mark.is_on(line)

    def is_after(self, other: "Savepoint") -> bool:
        """Whether a job that returns to the other savepoint leaves the place of this one."""
        return self.mark is not None and other.mark is not None and self.mark.name > other.mark.name


@dataclass(frozen=True, slots=True)
class Submission:
    """A job's last submission.

    Args:
        cluster: the address of its REST API.
        job: the job's id on the cluster.
        settings: the settings of `--set`.
        flags: the flags for Beam.
        before: the ids of earlier submissions.
        launch: the id of its launch in the manifest.
        began: the place at which it began.
    """

    cluster: str
    job: str
    jar: str
    parallelism: int
    submitted: str
    labels: Sequence[str]
    identity: Mapping[str, str]
    start: int
    settings: Sequence[str] = ()
    flags: Sequence[str] = ()
    before: Sequence[str] = ()
    savepoints: Sequence[Savepoint] = ()
    launch: str = ""
    began: Mapping[str, Any] | None = None
    format: int = FORMAT

    @staticmethod
    def read(state: str) -> "Submission | None":
        """A job's record; None: it was never submitted.

        Raises:
            StateRefused: if it cannot be read.
        """
        path = f"{state}/{RECORD}"
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if content["format"] > FORMAT:
                raise StateRefused(
                    f"{path}: has format {content['format']}, this version reads {FORMAT}; use the one that wrote it"
                )
            savepoints = [Savepoint.from_json(entry) for entry in content.pop("savepoints")]
            return Submission(**content, savepoints=savepoints)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateRefused(
                f"{path}: cannot be read ({error}); check with `flink list` whether the job runs, and remove the file"
            ) from None

    def write(self, state: str) -> None:
        """Stores the record, in one step.

        Raises:
            SinkError: if the disk refuses; the record is unchanged.
        """
        with as_sink_error(state):
            durable.write_text(f"{state}/{RECORD}", json.dumps(asdict(self)))

    def with_savepoint(self, path: str, mark: Standing | None, taken: str | None = None) -> "Submission":
        """The record with one more savepoint of this submission."""
        savepoint = Savepoint(path, taken or now(), self.job, self.labels, self.identity, self.start, mark, self.began)
        others = [entry for entry in self.savepoints if entry.path != path]
        return replace(self, savepoints=sorted([*others, savepoint], key=lambda entry: entry.taken))

    def savepoint_at(self, path: str) -> Savepoint | None:
        """The savepoint at a path; None: it is not in the record."""
        name = os.path.basename(path.rstrip("/"))
        return next((entry for entry in self.savepoints if os.path.basename(entry.path.rstrip("/")) == name), None)

    def savepoint(self, named: str, line: Line) -> Savepoint | None:
        """A savepoint by its path or the last part of it, since it may have been moved; `latest` is the last one that
        the job has not left."""
        for entry in reversed(self.savepoints):
            if named == "latest" and not entry.is_abandoned(line):
                return entry
            if os.path.basename(named.rstrip("/")) == os.path.basename(entry.path):
                return replace(entry, path=named)
        return None


def now() -> str:
    """The current time, in the form of records."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def is_running(record: Submission) -> bool:
    """Whether a submitted job is on its cluster and has not ended.

    Raises:
        FlinkError: if the cluster does not answer.
    """
    from runners.flink_rest import ENDED, Flink, NoSuchJob

    try:
        return Flink(record.cluster).state(record.job) not in ENDED
    except NoSuchJob:
        return False


def refuse_while_it_runs(state: str) -> None:
    """Refuses to run a job that runs on a cluster.

    Raises:
        JobRunning: if the job runs there, or if that is unknown.
    """
    from runners.flink_rest import FlinkError

    record = Submission.read(state)
    if record is None:
        return
    try:
        running = is_running(record)
    except FlinkError as error:
        raise JobRunning(
            [
                f"{state}: this job was submitted to Flink, and it is unknown whether it still runs: {error}; start"
                f" that cluster, or, if it is gone for good, remove {state}/{RECORD}"
            ]
        ) from None
    if running:
        raise JobRunning(
            [f"{state}: this job runs on Flink at {record.cluster} as {record.job}; `flink stop` stops it there"]
        )


def forget_savepoints(state: str) -> None:
    """Makes the cluster's savepoints of a job unusable, since its tables and its checkpoint were made again."""
    record = Submission.read(state)
    if record is not None and record.savepoints:
        replace(record, savepoints=[]).write(state)


@contextmanager
def recorded(state: str, record: Submission) -> Iterator[None]:
    """Stores a record while a job is being started, and restores the one before if that fails."""
    before = Submission.read(state)
    record.write(state)
    try:
        yield
    except BaseException:
        with suppress(SinkError, OSError):
            if before is None:
                os.remove(f"{state}/{RECORD}")
            else:
                before.write(state)
        raise

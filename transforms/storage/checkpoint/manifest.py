"""The manifest of a live job: all that counts of it, in one value that changes by compare-and-set only."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from transforms.storage.checkpoint.expiry import Mark
from transforms.storage.checkpoint.history import Line, Place, Stretch, begun

FORMAT: Final = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a job stood.

    Args:
        name: the tick's name, unique and growing within a history.
        chunk: the first chunk that was not read.
        watermark: up to where event time had passed (µs).
        source: what the source needs to resume.
        taken: when, in s since the epoch.
        drained: whether all windows were closed before their time, so that nothing can resume from here.
        topics: how far the topics are that the job writes.
        history: the history that it belongs to.
        file: the name of its snapshots' file.
        checksum: the CRC-32 of that file; None: an earlier version of this program wrote it.
        totals: the sums of the ledger's columns up to here; None: unknown.
        reasons: how many dead letters there are up to here, by reason.
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
    totals: Mapping[str, int] | None = None
    reasons: Mapping[str, int] = field(default_factory=dict)

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
        owner: a name that only this state has; tables store it as their owner.
        line: the histories that led to where the job stands.
        at: where the job stands, and its tables with it.
        launch: which launch of the job may write; a launch ends those before it.
        attempt: counts the processes that were allowed to write: a later one ends the earlier ones.
        files: the live files of each Parquet folder.
        databases: the databases whose tables were begun, by digests of their URLs.
        taken_back: True if an engine restored an older state and rolled the tables back past the oldest checkpoint;
            until the next checkpoint only that engine can resume.
        since: for each table, the figures that joined the running job, and the end (µs) of the last window without
            them.
        marks: places that the job has passed, oldest first, if rows of its tables expire.
        expired: for each table whose rows expire, the mark up to which they have been deleted.
        number: the version that this was read from; 0: none was written yet.
        newest_number: the number of the newest version; it is greater than `number` if later versions are damaged.
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
    marks: Sequence[Mark] = ()
    expired: Mapping[str, Mark] = field(default_factory=dict)
    number: int = 0
    newest_number: int = 0

    @property
    def is_behind(self) -> bool:
        """Whether there is a later version, which is damaged."""
        return self.newest_number > self.number

    @property
    def newest(self) -> Checkpoint:
        return self.checkpoints[-1]

    @property
    def oldest(self) -> Checkpoint:
        return self.checkpoints[0]

    @staticmethod
    def new(identity: Mapping[str, str]) -> "Manifest":
        """The manifest of a job that has stored nothing yet."""
        line = begun()
        return Manifest(identity, owner=uuid.uuid4().hex[:16], line=line, at=Place(history=line[-1].history))

    def to_json(self) -> bytes:
        content = asdict(self)
        del content["number"], content["newest_number"]
        return json.dumps({"format": FORMAT, **content}).encode()

    @staticmethod
    def from_json(content: Mapping[str, Any], number: int = 0, newest_number: int = 0) -> "Manifest":
        known = {name: value for name, value in content.items() if name != "format"}
        checkpoints = [Checkpoint(**entry) for entry in known.pop("checkpoints")]
        line = tuple(Stretch(**entry) for entry in known.pop("line"))
        at = Place(**known.pop("at"))
        marks = [Mark(**entry) for entry in known.pop("marks", ())]
        expired = {table: Mark(**entry) for table, entry in known.pop("expired", {}).items()}
        parts: dict[str, Any] = {"checkpoints": checkpoints, "line": line, "at": at, "marks": marks, "expired": expired}
        return Manifest(**known, **parts, number=number, newest_number=newest_number)

"""The source cursor: what is left to read of an endless source."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, TypeVar

from transforms.time.tick import Tick, name_of
from transforms.time.watermark import NEVER


class SourceProgress(Protocol):
    """How far a source was read: the source's own cursor. Checkpoints and savepoints hold it as JSON."""

    @property
    def watermark(self) -> int:
        """Up to where event time has passed (µs); NEVER until it is known."""

    @property
    def clock(self) -> int | None:
        """How long (µs) the source was listened to, by a clock of its own; None: it has none.

        The ages of checkpoints are measured by it, so that a jump of the machine's clock changes nothing.
        """

    def to_json(self) -> dict[str, Any]:
        """The progress as JSON-compatible values."""

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "SourceProgress":
        """The progress that `to_json` wrote, in this version or an earlier one."""


@dataclass(frozen=True, slots=True)
class Unread:
    """The progress of a source of which nothing was read, or of which only an engine knows what was."""

    watermark: int = NEVER
    clock: None = None

    def to_json(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "Unread":
        """The same."""
        return Unread()


P = TypeVar("P", bound=SourceProgress)


@dataclass(frozen=True, slots=True)
class SourceCursor:
    """What is left to read of a source, or nothing once `ended`; and the progress so far.

    What was read is in `progress`. The two numbers next to it mean the same for every source: `chunk` puts portions in
    an order, and names ticks by it; `position` counts records, to show how far a job is.

    Args:
        chunk: a number that is greater after each portion; of a log, the first chunk that was not read.
        progress: how far the source was read.
        position: how many records came before; of a log, the position of the next record, of a topic the sum of its
            partitions' offsets.
        kept_at: when the last tick with a checkpoint was sent, in s since the epoch.
        is_kept: whether that tick was at `chunk`.
        last_tick: the watermark of the last tick.
        since_tick: how many portions were sent since the last tick.
        began: where the job began, in the source's own terms; None: at the source's own beginning.
        shift: the offset added to the names of ticks; 0 in a first launch. A later launch exceeds the name of the
            checkpoint from which it resumes, because that checkpoint's files carry its name.
    """

    chunk: int = 0
    progress: SourceProgress = field(default_factory=Unread)
    position: int = 0
    kept_at: float = 0.0
    is_kept: bool = False
    last_tick: int = NEVER
    since_tick: int = 0
    shift: int = 0
    began: Mapping[str, Any] | None = None
    ended: bool = False

    def own(self, kind: type[P]) -> P:
        """The progress, for the source itself, which knows its class."""
        if not isinstance(self.progress, kind):
            raise TypeError(f"the progress is a {type(self.progress).__name__}, and must be a {kind.__name__}")
        return self.progress

    def after(self, chunk: int, position: int, progress: SourceProgress) -> "SourceCursor":
        """The cursor once everything before `chunk` has been read."""
        since = self.since_tick + 1
        return replace(self, chunk=chunk, position=position, progress=progress, is_kept=False, since_tick=since)

    def tick(self, why: int, *, keeps: bool) -> Tick:
        """The tick at this cursor: a checkpoint barrier after everything before it."""
        name = name_of(self.chunk, why) + self.shift
        progress, source = self.progress, dict[str, Any]()
        if keeps:
            source = {"progress": progress.to_json(), "clock": progress.clock}
            source |= {"position": self.position, "began": self.began}
        return Tick(name, self.chunk, progress.watermark, keeps, source)


NOTHING_READ: Final = SourceCursor()
"""For a source that is not followed, and for a job whose engine has the cursor."""

"""The source cursor: what is left to read of an endless source."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from transforms.time.tick import Tick, name_of
from transforms.time.watermark import NEVER


@dataclass(frozen=True, slots=True)
class SourceCursor:
    """What is left to read of a source: everything from `chunk`, or nothing once `ended`; and the progress so far.

    Args:
        chunk: the first chunk that was not read.
        progress: the source's progress through everything before `chunk`; it has `watermark` and `to_json`.
        position: the position of the first record of `chunk`.
        kept_at: when the last tick with a checkpoint was sent, in s since the epoch.
        is_kept: whether that tick was at `chunk`.
        told: the watermark of the last tick.
        untold: how many portions were sent since the last tick.
        began: where the job began, in the source's own terms; None: at the source's own beginning.
        shift: the offset added to the names of ticks; 0 in a first launch. A later launch exceeds the name of the
            checkpoint from which it resumes, because that checkpoint's files carry its name.
    """

    chunk: int
    progress: Any
    position: int = 0
    kept_at: float = 0.0
    is_kept: bool = False
    told: int = NEVER
    untold: int = 0
    shift: int = 0
    began: Mapping[str, int] | None = None
    ended: bool = False

    def after(self, chunk: int, position: int, progress: Any) -> "SourceCursor":
        """The cursor once everything before `chunk` has been read."""
        return replace(self, chunk=chunk, position=position, progress=progress, is_kept=False, untold=self.untold + 1)

    def tick(self, why: int, *, keeps: bool) -> Tick:
        """The tick at this cursor: a checkpoint barrier after everything before it."""
        source = {"progress": self.progress.to_json(), "position": self.position, "began": self.began} if keeps else {}
        name = name_of(self.chunk, why) + self.shift
        return Tick(name, self.chunk, self.progress.watermark, keeps, source)

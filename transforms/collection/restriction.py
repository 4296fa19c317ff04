"""Beam's view of what is left to read of an endless source: one undivided restriction, which engines keep as JSON."""

import json
from dataclasses import fields, replace
from typing import Final

from apache_beam.coders import Coder, registry
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker
from apache_beam.transforms.core import RestrictionProvider

from transforms.collection.cursor import SourceCursor, Unread
from transforms.collection.sources import progress_kinds

FORMAT: Final = 1

_FIELDS: Final = tuple(field.name for field in fields(SourceCursor) if field.name != "progress")

_READ: Final = dict(told="last_tick", untold="since_tick")  # noqa: C408  # the names of old, as names
_WRITTEN: Final = {field: name for name, field in _READ.items()}
"""Fields that savepoints hold under another name, which versions before this one read."""


class CursorCoder(Coder):
    """Encodes a source cursor as JSON: engines keep it in savepoints, from which other versions of this code resume.

    The coder carries the classes of progress that are registered where the graph is built: workers load no plugins.
    """

    def __init__(self) -> None:
        self._kinds = dict(progress_kinds())

    def encode(self, value: SourceCursor) -> bytes:
        known = {_WRITTEN.get(name, name): getattr(value, name) for name in _FIELDS}
        kind, progress = "", None
        if not isinstance(value.progress, Unread):
            kind, progress = type(value.progress).__name__, value.progress.to_json()
        return json.dumps({"format": FORMAT, "kind": kind, "progress": progress, **known}).encode()

    def decode(self, encoded: bytes) -> SourceCursor:
        content = json.loads(encoded)
        if content.pop("format") > FORMAT:
            raise ValueError("this savepoint was taken by a newer version; use the version that took it")
        kind, progress = content.pop("kind"), content.pop("progress")
        if kind and kind not in self._kinds:
            raise ValueError(f"this savepoint holds {kind}, the progress of a source that no plugin of this job adds")
        known = {name: content[written] for name in _FIELDS if (written := _WRITTEN.get(name, name)) in content}
        return SourceCursor(progress=self._kinds[kind].from_json(progress) if kind else Unread(), **known)

    def is_deterministic(self) -> bool:
        return True

    def estimate_size(self, value: SourceCursor) -> int:
        return 1_000  # roughly; an exact size would require encoding it

    def to_type_hint(self) -> type:
        return SourceCursor


class CursorTracker(RestrictionTracker):
    """Claims portions one after the other. An endless source is never divided: the half that waits to be read would
    hold the watermark for ever."""

    def __init__(self, cursor: SourceCursor):
        self._rest = cursor
        self._left: SourceCursor | None = None

    def current_restriction(self) -> SourceCursor:
        return self._rest

    def try_claim(self, cursor: SourceCursor) -> bool:
        """Claims everything before `cursor`; false once the runner has taken the remainder away."""
        if self._left is not None:
            return False
        self._rest = cursor
        return True

    def try_split(self, fraction_of_remainder: float) -> tuple[SourceCursor, SourceCursor] | None:
        if fraction_of_remainder != 0 or self._rest.ended or self._left is not None:
            return None
        self._left = self._rest
        self._rest = replace(self._rest, ended=True)
        return self._rest, self._left

    def check_done(self) -> bool:
        if not self._rest.ended:
            raise ValueError(f"the source was left at chunk {self._rest.chunk} without a time to resume")
        return True

    def current_progress(self) -> RestrictionProgress:
        return RestrictionProgress(completed=0, remaining=1)

    def is_bounded(self) -> bool:
        return False


class CursorProvider(RestrictionProvider):
    """Beam's view of an endless source: one restriction of unknown size."""

    def initial_restriction(self, element: SourceCursor) -> SourceCursor:
        return element

    def create_tracker(self, restriction: SourceCursor) -> CursorTracker:
        return CursorTracker(restriction)

    def restriction_coder(self) -> CursorCoder:
        return CursorCoder()

    def restriction_size(self, element: SourceCursor, restriction: SourceCursor) -> int:
        return 1

    def truncate(self, element: SourceCursor, restriction: SourceCursor) -> None:
        return None


registry.register_coder(SourceCursor, CursorCoder)

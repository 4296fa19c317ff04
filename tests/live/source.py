"""The job's own source over chunks in memory."""

from dataclasses import replace
from typing import Any

from apache_beam.utils.timestamp import Timestamp

from tests.live.study import Study
from transforms.collection.cursor import SourceCursor
from transforms.collection.feed import Portion
from transforms.collection.follow import FollowFn, Following
from transforms.collection.log.feed import portion_of
from transforms.process.progress import Bulletin
from transforms.specification import Seconds, microseconds
from transforms.time.watermark import Progress


class Source(FollowFn):
    """The source over chunks in memory, flushed a few at a time; it never waits."""

    def __init__(self, study: Study, cursor: SourceCursor):
        aggregations = [aggregation.spec for aggregation in study.job.aggregations]
        windows = tuple((spec.window, microseconds(spec.allowed_lateness)) for spec in aggregations)
        self.following = Following("", pace=Seconds(0.0), linger=Seconds(0.0), windows=windows)
        super().__init__(self.following, self, Bulletin())
        self.study = study
        self.cursor = cursor
        self.progress = -(1 << 62)
        self.asked = ""
        self.flush_chunks = 1
        self.drains = False
        self.visible = len(study.log)

    def call(self, keeps: bool) -> list[Any]:
        """One call of the runner."""
        keep_every = Seconds(0.0 if keeps else float("inf"))
        self._following = replace(self.following, keep_every=keep_every, drains=self.drains)
        return list(self.process(None, tracker=self, watermark=self))

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def has(self, cursor: SourceCursor) -> bool:
        return cursor.chunk <= self.visible

    def read(self, cursor: SourceCursor) -> Portion | None:
        chunks = self.study.log[cursor.chunk - 1 : min(cursor.chunk - 1 + self.flush_chunks, self.visible)]
        return portion_of(chunks, self.study.flush(chunks, cursor.own(Progress)), cursor) if chunks else None

    def is_at_end(self, cursor: SourceCursor) -> bool:
        return not self.has(cursor)

    def end(self) -> int:
        return 0

    def current_restriction(self) -> SourceCursor:
        return self.cursor

    def try_claim(self, cursor: SourceCursor) -> bool:
        self.cursor = cursor
        return True

    def defer_remainder(self, after: Any = None) -> None:
        pass

    def set_watermark(self, at: Timestamp) -> None:
        self.progress = at.micros

    def _wait(self, cursor: SourceCursor, until: float) -> str:
        return self.asked

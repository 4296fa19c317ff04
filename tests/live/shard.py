"""A key of a stateful step as a runner keeps it: its state, its timers, and what is on its way to it."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from apache_beam.utils.timestamp import Timestamp


class Cell:
    """Beam's state of one key: a bag, or one value."""

    def __init__(self, value: Any = None) -> None:
        self.bag: list[Any] = []
        self.value = value

    def add(self, element: Any) -> None:
        self.bag.append(element)

    def write(self, value: Any) -> None:
        self.value = value

    def clear(self) -> None:
        self.bag = []


class Bag(Cell):
    def read(self) -> list[Any]:
        return list(self.bag)


class Value(Cell):
    def read(self) -> Any:
        return self.value


class Timers:
    """The timers of one key, each fired once, in the order of their moments."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, str]] = []

    def set(self, at: Timestamp, *, dynamic_timer_tag: str) -> None:
        self.waiting.append((at.micros, dynamic_timer_tag))
        self.waiting.sort()

    def due(self) -> int | None:
        return self.waiting[0][0] if self.waiting else None


@dataclass
class Shard:
    """One key of a stateful step: its state, its timers, and what is on its way to it."""

    waiting: Bag = field(default_factory=Bag)
    stored: Value = field(default_factory=Value)
    clock: Value = field(default_factory=Value)
    kept: Value = field(default_factory=Value)
    timers: Timers = field(default_factory=Timers)
    inbox: list[tuple[Timestamp, pa.RecordBatch]] = field(default_factory=list)

    def copy(self) -> "Shard":
        """The shard as it is now, for an engine that may be taken back to here."""
        copied = Shard(kept=Value(self.kept.value), stored=Value(self.stored.value), clock=Value(self.clock.value))
        copied.waiting.bag, copied.timers.waiting = list(self.waiting.bag), list(self.timers.waiting)
        copied.inbox = list(self.inbox)
        return copied

    def is_due(self, progress: int) -> bool:
        """Whether the next timer may fire: everything sent before its moment has arrived."""
        due = self.timers.due()
        return due is not None and due <= progress and all(at.micros > due for at, _ in self.inbox)

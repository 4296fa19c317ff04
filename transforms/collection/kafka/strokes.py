"""Collects the client's messages by partition, in columns."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final

import numpy as np

from transforms.collection.kafka.records import NO_TIME, Fetched
from transforms.record.arrays import Longs

_NONE: Final = np.empty(0, np.int64)
_SECOND: Final = itemgetter(1)  # a message's timestamp is a pair: its type, and the time in ms


@dataclass(slots=True)
class _Part:
    offsets: list[Longs] = field(default_factory=list)
    timestamps: list[Longs] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)


class Strokes:
    """The messages of a reading so far: `size` bytes in `count` messages."""

    def __init__(self) -> None:
        self.size = self.count = 0
        self._parts: dict[int, _Part] = {}

    def add(self, kind: Any, messages: Sequence[Any]) -> dict[int, int]:
        """Appends messages of any partitions; returns the offset after each partition's last one.

        Args:
            kind: the client's class of messages.
        """
        # One call of a C function for each field and message: any further work per message would cost more.
        total = len(messages)
        numbers = np.fromiter(map(kind.partition, messages), np.int64, total)
        offsets = np.fromiter(map(kind.offset, messages), np.int64, total)
        times = np.fromiter(map(_SECOND, map(kind.timestamp, messages)), np.int64, total)
        values = list(map(kind.value, messages))
        present, ends = np.unique(numbers).tolist(), {}
        for number in present:
            part = self._parts.setdefault(number, _Part())
            here = np.flatnonzero(numbers == number) if len(present) > 1 else slice(None)
            part.offsets.append(offsets[here])
            part.timestamps.append(times[here])
            part.values += values if isinstance(here, slice) else [values[place] for place in here.tolist()]
            ends[number] = int(part.offsets[-1][-1]) + 1
        self.count += total
        self.size += sum(map(len, filter(None, values)))
        return ends

    def fetched(self, number: int, following: int, until: int | None) -> Fetched:
        """A partition's messages before `until`; reading continues at `following`."""
        part = self._parts.get(number, _Part())
        offsets, times = np.concatenate([_NONE, *part.offsets]), np.concatenate([_NONE, *part.timestamps])
        times = np.where(times < 0, NO_TIME, times * 1000)
        size = len(offsets)
        if until is not None and following > until:
            following = until
            size = int(np.searchsorted(offsets, until))
        return Fetched(number, offsets[:size], times[:size], part.values[:size], following)

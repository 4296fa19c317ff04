"""Readings that are under way before they are asked for."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from transforms.collection.kafka.ahead import AheadReader
from transforms.collection.kafka.records import Fetched, Reading
from transforms.errors import SourceError

NONE = np.empty(0, np.int64)


class _Reader:
    """Gives the offset that it is asked for and goes on to the next; some it refuses."""

    def __init__(self, *refused: int):
        self.asked: list[int] = []
        self.is_closed = False
        self._refused = refused

    def read(self, offsets: Mapping[int, int], timeout: float) -> Reading:
        self.asked.append(offsets[0])
        if offsets[0] in self._refused:
            raise SourceError(f"offset {offsets[0]} is not there any more")
        return Reading([Fetched(0, NONE, NONE, [], offsets[0] + 1)])

    def close(self) -> None:
        self.is_closed = True


def ahead_of(reader: Any) -> AheadReader:
    return AheadReader(reader)


def test_what_was_begun_is_given_and_not_read_again() -> None:
    ahead = ahead_of(reader := _Reader())
    ahead.begin({0: 5}, 0.0)
    assert ahead.read({0: 5}, 0.0).fetched[0].next == 6
    assert ahead.read({0: 6}, 0.0).fetched[0].next == 7
    assert reader.asked == [5, 6]


def test_what_was_begun_elsewhere_is_dropped() -> None:
    ahead = ahead_of(reader := _Reader(9))
    ahead.begin({0: 9}, 0.0)
    assert ahead.read({0: 5}, 0.0).fetched[0].next == 6
    assert reader.asked == [9, 5]


class _Growing(_Reader):
    """Has nothing when it is asked the first time."""

    def read(self, offsets: Mapping[int, int], timeout: float) -> Reading:
        reading = super().read(offsets, timeout)
        return reading if len(self.asked) > 1 else Reading([])


def test_nothing_that_was_begun_is_asked_for_again() -> None:
    ahead = ahead_of(reader := _Growing())
    ahead.begin({0: 5}, 0.0)
    assert ahead.read({0: 5}, 0.0).fetched[0].next == 6
    assert reader.asked == [5, 5]


def test_an_error_comes_when_it_is_asked_for() -> None:
    ahead = ahead_of(_Reader(5))
    ahead.begin({0: 5}, 0.0)
    with pytest.raises(SourceError, match="offset 5"):
        ahead.read({0: 5}, 0.0)


def test_closing_waits_for_what_was_begun() -> None:
    ahead = ahead_of(reader := _Reader())
    ahead.begin({0: 5}, 0.0)
    ahead.close()
    assert reader.asked == [5]
    assert reader.is_closed

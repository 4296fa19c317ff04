"""Windows of a fixed size, aligned to UTC; with `every` they slide, and a slice is `every` long."""

from datetime import timedelta
from typing import Final

import numpy as np
import pyarrow as pa
from pydantic import model_validator

from transforms.record.batch import set_column
from transforms.specification import Duration, Micros, format_duration, microseconds
from transforms.time.event_time import Instants, as_instants
from transforms.time.window import SLICE, Merge, Spans, Window, WindowKind

LONGEST: Final = timedelta(days=366)


class Sized(Window):
    """Windows of `size`, one begins at each multiple of `every`, or of `size` itself.

    >>> Sized(size="1d", every="6h").slices_per_window
    4
    """

    size: Duration
    every: Duration | None = None

    @model_validator(mode="after")
    def _of_some_length(self) -> "Sized":
        for name, value in (("size", self.size), ("every", self.every)):
            if value is not None and not timedelta(0) < value <= LONGEST:
                raise ValueError(f"window.{name} must be longer than 0s and at most 366d, is {format_duration(value)}")
        if self.every is not None and self.size % self.every:
            size, every = format_duration(self.size), format_duration(self.every)
            raise ValueError(f"window.every must divide window.size ({size}), is {every}")
        return self

    def __str__(self) -> str:
        size = format_duration(self.size)
        return size if self.every is None else f"{size} every {format_duration(self.every)}"

    @property
    def longest(self) -> Micros:
        return microseconds(self.size)

    @property
    def slices_per_window(self) -> int:
        return 1 if self.every is None else self.size // self.every

    @property
    def step(self) -> int:
        """The length of a slice in µs."""
        return microseconds(self.every or self.size)

    def slices(self, event_times: pa.Array) -> Instants:
        step = self.step
        starts: Instants = as_instants(event_times) // step * step
        return starts

    def slice_ends(self, starts: Instants) -> Instants:
        return starts + self.step

    def ordinals(self, starts: Instants) -> Instants:
        return starts // self.step

    def windows(self, slices: pa.RecordBatch, merge: Merge) -> pa.RecordBatch:
        """The windows of slices.

        A window of L slices is put together from stretches of 1, 2, 4 … slices, each merged from two of half its
        length, so L slices cost about log2(L) + (ones in L) merges for all keys and windows together.
        """
        length, step = self.slices_per_window, self.step
        if length == 1 or not slices.num_rows:
            return slices
        stretch, width, joined, covered = slices, 1, slices.slice(0, 0), 0
        while True:
            if length & width:
                joined = merge([joined, _shift(stretch, covered * step)])
                covered += width
            if covered == length:
                return joined
            stretch = merge([stretch, _shift(stretch, width * step)])
            width *= 2

    def bounds(self, slices: Spans) -> Spans:
        return Spans(slices.ends - microseconds(self.size), slices.ends)

    def last_ends(self, slices: Spans) -> Instants:
        return slices.ends + (self.slices_per_window - 1) * self.step

    def next_end(self, slices: Spans, after: int) -> int | None:
        number = np.maximum((after - slices.ends) // self.step + 1, 0)  # of the window among those with the slice
        ends = (slices.ends + number * self.step)[number < self.slices_per_window]
        return int(ends.min()) if len(ends) else None


def _shift(partial: pa.RecordBatch, by: int) -> pa.RecordBatch:
    return set_column(partial, SLICE, pa.array(partial[SLICE].to_numpy() + by)) if by else partial


KIND: Final = WindowKind(
    name="size",
    order=0,
    spec=Sized,
    words="`size` (with `every`: sliding)",
    lacks={"time_zone": "windows of a fixed size are aligned to UTC"},
)

"""The division of event time into windows, and into the slices that windows consist of.

A slice is the smallest part of event time for which an aggregation keeps figures: the window itself if windows do not
overlap, `every` if they slide, the calendar unit if they follow a calendar. Slices and windows are [start, end), named
by their start in µs since the epoch.
"""

from datetime import timedelta
from typing import Annotated, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import model_validator

from transforms.specification import Duration, Spec, format_duration, microseconds, not_in_this_version
from transforms.time.event_time import Instants, as_instants
from transforms.time.zone import TimeZone, zone

LONGEST: Final = timedelta(days=366)
_SHORTEST: Final = {"day": timedelta(hours=20), "week": timedelta(days=6), "month": timedelta(days=27)}
"""A calendar unit in which a date occurs twice is never this short, whatever its clock changes."""


class Window(Spec):
    """How event time is divided: `size` (with `every`: sliding), or `calendar` with `time_zone`.

    >>> Window(size="1d", every="6h").overlap
    4
    """

    size: Duration | None = None
    every: Duration | None = None
    calendar: Literal["day", "week", "month"] | None = None
    time_zone: TimeZone = "UTC"
    session_gap: Annotated[Duration | None, not_in_this_version("session_gap", "use `size`, `every` or `calendar`")] = (
        None
    )

    @model_validator(mode="after")
    def _one_way_of_cutting(self) -> "Window":
        if (self.size is None) == (self.calendar is None):
            raise ValueError("window must have exactly one of `size` and `calendar`")
        if self.every is not None and self.size is None:
            raise ValueError("window.every goes with `size`, not with `calendar`")
        for name in ("size", "every"):
            value = getattr(self, name)
            if value is not None and not timedelta(0) < value <= LONGEST:
                raise ValueError(f"window.{name} must be longer than 0s and at most 366d, is {format_duration(value)}")
        if self.size is not None and self.every is not None and self.size % self.every:
            size, every = format_duration(self.size), format_duration(self.every)
            raise ValueError(f"window.every must divide window.size ({size}), is {every}")
        if self.size is not None and "time_zone" in self.model_fields_set:
            raise ValueError("window.time_zone goes with `calendar`; windows of a fixed size are aligned to UTC")
        return self

    @property
    def overlap(self) -> int:
        """How many slices a window has, which is also how many windows hold a slice."""
        return self.size // self.every if self.size is not None and self.every is not None else 1

    @property
    def step(self) -> int | None:
        """The length of a slice in µs; None if it follows the calendar."""
        length = self.every or self.size
        return None if length is None else microseconds(length)

    def slices(self, event_times: pa.Array) -> Instants:
        """The start of the slice that holds each event time (timestamp[us, UTC], no nulls)."""
        if self.step is not None:
            times = as_instants(event_times)
            starts: Instants = times // self.step * self.step
            return starts
        times = as_instants(event_times)
        floors = pc.floor_temporal(self._local(times), unit=self.calendar, week_starts_monday=True)
        return self._within(self._midnights(floors), times)

    def slice_ends(self, starts: Instants) -> Instants:
        """The end of each slice, which is the start of the next."""
        if self.step is not None:
            return starts + self.step
        dates = self._local(starts).to_numpy(zero_copy_only=False).astype("datetime64[D]")
        if self.calendar == "month":
            following = dates.astype("datetime64[M]") + 1
        else:
            following = dates + (1 if self.calendar == "day" else 7)
        return self._midnights(pa.array(following.astype("datetime64[us]")))

    def ordinals(self, starts: Instants) -> Instants:
        """Numbers slices so that neighbours differ by 1, whatever their lengths."""
        if self.step is not None:
            return starts // self.step
        local = self._local(starts)
        if self.calendar == "month":
            months: Instants = (12 * pc.year(local).to_numpy() + pc.month(local).to_numpy()).astype(np.int64)
            return months
        days = local.cast(pa.int64()).to_numpy(zero_copy_only=False) // 86_400_000_000
        weeks: Instants = (days + 3) // 7  # the epoch was a Thursday; weeks begin on Monday
        return days if self.calendar == "day" else weeks

    def starts_of_windows_ending(self, ends: Instants, last_slices: Instants) -> Instants:
        """The start of the window that ends at `ends` and whose last slice starts at `last_slices`."""
        return last_slices if self.size is None else ends - microseconds(self.size)

    def _within(self, starts: Instants, times: Instants) -> Instants:
        # A clock set back across midnight (St. John's, at one minute past it, until 2011) shows the old date again when
        # the new day has begun: such instants belong to the new day, or windows would not be [start, end).
        late = np.flatnonzero(times - starts >= microseconds(_SHORTEST[str(self.calendar)]))
        if len(late):
            ends = self.slice_ends(starts[late])
            starts = starts.copy()
            starts[late] = np.where(times[late] >= ends, ends, starts[late])
        return starts

    def _local(self, instants: Instants) -> pa.Array:
        """Local times, as timestamp[us] without a zone."""
        return pa.array(zone(self.time_zone).shown(instants)).view(pa.timestamp("us"))

    def _midnights(self, local: pa.Array) -> Instants:
        # If the clock skips midnight, the instant of the jump counts; if midnight occurs twice, the first one counts.
        return zone(self.time_zone).first(as_instants(local))

    def __str__(self) -> str:
        if self.calendar is not None:
            return f"calendar {self.calendar} {self.time_zone}"
        size = format_duration(self.size or timedelta())
        return size if self.every is None else f"{size} every {format_duration(self.every)}"

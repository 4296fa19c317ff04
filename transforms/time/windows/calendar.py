"""Windows that follow a calendar: the days, weeks or months of a time zone; a slice is a unit, and so is a window."""

from datetime import timedelta
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.specification import Micros, microseconds
from transforms.time.event_time import Instants, as_instants
from transforms.time.window import Window, WindowKind
from transforms.time.zone import TimeZone, zone

_SHORTEST: Final = {"day": timedelta(hours=20), "week": timedelta(days=6), "month": timedelta(days=27)}
"""A calendar unit in which a date occurs twice is never this short, whatever its clock changes."""

_LONGEST: Final = timedelta(days=32)
"""The longest calendar unit, a month, plus a day."""


class Calendar(Window):
    """The days, weeks or months of a time zone."""

    calendar: Literal["day", "week", "month"]
    time_zone: TimeZone = "UTC"

    def __str__(self) -> str:
        return f"calendar {self.calendar} {self.time_zone}"

    @property
    def longest(self) -> Micros:
        return microseconds(_LONGEST)

    def slices(self, event_times: pa.Array) -> Instants:
        times = as_instants(event_times)
        floors = pc.floor_temporal(self._local(times), unit=self.calendar, week_starts_monday=True)
        return self._within(self._midnights(floors), times)

    def slice_ends(self, starts: Instants) -> Instants:
        dates = self._local(starts).to_numpy(zero_copy_only=False).astype("datetime64[D]")
        if self.calendar == "month":
            following = dates.astype("datetime64[M]") + 1
        else:
            following = dates + (1 if self.calendar == "day" else 7)
        return self._midnights(pa.array(following.astype("datetime64[us]")))

    def ordinals(self, starts: Instants) -> Instants:
        local = self._local(starts)
        if self.calendar == "month":
            months: Instants = (12 * pc.year(local).to_numpy() + pc.month(local).to_numpy()).astype(np.int64)
            return months
        days = local.cast(pa.int64()).to_numpy(zero_copy_only=False) // 86_400_000_000
        weeks: Instants = (days + 3) // 7  # the epoch was a Thursday; weeks begin on Monday
        return days if self.calendar == "day" else weeks

    def _within(self, starts: Instants, times: Instants) -> Instants:
        # A clock set back across midnight (St. John's, at one minute past it, until 2011) shows the old date again when
        # the new day has begun: such instants belong to the new day, or windows would not be [start, end).
        late = np.flatnonzero(times - starts >= microseconds(_SHORTEST[self.calendar]))
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


KIND: Final = WindowKind(name="calendar", order=1, spec=Calendar, words="`calendar` with `time_zone`")

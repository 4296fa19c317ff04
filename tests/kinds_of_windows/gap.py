"""A kind of windows for tests: sessions. A session of a key ends when no record has come for `gap`."""

from datetime import timedelta
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import model_validator

from transforms.specification import Duration, format_duration, microseconds
from transforms.time.event_time import Instants, as_instants
from transforms.time.window import Spans, Window, WindowKind


class Gap(Window):
    """Records of a key that are less than `gap` apart are in one window, which ends `gap` after the last of them.

    A record's slice is its instant, so it is late once the watermark, less the lateness, has passed it: a window
    that has ended by then cannot grow, for a record that is not late is at least `gap` after its last one.
    """

    gap: Duration
    grows: ClassVar[bool] = True

    @model_validator(mode="after")
    def _of_some_length(self) -> "Gap":
        if not timedelta(0) < self.gap <= timedelta(days=366):
            raise ValueError(f"window.gap must be longer than 0s and at most 366d, is {format_duration(self.gap)}")
        return self

    def __str__(self) -> str:
        return f"sessions with gaps of {format_duration(self.gap)}"

    @property
    def longest(self) -> None:
        return None

    def slices(self, event_times: pa.Array) -> Instants:
        return as_instants(event_times)

    def slice_ends(self, starts: Instants) -> Instants:
        return starts + 1

    def ordinals(self, starts: Instants) -> Instants:
        return starts // microseconds(self.gap)

    def meets(self, ends: Instants, starts: Instants) -> npt.NDArray[np.bool_]:
        apart: npt.NDArray[np.bool_] = starts - (ends - 1) < microseconds(self.gap)
        return apart

    def bounds(self, slices: Spans) -> Spans:
        return Spans(slices.starts, slices.ends - 1 + microseconds(self.gap))


KIND: Final = WindowKind(name="gap", order=2, spec=Gap, words="`gap`")

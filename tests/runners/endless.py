"""A small endless job, for tests of what runs it: one element a window, counted and closed by an event-time timer.

As a program it prints `prism PID`, a line for each window as it closes, and how it ended.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

logging.disable(logging.WARNING)  # importing Beam without the gcp extra warns on the root logger

import apache_beam as beam  # noqa: E402
from apache_beam.coders import VarIntCoder  # noqa: E402
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker  # noqa: E402
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator  # noqa: E402
from apache_beam.transforms.core import RestrictionProvider  # noqa: E402
from apache_beam.transforms.timeutil import TimeDomain  # noqa: E402
from apache_beam.transforms.userstate import BagStateSpec, TimerSpec, on_timer  # noqa: E402
from apache_beam.transforms.window import TimestampedValue  # noqa: E402
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Duration, Timestamp  # noqa: E402

from runners.prism import endless_pipeline  # noqa: E402

END: Final = 2**62
CLOSED: list[tuple[int, int]] = []
"""Window and count, as they closed: DoFns run in the process that submits."""

SPLITS: list[float] = []
"""What a runner asked to be given away of an endless range."""


class EndlessTracker(OffsetRestrictionTracker):
    """A range without an end: its far half would hold the watermark for ever, so it gives none away."""

    def is_bounded(self) -> bool:
        return False

    def try_split(self, fraction_of_remainder: float) -> Any:
        if fraction_of_remainder:
            SPLITS.append(fraction_of_remainder)
            return None
        return super().try_split(0)


class EndlessRange(RestrictionProvider):
    def initial_restriction(self, element: int) -> OffsetRange:
        return OffsetRange(0, END)

    def create_tracker(self, restriction: OffsetRange) -> EndlessTracker:
        return EndlessTracker(restriction)

    def restriction_size(self, element: int, restriction: OffsetRange) -> int:
        return 1

    def truncate(self, element: int, restriction: OffsetRange) -> None:
        return None


RANGE: Final = EndlessRange()


class CountUpFn(beam.DoFn):
    """Three elements a call, of one window of a second each, until there were `windows`."""

    def __init__(self, windows: int, pace: float, call_seconds: float) -> None:
        self._windows = windows
        self._call_seconds = call_seconds
        self._pace = pace

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator]  # Beam has no types for it
    def process(
        self,
        key: int,
        tracker: Any = beam.DoFn.RestrictionParam(RANGE),
        watermark: Any = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider()),
    ) -> Iterator[Any]:
        window = tracker.current_restriction().start
        if window == self._windows:
            tracker.try_claim(END - 1)
            watermark.set_watermark(MAX_TIMESTAMP)
            return
        if not tracker.try_claim(window):
            return
        for _ in range(3):
            yield TimestampedValue((key, window), Timestamp(window))
        time.sleep(self._call_seconds)
        watermark.set_watermark(Timestamp(window + 1))
        tracker.defer_remainder(Duration(seconds=self._pace))


class CloseFn(beam.DoFn):
    """Counts what came for each window, and says so when the watermark passes its end."""

    OPEN = BagStateSpec("open", VarIntCoder())
    CLOSE = TimerSpec("close", TimeDomain.WATERMARK)

    def process(
        self, element: tuple[int, int], held: Any = beam.DoFn.StateParam(OPEN), close: Any = beam.DoFn.TimerParam(CLOSE)
    ) -> None:
        if element[1] < 0:
            raise ValueError("a window before the first")
        held.add(element[1])
        close.set(Timestamp(element[1] + 1), dynamic_timer_tag=str(element[1]))

    @on_timer(CLOSE)  # type: ignore[untyped-decorator]  # Beam has no types for it
    def closed(
        self, key: Any = beam.DoFn.KeyParam, at: Any = beam.DoFn.TimestampParam, held: Any = beam.DoFn.StateParam(OPEN)
    ) -> Iterator[tuple[int, int]]:
        window = int(at) - 1
        windows = list(held.read())
        held.clear()
        for other in windows:
            if other != window:
                held.add(other)
        yield window, windows.count(window)


def note(closed: tuple[int, int]) -> None:
    """Keeps a closed window where the test sees it."""
    CLOSED.append(closed)
    print("window", *closed, flush=True)


def count_up(windows: int, pace: float = 0.02, call_seconds: float = 0, flags: tuple[str, ...] = ()) -> beam.Pipeline:
    """The job: `windows` windows, one every `pace` seconds, each call of the source as slow as said."""
    pipeline = endless_pipeline(flags)
    numbers = (
        pipeline
        | beam.Create([0])
        | beam.ParDo(CountUpFn(windows, pace, call_seconds)).with_output_types(tuple[int, int])
    )
    _ = numbers | beam.ParDo(CloseFn()) | beam.Map(note)
    return pipeline


def prism_of(process: int) -> int:
    """The process id of the Prism that `process` started."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [
        (int(pid), int(parent), args) for pid, parent, args in (line.split(None, 2) for line in listed.splitlines())
    ]
    watches = {pid for pid, parent, _ in rows if parent == process}
    (found,) = [pid for pid, parent, args in rows if parent in watches and "--job_port" in args]
    return found


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs tests in the background has it ignored
    running = count_up(int(sys.argv[1])).run()
    print("prism", prism_of(os.getpid()), flush=True)
    print(running.wait_until_finish(), flush=True)

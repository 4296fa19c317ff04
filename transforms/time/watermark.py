"""The watermark of a log: how far event time has progressed, decided by the log's content and not by a clock.

After each chunk it is the least, over the active sources, of the greatest event time of each, minus
`out_of_orderness`; it never goes back. A source is active from its first record with a readable event time that is
not in the future; it stops holding the watermark once it was silent for `idle_after`, by the time the collector
listened. While all sources are silent, the watermark advances with that time. So the same log yields the same
watermark in every run, live or in batch, and a paused replay of old data does not jump to today.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, model_validator

from transforms.specification import Duration, Spec, microseconds

NEVER: Final = -(1 << 62)
"""The watermark before the first record."""

END: Final = 1 << 62
"""The watermark after the last record of a source that has ended."""

FORGOTTEN_AFTER: Final = 7 * 86_400_000_000
"""A source is forgotten after this much longer (µs) than `idle_after` and than the newest source's silence."""


def _never(value: Any) -> Any:
    return None if value == "never" else value


class WatermarkSpec(Spec):
    """How a live source decides the watermark; batch runs on files do not use it, because files have no order."""

    out_of_orderness: Duration = timedelta(seconds=5)
    idle_after: Annotated[
        Duration | None, BeforeValidator(_never, json_schema_input_type=Duration | Literal["never"] | None)
    ] = timedelta(seconds=30)

    @model_validator(mode="after")
    def _some_silence(self) -> "WatermarkSpec":
        if self.idle_after is not None and self.idle_after <= timedelta(0):
            raise ValueError("watermark.idle_after must be longer than 0s, or never")
        return self

    def advance(self, before: "Progress", elapsed: int, latest: Mapping[str, int]) -> "Progress":
        """Progress after a chunk.

        Args:
            elapsed: how long (µs) collectors had been listening when the chunk was committed.
            latest: the greatest event time (µs) of each source with readable records in the chunk.
        """
        heard = dict(before.heard)
        for source, time in latest.items():
            known = heard.get(source)
            heard[source] = (time if known is None else max(time, known[0]), elapsed)
        idle = None if self.idle_after is None else microseconds(self.idle_after)
        active = [time for time, when in heard.values() if idle is None or elapsed - when < idle]
        watermark = before.watermark
        if active:
            watermark = max(watermark, min(active) - microseconds(self.out_of_orderness))
        elif heard and idle is not None:
            silent_since = max(when for _, when in heard.values()) + idle
            watermark += max(elapsed - max(before.elapsed, silent_since), 0)
        if idle is not None and len(heard) > 1:
            newest = max(when for _, when in heard.values())
            heard = {source: known for source, known in heard.items() if newest - known[1] < idle + FORGOTTEN_AFTER}
        return Progress(watermark, elapsed, heard)


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a log: its watermark (µs), and each source's greatest event time and when it was last active."""

    watermark: int = NEVER
    elapsed: int = 0
    heard: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def clock(self) -> int:
        """How long (µs) collectors have been listening since the log began."""
        return self.elapsed

    def to_json(self) -> dict[str, Any]:
        """The progress as JSON-compatible values."""
        return {"watermark": self.watermark, "elapsed": self.elapsed, "heard": self.heard}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "Progress":
        """The progress that `to_json` wrote."""
        heard = {source: (time, when) for source, (time, when) in content["heard"].items()}
        return Progress(content["watermark"], content["elapsed"], heard)

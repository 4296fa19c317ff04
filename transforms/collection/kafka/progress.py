"""The progress of a topic: the offset at which each partition resumes, and the watermark.

The watermark is the least, over the partitions that hold it, of the greatest event time of each, minus
`out_of_orderness`; it never goes back. With `idle_after: never` every partition holds it, even one that never had a
record; otherwise a partition that was silent for that long does not. Silence is time spent listening to a partition
at its end: neither a stopped job, nor a busy one, nor unreachable brokers make a partition silent.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from transforms.specification import microseconds
from transforms.time.watermark import NEVER, WatermarkSpec


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """One partition: the offset at which to resume, the greatest event time (µs), and when it was last active, by the
    topic's `elapsed`."""

    next: int
    latest: int = NEVER
    heard: int = 0


@dataclass(frozen=True, slots=True)
class KafkaProgress:
    """The progress of a topic.

    Args:
        watermark: as it was reported (µs); NEVER until it is known.
        elapsed: how long (µs) the topic was listened to.
    """

    watermark: int = NEVER
    elapsed: int = 0
    partitions: Mapping[int, PartitionProgress] = field(default_factory=dict)

    @property
    def clock(self) -> int:
        """How long (µs) the topic was listened to."""
        return self.elapsed

    @property
    def offsets(self) -> dict[int, int]:
        """The offset at which each partition resumes."""
        return {number: known.next for number, known in self.partitions.items()}

    def beginning_at(self, offsets: Mapping[int, int]) -> "KafkaProgress":
        """The progress with further partitions, which begin at these offsets and hold the watermark."""
        new = {number: PartitionProgress(at, heard=self.elapsed) for number, at in offsets.items()}
        known = {**new, **self.partitions}
        return replace(self, partitions=dict(sorted(known.items())))

    def advance(
        self,
        spec: WatermarkSpec,
        partitions: Mapping[int, PartitionProgress],
        listened: int,
        with_more: Collection[int] = (),
    ) -> "KafkaProgress":
        """The progress after a reading.

        Args:
            partitions: the new progress of partitions that had messages, with any `heard`.
            listened: how long (µs) the reading listened.
            with_more: partitions that may have more to read, and so are not silent.
        """
        elapsed = self.elapsed + listened
        now = {
            number: replace(known, heard=elapsed) if number in partitions or number in with_more else known
            for number, known in {**self.partitions, **partitions}.items()
        }
        idle = None if spec.idle_after is None else microseconds(spec.idle_after)
        wait = microseconds(spec.out_of_orderness)
        watermark = self.watermark
        holding = [known for known in now.values() if idle is None or elapsed - known.heard < idle]
        if holding:
            watermark = max(watermark, _least(holding, wait))
        elif idle is not None and (known := [known for known in now.values() if known.latest > NEVER]):
            # No partition holds the watermark now: it starts from the last that fell silent, and advances with time.
            last = max(partition.heard for partition in known)
            watermark = max(watermark, _least([partition for partition in known if partition.heard == last], wait))
            silent_since = max(partition.heard for partition in now.values()) + idle
            watermark += max(elapsed - max(self.elapsed, silent_since), 0)
        return KafkaProgress(watermark, elapsed, dict(sorted(now.items())))

    def to_json(self) -> dict[str, Any]:
        """The progress as JSON-compatible values."""
        known = {str(number): [part.next, part.latest, part.heard] for number, part in self.partitions.items()}
        return {"watermark": self.watermark, "elapsed": self.elapsed, "partitions": known}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "KafkaProgress":
        """The progress that `to_json` wrote."""
        known = {int(number): PartitionProgress(*part) for number, part in content["partitions"].items()}
        return KafkaProgress(content["watermark"], content["elapsed"], known)


def offsets_in(source: Mapping[str, Any]) -> dict[int, int]:
    """The offset at which a checkpoint's source resumes in each partition."""
    return KafkaProgress.from_json(source["progress"]).offsets


def _least(partitions: Iterable[PartitionProgress], wait: int) -> int:
    """The event time up to which all of these partitions have progressed."""
    latest = min(partition.latest for partition in partitions)
    return latest - wait if latest > NEVER else NEVER

"""How far a topic has come: where to go on in each partition, and up to where event time has passed.

The watermark is the least, over the partitions that hold it, of the greatest event time each has had, minus
`out_of_orderness`; it never goes back. With `idle_after: never` every partition holds it, also one that never had a
record; otherwise one that was silent for so long does not. Silence is time spent listening to a partition that was at
its end: neither a job that was down, nor one that was busy, nor brokers out of reach make a partition silent.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from transforms.specification import microseconds
from transforms.time.watermark import NEVER, WatermarkSpec


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """One partition: the offset to go on from, the greatest event time (µs), and when it was last heard, by the
    topic's `elapsed`."""

    next: int
    latest: int = NEVER
    heard: int = 0


@dataclass(frozen=True, slots=True)
class KafkaProgress:
    """How far a topic has come.

    Args:
        watermark: as it was reported (µs); NEVER before it is known.
        elapsed: µs that the topic was listened to.
    """

    watermark: int = NEVER
    elapsed: int = 0
    partitions: Mapping[int, PartitionProgress] = field(default_factory=dict)

    @property
    def offsets(self) -> dict[int, int]:
        """Where to go on in each partition."""
        return {number: known.next for number, known in self.partitions.items()}

    def beginning_at(self, offsets: Mapping[int, int]) -> "KafkaProgress":
        """The progress with partitions that it does not know yet, from these offsets on: they hold the watermark."""
        new = {number: PartitionProgress(at, heard=self.elapsed) for number, at in offsets.items()}
        known = {**new, **self.partitions}
        return replace(self, partitions=dict(sorted(known.items())))

    def advance(
        self,
        spec: WatermarkSpec,
        partitions: Mapping[int, PartitionProgress],
        listened: int,
        behind: Collection[int] = (),
    ) -> "KafkaProgress":
        """The progress after a reading.

        Args:
            partitions: those that had something, as they are now, with any `heard`.
            listened: µs that the reading listened.
            behind: partitions that may have more to read: they are not silent.
        """
        elapsed = self.elapsed + listened
        now = {
            number: replace(known, heard=elapsed) if number in partitions or number in behind else known
            for number, known in {**self.partitions, **partitions}.items()
        }
        idle = None if spec.idle_after is None else microseconds(spec.idle_after)
        wait = microseconds(spec.out_of_orderness)
        watermark = self.watermark
        holding = [known for known in now.values() if idle is None or elapsed - known.heard < idle]
        if holding:
            watermark = max(watermark, _least(holding, wait))
        elif idle is not None and (known := [known for known in now.values() if known.latest > NEVER]):
            # Nobody holds it any more: it stands where the last to fall silent let it go, and time goes on from there.
            last = max(partition.heard for partition in known)
            watermark = max(watermark, _least([partition for partition in known if partition.heard == last], wait))
            silent_since = max(partition.heard for partition in now.values()) + idle
            watermark += max(elapsed - max(self.elapsed, silent_since), 0)
        return KafkaProgress(watermark, elapsed, dict(sorted(now.items())))

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        known = {str(number): [part.next, part.latest, part.heard] for number, part in self.partitions.items()}
        return {"watermark": self.watermark, "elapsed": self.elapsed, "partitions": known}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "KafkaProgress":
        """What `to_json` wrote."""
        known = {int(number): PartitionProgress(*part) for number, part in content["partitions"].items()}
        return KafkaProgress(content["watermark"], content["elapsed"], known)


def _least(partitions: Iterable[PartitionProgress], wait: int) -> int:
    """Up to where event time has passed in all of these."""
    latest = min(partition.latest for partition in partitions)
    return latest - wait if latest > NEVER else NEVER

"""A topic as a source of a job, on brokers that librdkafka plays: where it begins, resumes, and is read again."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Producer

from transforms.collection.cursor import SourceCursor
from transforms.collection.kafka.progress import KafkaProgress, PartitionProgress
from transforms.collection.kafka.source import KafkaSource
from transforms.collection.kafka.spec import KafkaSpec
from transforms.errors import SourceError, StateRefused

PARTITIONS = 4
"""Of a topic that librdkafka makes."""


@dataclass
class Brokers:
    """Brokers in this process, with messages in the first two partitions of a topic."""

    producer: Any = field(
        default_factory=lambda: Producer({"bootstrap.servers": "-:1", "test.mock.num.brokers": 1, "log_level": 0})
    )

    @property
    def address(self) -> str:
        (broker,) = self.producer.list_topics(timeout=10).brokers.values()
        return f"{broker.host}:{broker.port}"

    def send(self, *counts: int) -> None:
        for partition, count in enumerate(counts):
            for _ in range(count):
                self.producer.produce("events", b"{}", partition=partition)
        assert self.producer.flush(10) == 0

    def source(self, **options: Any) -> KafkaSource:
        work: Any = SimpleNamespace(job="j", state="state")
        return KafkaSource(options=KafkaSpec(brokers=self.address, topic="events", **options), work=work)


@pytest.fixture
def brokers() -> Iterator[Brokers]:
    playing = Brokers()
    playing.send(5, 3)
    yield playing


def checkpoint(cursor: SourceCursor, name: int = 8) -> Any:
    """A checkpoint at a cursor."""
    return SimpleNamespace(name=name, chunk=cursor.chunk, source=cursor.tick(0, keeps=True).source)


def at(cursor: SourceCursor, **offsets: int) -> SourceCursor:
    """The cursor after a portion that has read each partition to an offset."""
    parts = {int(name[1:]): PartitionProgress(offset) for name, offset in offsets.items()}
    before = cursor.own(KafkaProgress).partitions
    return cursor.after(cursor.chunk + 1, sum(offsets.values()), KafkaProgress(partitions={**before, **parts}))


def test_a_topic_begins_where_the_job_file_says_and_ends_at_its_present_end(brokers: Brokers) -> None:
    source = brokers.source()
    assert source.holds() == f"topic events on {brokers.address}, records 0 to 8"
    assert source.whole().end == {0: 5, 1: 3, **dict.fromkeys(range(2, PARTITIONS), 0)}
    assert source.whole().start.position == 0
    assert brokers.source(start="latest").begin(print).position == 8


def test_a_topic_is_read_again_from_its_beginning_and_between_checkpoints(brokers: Brokers) -> None:
    source = brokers.source()
    before = at(source.begin(print), p0=2, p1=1)
    after = at(before, p0=5, p1=1)
    whole, part = source.until(checkpoint(after)), source.between(checkpoint(before), checkpoint(after, 12))
    assert whole is not None and part is not None
    assert source.words_of(part).startswith("offsets 2 to 4 of 0, offsets 1 to 0 of 1")
    assert source.words_of(whole).startswith("offsets 0 to 4 of 0, offsets 0 to 0 of 1")
    none = source.between(checkpoint(after), checkpoint(after))
    assert none is not None and source.is_empty(none) and not source.is_empty(part)
    assert source.unread(checkpoint(before)) == 5
    assert source.reached(checkpoint(before).source)["events/0"] == 2


def test_a_job_does_not_resume_after_the_end_of_a_topic_or_at_a_place_of_another_source(brokers: Brokers) -> None:
    source = brokers.source()
    known = at(source.begin(print), p0=2)
    assert source.resume(checkpoint(known)).own(KafkaProgress).offsets[0] == 2
    with pytest.raises(SourceError, match="events/0 holds offsets 0 to 5, and this job resumes at 9"):
        source.resume(checkpoint(at(known, p0=9)))
    other = SimpleNamespace(name=8, chunk=2, source={"progress": {"watermark": 0, "elapsed": 0, "heard": {}}})
    with pytest.raises(StateRefused, match="its checkpoints cannot be read as those of the topic events on"):
        source.resume(other)

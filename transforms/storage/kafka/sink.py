"""Topics of Kafka as a sink: a topic a table, the rows of a checkpoint in one transaction."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from transforms.location import NamedPath
from transforms.specification import Spec
from transforms.storage.kafka.spec import KafkaSinkSpec, KafkaTarget
from transforms.storage.kafka.transactions import KafkaWriter
from transforms.storage.kafka.transactions import Position as KafkaPosition
from transforms.storage.sink import Position, Sink, Staged, Transactions, Use
from transforms.storage.staging import read_staged
from transforms.storage.tables import Table


@dataclass(frozen=True, kw_only=True)
class KafkaSink(Sink):
    """Topics of Kafka."""

    target: KafkaTarget

    kind: ClassVar[str] = "kafka"
    spec: ClassVar[type[Spec]] = KafkaSinkSpec
    reads_back: ClassVar[bool] = False
    repeats: ClassVar[bool] = False
    has_position: ClassVar[bool] = True

    @classmethod
    def of(cls, spec: KafkaSinkSpec, job: str, tables: Mapping[str, Table]) -> "KafkaSink":
        """The sink that a job file describes."""
        return cls(job=job, tables=tables, target=spec.kafka)

    @classmethod
    def paths(cls, spec: KafkaSinkSpec) -> Iterator[NamedPath]:
        yield from spec.kafka.key_files(("kafka",))

    def misfits(self) -> Iterator[tuple[str, str]]:
        for name in self.tables:
            try:
                self.target.topic_of(name)
            except ValueError as error:
                yield name, str(error)

    def uses(self) -> Iterator[Use]:
        at, field = f"of kafka {self.target.brokers}", ("kafka", "topic")
        yield Use(f"the topics {self.target.topic} {at}", self.target.places_of(self.target.topic), field=field)
        for name in self.tables:
            try:
                topic = self.target.topic_of(name)
            except ValueError:
                continue  # a misfit
            yield Use(f"the topic {topic} {at}", self.target.places_of(topic), name, field)

    def places(self) -> list[str]:
        return [f"kafka {self.target.brokers}, topics {self.target.topic}"]

    def check(self) -> None:
        with closing(self._writer()) as writer:
            writer.check()

    def publish(self, staged: Staged) -> None:
        with closing(self._writer()) as writer:
            writer.open(None)
            writer.publish({name: read_staged(staged[name]) for name in self.tables})

    def transactions(self) -> Transactions:
        """The writer of the topics, in this process."""
        return _Transactions(self._writer(), tuple(self.tables))

    def _writer(self) -> KafkaWriter:
        return KafkaWriter(self.target, self.tables, self.job)


@dataclass(frozen=True)
class _Transactions:
    writer: KafkaWriter
    tables: tuple[str, ...]

    def open(self, position: Position | None) -> Position:
        return self.writer.open(None if position is None else KafkaPosition.from_json(position)).to_json()

    def publish(self, contents: Mapping[str, Iterable[pa.RecordBatch]]) -> Position:
        return self.writer.publish({name: contents[name] for name in self.tables}).to_json()

    def close(self) -> None:
        self.writer.close()

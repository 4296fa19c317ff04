"""The topics that a job fills: those of a bounded run at once, those of a live job at each checkpoint, once."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from transforms.process import durable
from transforms.storage.checkpoint.history import Place
from transforms.storage.error import told_as_sink_error
from transforms.storage.kafka.spec import KafkaTarget
from transforms.storage.kafka.transactions import KafkaWriter, Position
from transforms.storage.staging import Table

BEGAN: Final = "topics.json"
"""In the job's state: where the topics ended when it began, before which nothing is its own."""

Positions = Sequence[Mapping[str, Any]]
"""Of each sink, how far its topics are."""


@dataclass(frozen=True)
class TopicSink:
    """A Kafka sink, and the tables that it holds."""

    target: KafkaTarget
    tables: tuple[str, ...]

    def writer(self, tables: Mapping[str, Table], job: str) -> KafkaWriter:
        """Who writes its topics."""
        return KafkaWriter(self.target, {name: tables[name] for name in self.tables}, job)


def check(sinks: Iterable[TopicSink], tables: Mapping[str, Table], job: str) -> None:
    """Raises SinkError for topics that could not be written."""
    for sink in sinks:
        with closing(sink.writer(tables, job)) as writer:
            writer.check()


def publish(
    sinks: Iterable[TopicSink], tables: Mapping[str, Table], job: str, rows: Mapping[str, Iterable[pa.RecordBatch]]
) -> None:
    """Sends the rows of a bounded run, each once, in one transaction a sink.

    Raises:
        SinkError: if the brokers refuse.
    """
    for sink in sinks:
        with closing(sink.writer(tables, job)) as writer:
            writer.open(None)
            writer.publish({name: rows[name] for name in sink.tables})


def begin(sinks: Sequence[TopicSink], tables: Mapping[str, Table], job: str, state: str) -> Positions:
    """Where the topics of a job end that begins from nothing; kept, for it may have to begin again.

    Raises:
        SinkError: if the brokers or the disk refuse.
    """
    path = Path(state, BEGAN)
    if not sinks:
        return []
    try:
        began: Positions = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        began = []
    if len(began) == len(sinks):
        return began
    positions = []
    for sink in sinks:
        with closing(sink.writer(tables, job)) as writer:
            positions.append(writer.open(None).to_json())
    with told_as_sink_error(state):
        durable.write_text(str(path), json.dumps(positions))
    return positions


@dataclass
class Topics:
    """The topics of a live job as one process writes them: each row once, whatever is done again.

    Before each checkpoint `turn` says which one was the last, and behind it `kept` that there is another.
    """

    sinks: Sequence[TopicSink]
    tables: Mapping[str, Table]
    job: str
    _writers: list[KafkaWriter] = field(default_factory=list)
    _at: Place | None = None
    """The checkpoint that the writers go on from; None: there are no writers."""
    _before: Place = field(default_factory=Place)
    _reached: list[Mapping[str, Any]] = field(default_factory=list)
    """How far the topics of each sink are with what this turn sends, as far as it was sent."""

    def turn(self, before: Place) -> None:
        """What is published from now on follows the checkpoint `before`."""
        self._before, self._reached = before, []

    def publish(self, contents: Mapping[str, Iterable[pa.RecordBatch]]) -> Positions:
        """Sends the final rows of a turn.

        Returns:
            How far the topics are; it belongs into the checkpoint.

        Raises:
            SinkError: if the brokers refuse; done again with the same rows, each is sent once.
        """
        if self._at is None or not self._at.is_at(self._before):
            self._open()
        for sink, writer in list(zip(self.sinks, self._writers, strict=True))[len(self._reached) :]:
            self._reached.append(writer.publish({name: contents[name] for name in sink.tables}).to_json())
        return self._reached

    def kept(self, place: Place) -> None:
        """There is a checkpoint of what was sent."""
        self._at = place

    def _open(self) -> None:
        """Goes on from a checkpoint that this process did not write: what was sent since is not sent again."""
        self.close()
        for sink, position in zip(self.sinks, self._before.topics, strict=True):
            self._writers.append(sink.writer(self.tables, self.job))
            self._writers[-1].open(Position.from_json(position))
        self._at = self._before

    def close(self) -> None:
        """Lets go of the brokers; whoever goes on looks up what was sent."""
        while self._writers:
            self._writers.pop().close()
        self._at = None

"""Sinks that store in transactions: the rows of each checkpoint once, and its position in the next checkpoint."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import pyarrow as pa

from transforms.process import durable
from transforms.storage.checkpoint.history import Place
from transforms.storage.error import as_sink_error
from transforms.storage.sink import Position, Sink, Transactions

BEGAN: Final = "topics.json"
"""In the job's state: where the sinks ended when the job began, before which nothing is its own."""

Positions: TypeAlias = Sequence[Position]
"""Of each sink with a position, in the order of the job file."""


def begin(sinks: Sequence[Sink], state: str) -> Positions:
    """Where sinks end when a job begins from nothing; kept, for it may have to begin again.

    Raises:
        SinkError: if a sink or the disk refuses.
    """
    path = Path(state, BEGAN)
    opened = [transactions for sink in sinks if (transactions := sink.transactions()) is not None]
    if not opened:
        return []
    try:
        began: Positions = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        began = []
    if len(began) == len(opened):
        return began
    positions = []
    for transactions in opened:
        with closing(transactions):
            positions.append(transactions.open(None))
    with as_sink_error(state):
        durable.write_text(str(path), json.dumps(positions))
    return positions


def forget(state: str) -> None:
    """The job begins from nothing: where its sinks ended before counts no more."""
    with suppress(FileNotFoundError):
        Path(state, BEGAN).unlink()


@dataclass
class Writing:
    """The transactions of a live job in one process: each row once, whatever is done again.

    Before each checkpoint `turn` says which one was the last, and after it `kept` that there is another.
    """

    sinks: Sequence[Sink]
    _open: list[Transactions] = field(default_factory=list)
    _at: Place | None = None
    """The checkpoint that the transactions follow; None: none is open."""
    _before: Place = field(default_factory=Place)
    _reached: list[Position] = field(default_factory=list)
    """How far each sink is with what this turn stores, as far as it was stored."""

    def turn(self, before: Place) -> None:
        """What is published from now on follows the checkpoint `before`."""
        self._before, self._reached = before, []

    def publish(self, contents: Mapping[str, Iterable[pa.RecordBatch]]) -> Positions:
        """Stores the final rows of a turn.

        Returns:
            How far the sinks are; it belongs into the checkpoint.

        Raises:
            SinkError: if a sink refuses; done again with the same rows, each is stored once.
        """
        if self._at is None or not self._at.is_at(self._before):
            self._resume()
        for transactions in self._open[len(self._reached) :]:
            self._reached.append(transactions.publish(contents))
        return self._reached

    def kept(self, place: Place) -> None:
        """There is a checkpoint of what was stored."""
        self._at = place

    def _resume(self) -> None:
        """Resumes from a checkpoint that this process did not write: what was stored since is not stored again."""
        self.close()
        opened = (transactions for sink in self.sinks if (transactions := sink.transactions()) is not None)
        for position, transactions in zip(self._before.topics, opened, strict=True):
            self._open.append(transactions)
            transactions.open(position)
        self._at = self._before

    def close(self) -> None:
        """Ends what is open; the process that resumes looks up what was stored."""
        while self._open:
            self._open.pop().close()
        self._at = None

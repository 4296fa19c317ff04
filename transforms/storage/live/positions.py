"""Sinks that store in transactions: the rows of each checkpoint once, and the checkpoint holds their position."""

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
"""A file in the job's state: where the sinks ended when the job began; what comes before is not the job's."""

Positions: TypeAlias = Sequence[Position]
"""One for each sink that has a position, in the order of the job file."""


def begin(sinks: Sequence[Sink], state: str) -> Positions:
    """Where sinks end when a job begins from nothing; stored, since the job may have to begin again.

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
    """Forgets where the sinks ended before: the job begins from nothing."""
    with suppress(FileNotFoundError):
        Path(state, BEGAN).unlink()


@dataclass
class Writing:
    """The transactions of a live job in one process: each row is stored once, even if a step is repeated.

    Before each checkpoint, `turn` names the last one; after it, `kept` names the new one.
    """

    sinks: Sequence[Sink]
    _open: list[Transactions] = field(default_factory=list)
    _at: Place | None = None
    """The checkpoint that the transactions follow; None: none is open."""
    _before: Place = field(default_factory=Place)
    _reached: list[Position] = field(default_factory=list)
    """The position of each sink that has stored this turn."""

    def turn(self, before: Place) -> None:
        """Begins a turn: what is published next follows the checkpoint `before`."""
        self._before, self._reached = before, []

    def publish(self, contents: Mapping[str, Iterable[pa.RecordBatch]]) -> Positions:
        """Stores the final rows of a turn.

        Returns:
            How far the sinks are, which the checkpoint must hold.

        Raises:
            SinkError: if a sink refuses; if it is repeated with the same rows, each is stored once.
        """
        if self._at is None or not self._at.is_at(self._before):
            self._resume()
        for transactions in self._open[len(self._reached) :]:
            self._reached.append(transactions.publish(contents))
        return self._reached

    def kept(self, place: Place) -> None:
        """Notes that the checkpoint `place` holds what was stored."""
        self._at = place

    def _resume(self) -> None:
        """Resumes from a checkpoint that this process did not write; rows stored since are not stored again."""
        self.close()
        opened = (transactions for sink in self.sinks if (transactions := sink.transactions()) is not None)
        for position, transactions in zip(self._before.topics, opened, strict=True):
            self._open.append(transactions)
            transactions.open(position)
        self._at = self._before

    def close(self) -> None:
        """Closes all transactions; the process that resumes reads back what was stored."""
        while self._open:
            self._open.pop().close()
        self._at = None

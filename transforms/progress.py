"""How far the readers of this process are, for whoever shows it. It decides nothing; the ledger does."""

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa


@dataclass
class Tally:
    """Records read and refused so far; safe to add to from any thread."""

    read: int = 0
    dead: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, read: int, dead: int) -> None:
        with self._lock:
            self.read += read
            self.dead += dead


TALLY = Tally()
"""The tally of this process: workers of other processes keep their own, which nobody reads."""


@dataclass
class Bulletin:
    """What a live job of this process is doing; safe to write and read from any thread.

    Args:
        watermark: up to where event time has passed (µs); None: nothing was read yet.
        position: the position of the next record to read.
        end: the position behind the last record in the source.
        lag_s: s between when the newest record read was received and when it was read.
        ledger: the ledger's totals, of what was stored since the job began.
        reasons: dead letters by reason, since this process began.
        checkpoint: when the newest checkpoint was taken, in s since the epoch.
        trouble: what a sink says while it cannot be written; empty when all is well.
        rows: the newest rows that were stored, each with its number and table.
    """

    watermark: int | None = None
    position: int = 0
    end: int = 0
    lag_s: float = 0.0
    ledger: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    checkpoint: float | None = None
    trouble: str = ""
    rows: deque[tuple[int, str, Mapping[str, Any]]] = field(default_factory=lambda: deque(maxlen=5_000))
    stored: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def set(self, **changes: Any) -> None:
        """Sets fields by name."""
        with self._lock:
            for name, value in changes.items():
                setattr(self, name, value)

    def account(self, ledger: Mapping[str, int], reasons: Mapping[str, int]) -> None:
        """Adds to the totals."""
        with self._lock:
            self.ledger.update(ledger)
            self.reasons.update(reasons)

    def show(self, table: str, rows: pa.RecordBatch) -> None:
        """Adds rows that were stored; of very many, the last."""
        most = self.rows.maxlen or 0
        with self._lock:
            self.stored += max(rows.num_rows - most, 0)
            for row in rows.slice(max(rows.num_rows - most, 0)).to_pylist():
                self.stored += 1
                self.rows.append((self.stored, table, row))

    def rows_after(self, number: int) -> list[tuple[int, str, Mapping[str, Any]]]:
        """The rows stored after the one of this number, as far as they are still known."""
        with self._lock:
            return [row for row in self.rows if row[0] > number]


BULLETIN = Bulletin()
"""The bulletin of this process."""

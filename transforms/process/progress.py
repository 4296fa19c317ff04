"""How far the readers of this process are, for whoever shows it. It decides nothing; the ledger does."""

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

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


KEPT: Final = 5_000
"""Rows of each table that a bulletin still knows: a year of days for a dozen keys."""


@dataclass
class Bulletin:
    """What a live job of this process is doing; safe to write and read from any thread.

    Args:
        watermark: up to where event time has passed (µs); None: nothing was read yet.
        position: the position of the next record to read.
        end: the position behind the last record in the source.
        lag_s: s between when the newest record read was received and when it was read.
        heard: when something was last read, by the monotonic clock; None: nothing was yet.
        ledger: the ledger's totals, of what was stored since the job began.
        reasons: dead letters by reason, since the job began.
        checkpoint: when the newest checkpoint was taken, in s since the epoch.
        trouble: what a source or a sink says while it cannot be reached; empty when all is well.
        stored: rows of windows stored by this process; every row has its number among them, from 1.
        stored_by_table: the same for each table.
        forgotten: the greatest number of a row that is not known any more.
    """

    watermark: int | None = None
    position: int = 0
    end: int = 0
    lag_s: float = 0.0
    heard: float | None = None
    ledger: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    checkpoint: float | None = None
    trouble: str = ""
    stored: int = 0
    stored_by_table: Counter[str] = field(default_factory=Counter)
    forgotten: int = 0
    _rows: dict[str, deque[tuple[int, pa.RecordBatch]]] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def set(self, **changes: Any) -> None:
        """Sets fields by name; a `lag_s` is told by who has just read something."""
        with self._lock:
            for name, value in changes.items():
                setattr(self, name, value)
            if "lag_s" in changes:
                self.heard = time.monotonic()

    def retell(self, told: str, trouble: str = "") -> None:
        """Tells a trouble in the place of the one that the same teller told before; empty: that one is over.

        Another's trouble is not over because this one's is.
        """
        with self._lock:
            if trouble or self.trouble == told:
                self.trouble = trouble

    def account(self, ledger: Mapping[str, int], reasons: Mapping[str, int]) -> None:
        """Adds to the totals."""
        with self._lock:
            self.ledger.update(ledger)
            self.reasons.update(reasons)

    def totals(self) -> tuple[dict[str, int], dict[str, int]]:
        """The ledger's totals, and the dead letters by reason, as they were at one moment."""
        with self._lock:
            return dict(self.ledger), dict(self.reasons)

    def show(self, table: str, rows: pa.RecordBatch) -> None:
        """Adds rows that were stored; the last `KEPT` of each table stay known."""
        with self._lock:
            first = self.stored + 1
            self.stored += rows.num_rows
            self.stored_by_table[table] += rows.num_rows
            kept = self._rows.setdefault(table, deque())
            kept.append((first, rows))
            surplus = sum(batch.num_rows for _, batch in kept) - KEPT
            while surplus > 0:
                first, oldest = kept.popleft()
                gone = min(surplus, oldest.num_rows)
                self.forgotten = max(self.forgotten, first + gone - 1)
                if gone < oldest.num_rows:
                    kept.appendleft((first + gone, oldest.slice(gone)))
                surplus -= gone

    def rows_after(self, number: int, most: int | None = None) -> list[tuple[int, str, Mapping[str, Any]]]:
        """The rows stored after the one of this number, as far as they are still known: their numbers, tables and
        columns, in the order of the numbers; at most so many."""
        with self._lock:
            kept = [(first, table, batch) for table, batches in self._rows.items() for first, batch in batches]
        found: list[tuple[int, str, Mapping[str, Any]]] = []
        for first, table, batch in sorted(kept, key=lambda entry: entry[0]):
            skipped = max(number + 1 - first, 0)
            wanted = batch.num_rows - skipped
            if most is not None:
                wanted = min(wanted, most - len(found))
            if wanted > 0:
                rows = batch.slice(skipped, wanted).to_pylist()
                found += [(first + skipped + at, table, row) for at, row in enumerate(rows)]
        return found


BULLETIN = Bulletin()
"""The bulletin of this process."""

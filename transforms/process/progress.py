"""The progress of this process's readers, for display only; the ledger has the counts that matter."""

import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakValueDictionary

import pyarrow as pa


@dataclass
class Tally:
    """Records read and refused so far; any thread may add to it."""

    read: int = 0
    dead: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, read: int, dead: int) -> None:
        with self._lock:
            self.read += read
            self.dead += dead


KEPT: Final = 5_000
"""The number of rows of each table that the bulletin keeps: a year of days for a dozen keys."""


@dataclass(eq=False)
class Bulletin:
    """The status of one run; any thread may write and read it.

    It travels to workers by its name: in the process that shows the run they write this one, elsewhere one that is
    not shown. Runs in one process have bulletins of their own.

    Args:
        watermark: the watermark (µs); None before anything is read.
        position: the position of the next record to read.
        end: the position after the last record in the source.
        lag_s: seconds between the receipt and the reading of the newest record that was read.
        heard: when something was last read, by the monotonic clock; None before anything is read.
        ledger: the ledger's totals of everything stored since the job began.
        reasons: dead letters by reason, since the job began.
        checkpoint: when the newest checkpoint was taken, in s since the epoch.
        trouble: the error of a source or a sink that cannot be reached; empty when all is well.
        stored: rows of windows that this process stored; they are numbered from 1.
        stored_by_table: the same for each table.
        forgotten: the greatest number of a row that is no longer kept.
        tally: records read so far.
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
    tally: Tally = field(default_factory=Tally)
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    _rows: dict[str, deque[tuple[int, pa.RecordBatch]]] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        _SHOWN[self.name] = self

    def set(self, **changes: Any) -> None:
        """Sets fields by name; a new `lag_s` also records that something was just read."""
        with self._lock:
            for name, value in changes.items():
                setattr(self, name, value)
            if "lag_s" in changes:
                self.heard = time.monotonic()

    def replace_trouble(self, before: str, trouble: str = "") -> None:
        """Replaces the problem `before`, which the same reporter raised last, by `trouble`; empty clears it.

        A problem that another reporter raised is not cleared.
        """
        with self._lock:
            if trouble or self.trouble == before:
                self.trouble = trouble

    def account(self, ledger: Mapping[str, int], reasons: Mapping[str, int]) -> None:
        """Adds to the totals."""
        with self._lock:
            self.ledger.update(ledger)
            self.reasons.update(reasons)

    def totals(self) -> tuple[dict[str, int], dict[str, int]]:
        """The ledger's totals and the dead letters by reason, both from the same moment."""
        with self._lock:
            return dict(self.ledger), dict(self.reasons)

    def show(self, table: str, rows: pa.RecordBatch) -> None:
        """Adds rows that were stored; the last `KEPT` rows of each table are kept."""
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

    def retract(self, table: str, windows: pa.RecordBatch) -> None:
        """Removes provisional rows that lie within windows of their key, but not these windows' own rows."""
        named = windows.schema.names[2:]
        within: dict[tuple[Any, ...], list[tuple[Any, Any]]] = {}
        for row in windows.to_pylist():
            bounds = (row["window_start"], row["window_end"])
            within.setdefault(tuple(row[name] for name in named), []).append(bounds)

        def stays(row: Mapping[str, Any]) -> bool:
            start, end = row["window_start"], row["window_end"]
            taken = within.get(tuple(row[name] for name in named), ())
            return bool(row["final"]) or not any(a <= start and end <= b and (a, b) != (start, end) for a, b in taken)

        with self._lock:
            kept = self._rows.get(table, deque())
            for first, batch in [kept.popleft() for _ in range(len(kept))]:
                rows = batch.select(["window_start", "window_end", "final", *named]).to_pylist()
                left = [place for place, row in enumerate(rows) if stays(row)]
                if len(left) == len(rows):
                    kept.append((first, batch))
                else:
                    kept.extend((first + place, batch.slice(place, 1)) for place in left)

    def rows_after(self, number: int, most: int | None = None) -> list[tuple[int, str, Mapping[str, Any]]]:
        """The rows stored after this number that are still kept: their numbers, tables and columns, in the order of the
        numbers; at most `most`."""
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

    def __reduce__(self) -> Any:
        return _found, (self.name,)


_SHOWN: "WeakValueDictionary[str, Bulletin]" = WeakValueDictionary()
"""The bulletins of this process by name, as long as something holds them."""


def _found(name: str) -> Bulletin:
    """The bulletin of a run as a worker unpickles it: in the process that shows the run, that one."""
    found = _SHOWN.get(name)
    return found if found is not None else Bulletin(name=name)

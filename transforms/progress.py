"""How far the readers of this process are, for whoever shows it. It decides nothing; the ledger does."""

import threading
from dataclasses import dataclass, field


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

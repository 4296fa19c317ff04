"""What whoever runs a collector hears of refused clients: a line for each reason and address, at most one a minute."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dataflow.collector.protocol import ClientRefused

APART_SECONDS: Final = 60.0
MOST: Final = 1000
"""Pairs of reason and address that are counted apart; the rest of a minute's is one more of each reason."""

OTHERS: Final = "other addresses"
QUIET: Final = frozenset({"idle_timeout"})
"""What ends connections that nothing is wrong with."""


@dataclass(slots=True)
class _Told:
    until: float
    detail: str
    count: int = 0


@dataclass(slots=True)
class RefusalLog:
    """Tells of refusals.

    Args:
        tell: takes a sentence.
    """

    tell: Callable[[str], None]
    _told: dict[tuple[str, str], _Told] = field(default_factory=dict)

    def note(self, refusal: ClientRefused, address: str, now: float) -> None:
        """Tells of a refusal, or counts it, if the same was told of this address just now."""
        if refusal.reason in QUIET:
            return
        key = (refusal.reason, address)
        if key not in self._told and len(self._told) >= MOST:
            key = (refusal.reason, OTHERS)
        if (told := self._told.get(key)) is not None:
            told.count += 1
            return
        self._told[key] = _Told(now + APART_SECONDS, refusal.detail)
        self.tell(f"refused {key[1]}: {refusal.reason}, {refusal.detail}")

    def look_at_the_clock(self, now: float) -> None:
        """Tells how many there were in the minute that is over."""
        for key, told in list(self._told.items()):
            if now < told.until:
                continue
            reason, address = key
            if not told.count:
                del self._told[key]
                continue
            self.tell(f"refused {address} {told.count:,} times more in a minute: {reason}, {told.detail}")
            told.until, told.count = now + APART_SECONDS, 0

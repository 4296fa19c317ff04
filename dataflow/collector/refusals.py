"""Reports refused clients to the operator of a collector: a line per reason and address, at most one a minute."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dataflow.collector.protocol import ClientRefused

APART_SECONDS: Final = 60.0
MOST: Final = 1000
"""Pairs of reason and address that are counted separately; further addresses are counted together for each reason."""

OTHERS: Final = "other addresses"
QUIET: Final = frozenset({"idle_timeout"})
"""Reasons that end connections although nothing is wrong."""


@dataclass(slots=True)
class _Reported:
    until: float
    detail: str
    count: int = 0


@dataclass(slots=True)
class RefusalLog:
    """Reports refusals.

    Args:
        report: receives a sentence.
    """

    report: Callable[[str], None]
    _reported: dict[tuple[str, str], _Reported] = field(default_factory=dict)

    def note(self, refusal: ClientRefused, address: str, now: float) -> None:
        """Reports a refusal, or counts it if the same reason was reported for this address within the last minute."""
        if refusal.reason in QUIET:
            return
        key = (refusal.reason, address)
        if key not in self._reported and len(self._reported) >= MOST:
            key = (refusal.reason, OTHERS)
        if (known := self._reported.get(key)) is not None:
            known.count += 1
            return
        self._reported[key] = _Reported(now + APART_SECONDS, refusal.detail)
        self.report(f"refused {key[1]}: {refusal.reason}, {refusal.detail}")

    def look_at_the_clock(self, now: float) -> None:
        """Reports how many further refusals there were in the past minute."""
        for key, known in list(self._reported.items()):
            if now < known.until:
                continue
            reason, address = key
            if not known.count:
                del self._reported[key]
                continue
            self.report(f"refused {address} {known.count:,} times more in a minute: {reason}, {known.detail}")
            known.until, known.count = now + APART_SECONDS, 0

"""The page's stream of server-sent events: the state twice a second, and rows as they are stored.

A browser is never sent more than it takes: the stream is written on only when what went before has left, and reads
from the bulletin then, which forgets old rows whether or not somebody looks. One that is too slow misses rows, and is
told so; it costs no memory.
"""

import asyncio
import json
import secrets
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from dataflow.page.view import JobView

PACE_SECONDS: Final = 0.5
ROWS_AT_ONCE: Final = 250
"""Rows of one event: some 50 KB."""

STREAMS: Final = 64
"""Browsers at a time: a stream that nobody reads and nobody closes must not keep others out by the thousand."""


@dataclass
class EventStreams:
    """The streams of all browsers.

    Args:
        run: what the numbers of rows count from; a browser that knows another run's numbers begins anew.
        ending: set when the streams are to end.
    """

    view: JobView
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    ending: threading.Event = field(default_factory=threading.Event)
    open: int = 0

    @property
    def is_full(self) -> bool:
        """Whether one more stream would be too many."""
        return self.open >= STREAMS

    async def follow(self, last_event_id: str | None) -> AsyncIterator[bytes]:
        """Everything after an event, for ever: from the first row still known if this run has no such event."""
        self.open += 1
        try:
            number = self._number(last_event_id)
            yield b"retry: 1000\n\n"
            missed = number or self.view.bulletin.forgotten
            while not self.ending.is_set():
                yield _event("state", self.view.state())
                while True:
                    if self.view.bulletin.forgotten > max(number, missed):
                        missed = self.view.bulletin.forgotten
                        yield _event("gap", {})
                    before = number
                    # A bulletin may hold thousands of rows; making words of them must not keep others waiting.
                    number, rows = await asyncio.to_thread(self.view.rows_after, number, ROWS_AT_ONCE)
                    if number == before or self.ending.is_set():
                        break
                    yield _event("rows", rows, f"{self.run}-{number}")
                await asyncio.sleep(PACE_SECONDS)
        finally:
            self.open -= 1

    def _number(self, event_id: str | None) -> int:
        run, _, number = (event_id or "").rpartition("-")
        if run != self.run or not (number.isascii() and number.isdigit() and len(number) < 19):
            return 0
        return min(int(number), self.view.bulletin.stored)


def _event(name: str, data: Any, event_id: str | None = None) -> bytes:
    head = f"event: {name}\n" + (f"id: {event_id}\n" if event_id else "")
    return f"{head}data: {json.dumps(data, separators=(',', ':'), allow_nan=False)}\n\n".encode()

"""The page's stream of server-sent events: the state twice a second, and rows once they are stored.

A browser is never sent more than it accepts: the stream is written only once earlier data has left, and then reads
from the bulletin, which forgets old rows in any case. A browser that is too slow misses rows, and is informed of the
gap; it costs no memory.
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
"""Rows per event: some 50 KB."""

STREAMS: Final = 64
"""Browsers at a time: thousands of streams that are neither read nor closed must not keep others out."""


@dataclass
class EventStreams:
    """The streams of all browsers.

    Args:
        run: identifies the numbering of rows; a browser with the numbers of another run starts from the beginning.
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
        """All rows after an event, for ever: from the first row still kept if this run has no such event."""
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
                    # A bulletin may hold thousands of rows; converting them must not block other streams.
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

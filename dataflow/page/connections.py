"""The page's connections: a client that asks nothing gives way, so that health and metrics always answer.

Uvicorn counts every open connection, and answers 503 when there are too many. Here a request has a deadline, and when
there are too many connections, the one that has been waiting for longest is closed.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS: Final = 256
"""Connections at a time: many more than there are streams, so that one of the others can always be closed."""

REQUEST_SECONDS: Final = 10.0
"""How long a client may take to send a request, from its connection or from the answer before."""

EVENTS: Final = "/events"
"""The address of the streams, whose answers have no end."""


class Connection(H11Protocol):
    """One connection of a client."""

    _since: float = 0.0
    _deadline: asyncio.TimerHandle | None = None

    @property
    def has_request(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_request()
        if len(self.connections) > CONNECTIONS:
            self._close_another()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._deadline is not None:
            self._deadline.cancel()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_request()

    def _await_request(self) -> None:
        self._since = self.loop.time()
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if not self.has_request:
            self.transport.abort()

    def _close_another(self) -> None:
        """Closes the connection that can be spared most: one without a request first, and never a stream."""
        others: set[Any] = self.connections - {self}
        spare = [each for each in others if not (each.has_request and each.scope["path"] == EVENTS)]
        min(spare, key=lambda each: (each.has_request, each._since)).transport.abort()

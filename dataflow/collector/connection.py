"""One connection: reads while it may, answers in order, and ends with a reason."""

import asyncio
import time
from typing import Final, Protocol

from dataflow.collector.committer import Received, Session, Settled
from dataflow.collector.protocol import ClientRefused, Hello, Intake, LinesSent
from dataflow.collector.settings import Settings

LINGER_SECONDS: Final = 1.0
"""How long a connection stays open so that its last answer arrives: closed at once, unread data would reset it."""

DISCARDED_BYTES: Final = 4 << 20
"""How much is read and discarded meanwhile."""

RETRY_SECONDS: Final = 0.02
"""How often it looks whether the last answer has been sent."""


class Host(Protocol):
    """What a connection needs of its collector."""

    settings: Settings
    clock: float
    own_share: int
    unread: "set[Connection]"
    unfinished: int

    def welcome(self, connection: "Connection") -> ClientRefused | None:
        """Accepts a connection, or returns why not."""

    def admit(self, connection: "Connection", hello: Hello) -> "ClientRefused | None":
        """Begins a session, or returns why not."""

    def submit(self, received: Received) -> None:
        """Passes lines to the log."""

    def forget(self, connection: "Connection") -> None:
        """Forgets a connection that is lost."""

    def note(self, refusal: ClientRefused, address: str) -> None:
        """Notes that a client was refused."""

    def bound_unread(self, connection: "Connection") -> None:
        """Ends connections that do not read their answers, if there are too many."""

    def bound_unfinished(self) -> None:
        """Ends connections with long lines that do not end, if there are too many."""


class Connection(asyncio.Protocol):
    """A client of the collector.

    The collector reads from it only while no reason to wait applies: too many bytes in flight, its own or those of all
    connections, or answers that the client does not read.
    """

    def __init__(self, collector: Host):
        self._collector = collector
        self._intake = Intake(collector.settings.max_line, greeted=collector.settings.token is not None)
        self._transport: asyncio.Transport
        self._session: Session | None = None
        self._pending_bytes = 0
        self._pending = 0  # submissions of lines or HELLO that are not yet settled
        self._waits: set[str] = set()
        self._eof = False
        self._farewell: bytes | None = None
        self._address = "?"
        self._finishing = False  # whether the last answer has been written
        self._discarded = 0
        self._unfinished = 0
        self._heard = self._line_begun = self._blocked = collector.clock

    @property
    def unfinished(self) -> int:
        """Bytes of the incomplete line."""
        return self._unfinished

    @property
    def unread(self) -> int:
        """Bytes of answers that the client has not read."""
        return self._transport.get_write_buffer_size()

    @property
    def source(self) -> str | None:
        """The source of its session."""
        return None if self._session is None else self._session.source

    # Events of the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._address = str((transport.get_extra_info("peername") or ("?",))[0])
        refusal = self._collector.welcome(self)
        if refusal is not None:
            self.leave(refusal)

    def data_received(self, data: bytes) -> None:
        if self._farewell is not None:
            self._discarded += len(data)
            if self._discarded > DISCARDED_BYTES:
                self._transport.abort()
            return
        self._heard = self._collector.clock
        for said in self._intake.receive(data):
            if isinstance(said, LinesSent):
                self._submit(said.data, said.count)
            elif isinstance(said, Hello):
                self._greet(said)
            else:
                self.leave(said)
            self._line_begun = self._collector.clock
        if self._farewell is not None:
            return
        if not self._unfinished:
            self._line_begun = self._collector.clock
        self._note_unfinished(self._intake.unfinished)
        if self._pending_bytes > self._collector.own_share:
            self.wait_for("own")

    def eof_received(self) -> bool:
        self._eof = True
        self._note_unfinished(0)  # a line without its newline is not a record
        if self._finishing:
            return False
        self._leave_when_answered()
        return True

    def pause_writing(self) -> None:
        self._blocked = self._collector.clock
        self.wait_for("answers")
        self._collector.bound_unread(self)

    def resume_writing(self) -> None:
        self._collector.unread.discard(self)
        self.resume("answers")

    def connection_lost(self, error: Exception | None) -> None:
        self._note_unfinished(0)
        self._farewell = self._farewell or b""
        self._collector.forget(self)

    # Calls by the collector

    def settled(self, answer: Settled) -> None:
        """Answers what has become durable."""
        self._pending -= answer.submissions
        self._pending_bytes -= answer.size
        if answer.count == 0 and answer.next is not None:
            self._write(b'READY {"next": %d}\n' % answer.next)
        else:
            self._write(b"OK\n" * answer.count if answer.next is None else b"OK %d\n" % answer.next)
        if self._pending_bytes <= self._collector.own_share // 2:
            self.resume("own")
        self._leave_when_answered()

    def wait_for(self, reason: str) -> None:
        """Stops reading until the reason is removed."""
        if self._finishing or self._transport.is_closing():
            return
        if not self._waits:
            self._transport.pause_reading()
        self._waits.add(reason)

    def resume(self, reason: str) -> None:
        """Removes a reason to wait."""
        if reason not in self._waits:
            return
        self._waits.discard(reason)
        if not self._waits:
            self._heard = self._line_begun = self._collector.clock
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def leave(self, refusal: ClientRefused | None) -> None:
        """Ends the connection, with a reason, once all that was received is answered."""
        if self._farewell is None:
            self._note_unfinished(0)
            self._farewell = b"" if refusal is None else refusal.line()
            if refusal is not None:
                self._collector.note(refusal, self._address)
            self.wait_for("the end")
            self._leave_when_answered()

    def abandon(self, refusal: ClientRefused) -> None:
        """Ends the connection with a reason, although not all that was received is answered."""
        self._pending = 0
        self.leave(refusal)
        self._leave_when_answered()

    def drop(self) -> None:
        """Ends the connection without a message, because the client reads none."""
        self._collector.note(ClientRefused("answers_unread", "it does not read its answers"), self._address)
        self._transport.abort()

    def look_at_the_clock(self) -> None:
        """Ends a connection that occupies a place without sending anything."""
        now, settings = self._collector.clock, self._collector.settings
        if self._farewell is not None:
            return
        if "answers" in self._waits and now - self._blocked > settings.idle_timeout.total_seconds():
            self.drop()
        elif self._waits or self._pending or self._eof:
            return
        elif self._unfinished and now - self._line_begun > settings.line_timeout.total_seconds():
            self.leave(ClientRefused("line_timeout", "a line was not completed in time"))
        elif now - self._heard > settings.idle_timeout.total_seconds():
            self.leave(ClientRefused("idle_timeout", "nothing was received for too long"))

    # Internal

    def _greet(self, hello: Hello) -> None:
        refusal = self._collector.admit(self, hello)
        if refusal is not None:
            self.leave(refusal)
            return
        self._session = Session(hello.source)
        self._submit(b"", 0)

    def _submit(self, data: bytes, count: int) -> None:
        self._pending += 1
        self._pending_bytes += len(data)
        self._collector.submit(Received(self, self._session, data, count, time.time_ns() // 1000))

    def _note_unfinished(self, size: int) -> None:
        if size != self._unfinished:
            self._collector.unfinished += size - self._unfinished
            self._unfinished = size
            self._collector.bound_unfinished()

    def _write(self, answer: bytes) -> None:
        if not self._finishing and not self._transport.is_closing():
            self._transport.write(answer)

    def _leave_when_answered(self) -> None:
        over = self._eof or self._farewell is not None
        if self._pending or self._finishing or not over or self._transport.is_closing():
            return
        self._farewell = self._farewell or b""
        self._write(self._farewell)
        self._finishing = True
        self._waits.clear()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)
        if self._eof:
            self._transport.close()
        else:
            self._say_end()

    def _say_end(self) -> None:
        if self.unread:  # the event loop would end the stream later, and log the failure if the client is gone then
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._say_end)
            return
        try:
            self._transport.write_eof()
        except OSError:  # the client is gone, which a connection that is not read from does not notice
            self._transport.abort()
        else:
            self._transport.resume_reading()

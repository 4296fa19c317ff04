"""The protocol: from the bytes of a connection to their meaning. Nothing here reads a socket or a clock.

A connection is plain, or a session if its first line begins with `HELLO `. The meaning does not depend on how the
network splits the bytes.
"""

import json
from dataclasses import dataclass
from typing import Final

PLAIN: Final = "plain"
"""The source of the lines of plain connections."""

GREETING: Final = b"HELLO "
LONGEST_SOURCE: Final = 200
LONGEST_HELLO: Final = 4096


@dataclass(frozen=True, slots=True)
class Hello:
    """The first line of a session."""

    source: str
    token: str | None


@dataclass(frozen=True, slots=True)
class LinesSent:
    """Whole lines, each with its newline."""

    data: bytes
    count: int


@dataclass(frozen=True, slots=True)
class ClientRefused:
    """Why a connection ends: one word, and a sentence."""

    reason: str
    detail: str

    def line(self) -> bytes:
        """The refusal as the last answer."""
        return f"ERR {self.reason} {self.detail}\n".encode()


Said = Hello | LinesSent | ClientRefused


class Intake:
    """The input of one connection, with its incomplete line.

    Args:
        max_line: the most bytes of a line, without its newline.
        greeted: whether the first line has to be a HELLO, because it carries the token.
    """

    __slots__ = ("_first", "_greeted", "_max_line", "_over", "_tail")

    def __init__(self, max_line: int, *, greeted: bool = False):
        self._max_line = max_line
        self._greeted = greeted
        self._tail = bytearray()
        self._first = True
        self._over = False

    @property
    def unfinished(self) -> int:
        """Bytes of the incomplete line."""
        return len(self._tail)

    def receive(self, data: bytes) -> list[Said]:
        """The messages that these bytes complete; none after a refusal."""
        if self._over:
            return []
        cut = data.rfind(b"\n") + 1
        said: list[Said] = []
        if cut:
            block = bytes(self._tail) + data[:cut] if self._tail else data[:cut]
            self._tail.clear()
            if self._first:
                block = self._open(block, said)
            if block and not self._over:
                self._take(block, said)
        if not self._over:
            if len(self._tail) + len(data) - cut > self._max_line:
                said.append(self._too_long())
            else:
                self._tail += data[cut:]
        return said

    def _open(self, block: bytes, said: list[Said]) -> bytes:
        """Reads the first line; returns the lines that are records."""
        self._first = False
        end = block.index(b"\n")
        if end > self._max_line:
            return block
        if block.startswith(GREETING):
            said.append(self._refuse(*read) if isinstance(read := _hello(block[:end]), tuple) else read)
            return block[end + 1 :]
        if self._greeted:
            said.append(self._refuse("token_needed", "the first line must be HELLO with a token"))
        return block

    def _take(self, block: bytes, said: list[Said]) -> None:
        if len(block) > self._max_line and (short := _shorter(block, self._max_line)) < len(block):
            if short:
                said.append(LinesSent(block[:short], block.count(b"\n", 0, short)))
            said.append(self._too_long())
            return
        said.append(LinesSent(block, block.count(b"\n")))

    def _too_long(self) -> ClientRefused:
        return self._refuse("line_too_long", f"a line has more than {self._max_line} bytes")

    def _refuse(self, reason: str, detail: str) -> ClientRefused:
        self._over = True
        self._tail = bytearray()
        return ClientRefused(reason, detail)


def _shorter(block: bytes, max_line: int) -> int:
    """Bytes of the lines before the first one that is too long."""
    begin = 0
    while begin < len(block):
        end = block.index(b"\n", begin)
        if end - begin > max_line:
            return begin
        # Jumps to the last line that ends within the length that one line may have.
        begin = block.rindex(b"\n", begin, begin + max_line + 1) + 1
    return begin


def _hello(line: bytes) -> Hello | tuple[str, str]:
    """The HELLO, or the reason and detail of its refusal."""
    if len(line) > LONGEST_HELLO:
        return "bad_hello", f"the line has more than {LONGEST_HELLO} bytes"
    try:
        fields = json.loads(line[len(GREETING) :].decode("utf-8"))  # bytes might be read as UTF-16
    except (ValueError, RecursionError):
        return "bad_hello", "HELLO must be followed by a JSON object"
    source, token = (fields.get("source"), fields.get("token")) if isinstance(fields, dict) else (None, None)
    if not isinstance(source, str) or not is_source(source):
        return "bad_hello", f"source must be a text of 1 to {LONGEST_SOURCE} printable characters, and not {PLAIN!r}"
    if token is not None and not isinstance(token, str):
        return "bad_hello", "token must be a text"
    return Hello(source, token)


def is_source(name: str) -> bool:
    """Whether a session may use this source.

    >>> is_source("gate 7"), is_source("plain"), is_source("")
    (True, False, False)
    """
    return 1 <= len(name) <= LONGEST_SOURCE and name.isprintable() and name != PLAIN

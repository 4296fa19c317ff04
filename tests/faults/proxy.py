"""A way to the collector that breaks: connections end after a number of bytes that the dice have chosen."""

import random
import socket
import struct
import threading
from collections import deque
from contextlib import suppress
from typing import Final

AT_ONCE: Final = 1 << 14
RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: the connection ends with a reset, and what was under way is gone."""


class Proxy:
    """Passes bytes on, and cuts connections within the HELLO, within a line, and within an answer.

    Args:
        to: the port of the collector.
        port: where it listens itself.
    """

    def __init__(self, port: int, to: int, dice: random.Random, cuts: int):
        self.cuts = 0
        self._to = to
        self._dice = dice
        # Of every two cuts one is within the HELLO or the first line, the other far behind it.
        budgets = [dice.randint(1, 120) if i % 2 == 0 else dice.randint(5_000, 150_000) for i in range(cuts)]
        self._budgets = deque(budgets)
        self._listener = socket.create_server(("127.0.0.1", port))
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._start(self._accept)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                client.close()
                continue
            self._open |= {client, server}
            budget = self._budgets.popleft() if self._budgets else None
            # Answers are cut, too, where few bytes are many of them.
            back = budget // 50 + 1 if budget is not None and self._dice.random() < 0.3 else None
            self._start(self._pass_on, client, server, None if back else budget)
            self._start(self._pass_on, server, client, back)

    def _pass_on(self, source: socket.socket, target: socket.socket, budget: int | None) -> None:
        try:
            while data := source.recv(AT_ONCE if budget is None else min(AT_ONCE, budget)):
                target.sendall(data)
                if budget is not None:
                    budget -= len(data)
                    if budget == 0:
                        self.cuts += 1
                        if self.cuts % 2:
                            target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                        break
        except OSError:
            pass
        self._end(source, target)

    def _end(self, *ends: socket.socket) -> None:
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        """Ends all connections and the listening."""
        self._end(self._listener, *self._open)
        for thread in self._threads:
            thread.join()

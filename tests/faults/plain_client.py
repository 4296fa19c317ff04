"""A client in plain mode that shuffles its lines, repeats some, and sends again what was not answered."""

import random
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

BURST: Final = 50
SHUFFLED: Final = 2_500
"""Lines that change places: at the pace of a case ten seconds of event time, far more than a job waits for."""

REPEATED_SHARE: Final = 0.05


class PlainClient(threading.Thread):
    """Sends lines until each is answered at least once.

    `sent` and `answered` count how often each line was.
    """

    def __init__(self, port: int, lines: Sequence[bytes], rate: float, dice: random.Random):
        super().__init__(name="plain client", daemon=True)
        self.sent: Counter[bytes] = Counter()
        self.answered: Counter[bytes] = Counter()
        self._port = port
        self._pause = BURST / rate
        again = dice.sample(list(lines), int(len(lines) * REPEATED_SHARE))
        order = list(lines)
        for line in again:
            order.insert(dice.randrange(len(order)), line)
        for begin in range(0, len(order), SHUFFLED):
            part = order[begin : begin + SHUFFLED]
            dice.shuffle(part)
            order[begin : begin + SHUFFLED] = part
        self._to_send = deque(order)

    def run(self) -> None:
        """Sends, over as many connections as it takes."""
        while self._to_send:
            waiting: deque[bytes] = deque()
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 10) as connection:
                self._converse(connection, waiting)
            self._to_send.extendleft(reversed(waiting))
            time.sleep(0.05)

    def _converse(self, connection: socket.socket, waiting: "deque[bytes]") -> None:
        heard = 0
        connection.settimeout(30)
        while self._to_send or waiting:
            burst = [self._to_send.popleft() for _ in range(min(BURST, len(self._to_send)))]
            waiting.extend(burst)
            self.sent.update(burst)
            if burst:
                connection.sendall(b"".join(line + b"\n" for line in burst))
                time.sleep(self._pause)
            if not burst or len(waiting) > 4 * BURST:
                data = connection.recv(1 << 12)
                if not data:
                    return
                if data.strip(b"OK\n"):
                    raise AssertionError(f"the collector answers {data!r}")
                heard += len(data)
                while heard >= 3:
                    self.answered[waiting.popleft()] += 1
                    heard -= 3

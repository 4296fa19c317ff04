"""Senders: processes that make records and send them in sessions."""

import random
import socket
import time
from collections import deque
from typing import Final

from dataflow.collector.client import Client

KEYS: Final = 1_000
_STENCIL_MS: Final = 1_111_111_111_111
_LINE: Final = b'{"sensor":"s%d","ts":%d,"feature":%d.%d,"target":%d.5}\n'


def lines(dice: random.Random, count: int, event_time_ms: int) -> bytes:
    """Records of one event time."""
    made = []
    for _ in range(count):
        key, a, b, c = dice.randrange(KEYS), *(dice.randrange(100) for _ in range(3))
        made.append(_LINE % (key, event_time_ms, a, b, c))
    return b"".join(made)


def flood(port: int, source: str, records: int, begin_at: float) -> None:
    """Sends as fast as it can, from a moment on; what it sends is made before, and sent ten times."""
    dice = random.Random(source)
    blocks = [lines(dice, 500, int(begin_at * 1000)) for _ in range(records // 5_000)] * 10
    time.sleep(max(begin_at - time.time(), 0))
    with Client("127.0.0.1", port, source) as client:
        for block in blocks:
            client.send_block(block, 500)


def stream(port: int, source: str, rate: int, seconds: float) -> None:
    """Sends at a rate, with event times up to 0.2 s before now."""
    dice = random.Random(source)
    began, sent = time.time(), 0
    step = max(rate // 100, 1)
    # Making lines costs more than sending them: a few stencils, in which the event time is replaced.
    stencils = [lines(dice, step, _STENCIL_MS) for _ in range(20)]
    with Client("127.0.0.1", port, source) as client:
        while (now := time.time()) - began < seconds:
            if sent >= (now - began) * rate:
                client.wait(0.005)
                continue
            event_time = int(now * 1000) - dice.randrange(200)
            client.send_block(dice.choice(stencils).replace(b"%d" % _STENCIL_MS, b"%d" % event_time), step)
            sent += step


def acknowledged(port: int, rate: int, seconds: float) -> list[float]:
    """Sends ten lines every so often in a session, and returns how long (s) each ten waited for their OK."""
    dice = random.Random(0)
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(b'HELLO {"source":"latency"}\n')
    connection.recv(100)
    connection.settimeout(0.0005)
    waiting: deque[tuple[int, float]] = deque()
    waits: list[float] = []
    total, sent, rest = int(rate * seconds / 10), 0, b""
    began = time.perf_counter()
    while sent < total or waiting:
        now = time.perf_counter()
        due = began + sent * 10 / rate
        if sent < total and now >= due:
            connection.sendall(lines(dice, 10, int(time.time() * 1000)))
            sent += 1
            waiting.append((sent * 10, due))
            continue
        try:
            *answers, rest = (rest + connection.recv(1 << 16)).split(b"\n")
        except TimeoutError:
            continue
        now = time.perf_counter()
        for answer in answers:
            number = int(answer.split()[1])
            while waiting and waiting[0][0] <= number:
                waits.append(now - waiting.popleft()[1])
    connection.close()
    return sorted(waits)

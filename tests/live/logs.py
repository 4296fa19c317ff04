"""Random logs: what a collector may have written, in a few dozen records."""

import json
from collections.abc import Sequence
from random import Random

from transforms.collection.log.file import Chunk, Run

SECOND = 1_000_000
BEGIN = 1_700_006_400 * SECOND
"""A midnight in UTC."""


Parts = Sequence[tuple[str, Sequence[bytes]]]


def chunk_after(log: Sequence[Chunk], received: int, elapsed: int, parts: Parts) -> Chunk:
    """The next chunk of a log: lines of sources, or none for a heartbeat."""
    first = log[-1].first + log[-1].count if log else 0
    runs = tuple(Run(source, received, len(lines)) for source, lines in parts)
    data = b"".join(line + b"\n" for _, lines in parts for line in lines)
    return Chunk(len(log) + 1, first, received, elapsed, runs, data)


def record(chance: Random, at: float, broken: float) -> bytes:
    """A record whose event time is about `at` (s), or something that is none."""
    if chance.random() < broken:
        return chance.choice([b"broken", b"", b"\xff\xfe", b'{"t": "soon"}', b'{"t": 1, "k": [1]}', b"[]"])
    at += chance.choice([0, 0, 0, -0.5, -1, -2, -3])
    if chance.random() < 0.12:
        at -= chance.choice([5, 8, 12, 25, 60, 90])
    if chance.random() < 0.03:
        at += 7200
    x = None if chance.random() < 0.06 else chance.randint(-5, 9)
    y = None if x is None else 2 * x + chance.randint(-1, 1)
    key = chance.choice(["a", "a", "b", "c", "ä", None])
    return json.dumps({"t": round(at, 3), "k": key, "x": x, "y": y}).encode()


def random_log(chance: Random, chunks: int) -> list[Chunk]:
    """A log of sources of different pace that fall silent and come back, of a collector that is started again."""
    log: list[Chunk] = []
    wall, elapsed = BEGIN / SECOND + chance.random() * 40, 0.0
    lag = {"s1": 0.0, "s2": chance.choice([0.0, 2.0, 15.0]), "s3": chance.choice([0.0, 4.0])}
    pace = {source: chance.choice([0.2, 0.6, 0.95]) for source in lag}
    broken = chance.choice([0.0, 0.0, 0.0, 0.1])
    silent = dict.fromkeys(lag, 0.0)
    if chance.random() < 0.5:
        del pace["s3"]
    while len(log) < chunks:
        step = chance.choice([0.3, 1.0, 2.0, 4.0])
        wall, elapsed = wall + step, elapsed + step
        if chance.random() < 0.06:  # no collector listened meanwhile, or the clock was set
            wall += chance.choice([-7.0, 20.0, 300.0])
        parts = []
        for source in sorted(pace, key=lambda _: chance.random()):
            if chance.random() < 0.05:
                silent[source] = elapsed + chance.choice([6.0, 15.0, 40.0])
            if elapsed < silent[source] or chance.random() > pace[source]:
                continue
            lines = [record(chance, wall - lag[source], broken) for _ in range(chance.randint(1, 4))]
            parts.append((source, lines))
            if chance.random() < 0.1:
                parts.append((source, [record(chance, wall, broken)]))
        log.append(chunk_after(log, int(wall * SECOND), int(elapsed * SECOND), parts))
        while chance.random() < 0.15 and len(log) < chunks:
            wall, elapsed = wall + 5, elapsed + 5
            log.append(chunk_after(log, int(wall * SECOND), int(elapsed * SECOND), []))
    return log

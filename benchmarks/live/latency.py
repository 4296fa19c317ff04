"""How long the rows of a window take: from the watermark passing its end to when they are there in SQLite."""

import math
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

from transforms.collection.log.reading import LogReader

Times = dict[float, float]
"""When something was first so (Unix time, s), by the end of a window."""


@contextmanager
def arrivals(*databases: Path, linger_s: float) -> Iterator[list[Times]]:
    """Notes when the rows of each window are first there, in the block and a while after it; one entry a database."""
    seen: list[Times] = [{} for _ in databases]
    done = threading.Event()
    watchers = [threading.Thread(target=_watch, args=(*pair, done)) for pair in zip(databases, seen, strict=True)]
    for watcher in watchers:
        watcher.start()
    try:
        yield seen
        time.sleep(linger_s)
    finally:
        done.set()
        for watcher in watchers:
            watcher.join()


def passings(log: str) -> Times:
    """When the chunk was durable that brought the watermark past each window's end."""
    passed: Times = {}
    greatest = 0
    with closing(LogReader(log)) as reader:
        for chunk in reader.chunks(reader.extent().first_chunk):
            for line in chunk.data.splitlines():
                start = line.index(b'"ts":') + 5
                greatest = max(greatest, int(line[start : line.index(b",", start)]))
            end = float((greatest - 1000) // 1000)
            passed.setdefault(end, chunk.received / 1e6)
    return passed


def waits(passed: Mapping[float, float], seen: Mapping[float, float]) -> list[float]:
    """How long (s) the rows of each window took, the shortest first; a window without rows took for ever.

    The last two windows are left out: the stream ends in them.
    """
    return sorted(seen.get(end, math.inf) - passed[end] for end in sorted(passed)[:-2])


def p50_p99(ordered: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th percentile of values in their order."""
    p50, p99 = (ordered[int(q * (len(ordered) - 1))] for q in (0.5, 0.99))
    return p50, p99


def _watch(database: Path, seen: Times, done: threading.Event) -> None:
    while not database.exists():
        if done.wait(0.05):
            return
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
        version = None
        while not done.wait(0.01):
            try:
                now = connection.execute("PRAGMA data_version").fetchone()
                if now == version:
                    continue
                version, at = now, time.time()
                newest = connection.execute("SELECT DISTINCT window_end FROM s ORDER BY 1 DESC LIMIT 5").fetchall()
            except sqlite3.Error:
                continue
            for (end,) in newest:
                seen.setdefault(datetime.fromisoformat(end).timestamp(), at)

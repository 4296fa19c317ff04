"""When rows of windows arrive, and what of it is latency."""

import math
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from benchmarks.live.latency import arrivals, p50_p99, waits

END = "2024-01-01T00:00:01+00:00"
END_S = 1_704_067_201.0


def test_rows_are_seen_when_they_are_there_in_whichever_database(tmp_path: Path) -> None:
    began = time.time()
    with arrivals(tmp_path / "a.db", tmp_path / "b.db", linger_s=0.5) as (a, b):
        with closing(sqlite3.connect(tmp_path / "a.db")) as connection, connection:
            connection.execute("CREATE TABLE s (window_end TEXT)")
            connection.execute("INSERT INTO s VALUES (?)", (END,))
        stored = time.time()
    assert list(a) == [END_S]
    assert began <= a[END_S] <= stored + 0.5
    assert b == {}, "it was not made"


def test_a_window_that_never_came_took_for_ever_and_the_last_two_do_not_count() -> None:
    passed = {4.0: 40.0, 1.0: 10.0, 2.0: 20.0, 3.0: 30.0, 5.0: 50.0}
    assert waits(passed, {2.0: 20.5, 1.0: 10.1, 5.0: 90.0}) == [10.1 - 10.0, 0.5, math.inf]


def test_percentiles_are_values_that_were_there() -> None:
    assert p50_p99(range(101)) == (50, 99)
    assert p50_p99([0.3]) == (0.3, 0.3)

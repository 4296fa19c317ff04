"""Live benchmarks: `python -m benchmarks.live [--only collector,rate,latency,soak,restart,bytewax] [--minutes 20]`.

Prints one table, with the disk's own rate of durable appends next to it. Targets are those of README; Bytewax has none.
"""

import argparse
import multiprocessing
import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from benchmarks.live.latency import arrivals, p50_p99, passings, waits
from benchmarks.live.peer import following, rate
from benchmarks.live.senders import acknowledged, flood, lines, stream
from benchmarks.live.stack import Stack, fsyncs_per_s
from benchmarks.targets import Row, print_table
from tests.waiting import Stuck, until
from transforms.collection.log.reading import LogReader

_SESSIONS: Final = 8
_processes: Final = multiprocessing.get_context("spawn")


def measure_collector(folder: Path) -> Iterator[Row]:
    """Durable records a second over eight sessions, and how long an acknowledgement takes at 10,000 a second."""
    records = 40_000_000
    with Stack(folder / "collector") as stack:
        begin_at = time.time() + 15
        with _running(flood, [(stack.port, f"s{n}", records // _SESSIONS, begin_at) for n in range(_SESSIONS)]):
            pass
        rate = records / (time.time() - begin_at)
        waited = acknowledged(stack.port, 10_000, 20.0)
    yield "collector, 8 pipelined sessions", "at least 100,000 a second", f"{rate:,.0f} records/s", rate >= 100_000
    p50, p99 = (1e3 * seconds for seconds in p50_p99(waited))
    yield "acknowledgement at 10,000 a second", "p99 under 50 ms", f"p50 {p50:.1f} ms, p99 {p99:.1f} ms", p99 < 50


def measure_rate(folder: Path) -> Iterator[Row]:
    """Whether the job keeps up with 300,000 rows/s, sent through the collector on the same two cores."""
    rate, seconds = 300_000, 60.0
    with Stack(folder / "rate", "10s") as stack:
        stack.follow()
        with _running(stream, [(stack.port, f"s{n}", rate // 2, seconds) for n in range(2)]):
            lags = [_lag(stack) for _ in _seconds(seconds)]
        end = _end(stack)
        behind = max(time.time() - stack.await_position(end), 0.0)
    sustained = end / seconds
    half = len(lags) // 2
    met = sustained >= 0.99 * rate and max(lags[half:]) <= max(lags[:half]) + rate
    figure = f"{sustained:,.0f} rows/s; at most {max(lags[half:]):,} waiting in the second half minute"
    yield "live job, 60 s", "sustains 300,000 rows/s", figure + f", caught up {behind:.1f} s ago", met


def measure_latency(folder: Path) -> Iterator[Row]:
    """From the watermark passing a window's end to its row in SQLite, at 10,000 rows/s."""
    seconds = 120.0
    with Stack(folder / "latency", "1s") as stack:
        stack.follow()
        with (
            arrivals(folder / "latency" / "figures.db", linger_s=2) as (seen,),
            _running(stream, [(stack.port, "s", 10_000, seconds)]),
        ):
            pass
        passed = passings(stack.log)
    waited = waits(passed, seen)
    p50, p99 = p50_p99(waited)
    figure = f"p50 {p50:.2f} s, p99 {p99:.2f} s over {len(waited)} windows"
    yield "watermark past a window's end to its row", "p50 under 0.3 s, p99 under 1 s", figure, p50 < 0.3 and p99 < 1


def measure_soak(folder: Path, minutes: float) -> Iterator[Row]:
    """Memory of every process, size of the log and lag, over a long stretch at 20,000 rows/s."""
    rate = 20_000
    with Stack(folder / "soak", "10s", ("--keep", "1m")) as stack:
        stack.follow()
        samples: list[dict[str, float]] = []
        with _running(stream, [(stack.port, "s", rate, 60 * minutes)]):
            for _ in _seconds(60 * minutes, every=5.0):
                log = sum(path.stat().st_size for path in Path(stack.log).glob("log.db*"))
                samples.append({**stack.resident(), "log": log, "lag": _lag(stack)})
    for name in samples[-1]:
        # The first quarter fills caches; what grows after it keeps growing.
        early, late = (_median(samples[a:b], name) for a, b in _quarters(len(samples)))
        if name == "lag":
            yield f"{minutes:g} minutes: lag", "flat", f"{early:,.0f} then {late:,.0f} rows", late <= early + rate
        else:
            figure = f"{early / 1e6:,.0f} then {late / 1e6:,.0f} MB"
            yield f"{minutes:g} minutes: {name}", "flat (1.1 x)", figure, late <= 1.1 * early + 8e6


def measure_restart(folder: Path) -> Iterator[Row]:
    """From the start after kill -9 to the first new row, with 10 M rows in the log."""
    with Stack(folder / "restart", "2s") as stack:
        begin_at = time.time() + 20
        with _running(flood, [(stack.port, f"s{n}", 5_000_000, begin_at) for n in range(2)]):
            pass
        stack.follow()
        stack.await_position(10_000_000, 120)
        with _running(stream, [(stack.port, "s0", 10_000, 40.0), (stack.port, "s1", 10_000, 40.0)]):
            time.sleep(15)
            stack.kill_follower()
            database = stack.folder / "figures.db"
            before = _newest_row(database) or ""
            began = time.monotonic()
            stack.follow()
            with suppress(Stuck):  # the figure says that it took too long
                until(lambda: _newest_row(database) or "", "a new row", lambda row: row > before, seconds=30)
            took = time.monotonic() - began
    yield "restart after kill -9, 10 M rows in the log", "first new row within 10 s", f"{took:.1f} s", took < 10


def measure_bytewax(folder: Path, environment: Path) -> Iterator[Row]:
    """What Bytewax does on the same stream: how much it can take in, and its latency at 10,000 rows/s next to ours."""
    seconds, rows = 60.0, 600_000
    now, dice = int(time.time() * 1000), random.Random(0)
    taken = rate(environment, folder / "bytewax-rate.db", [lines(dice, 1_000, now + n) for n in range(rows // 1_000)])
    yield "Bytewax: rows it takes in", "-", f"{taken:,.0f} rows/s", True
    with Stack(folder / "bytewax", "1s") as stack:
        with arrivals(*(stack.folder / f"{name}.db" for name in ("bytewax", "figures")), linger_s=2) as seen:
            stack.follow()
            with (
                following(stack.log, environment, stack.folder / "bytewax.db", 1.0),
                _running(stream, [(stack.port, "s", 10_000, seconds)]),
            ):
                pass
        begun = max(min(times.values()) for times in seen)  # what waited for one of them to start is not latency
        passed = {end: at for end, at in passings(stack.log).items() if at > begun}
    for title, times in zip(("Bytewax", "Streamgauge, next to it"), seen, strict=True):
        p50, p99 = p50_p99(waits(passed, times))
        yield f"{title}: past a window's end to its row", "-", f"p50 {p50:.2f} s, p99 {p99:.2f} s", True


@contextmanager
def _running(work: Callable[..., None], arguments: list[tuple[object, ...]]) -> Iterator[None]:
    """Runs senders during the body, and waits for them."""
    senders = [_processes.Process(target=work, args=given) for given in arguments]
    for sender in senders:
        sender.start()
    try:
        yield
        for sender in senders:
            sender.join()
    finally:
        for sender in senders:
            sender.kill()
    if any(sender.exitcode for sender in senders):
        raise RuntimeError("a sender failed")


def _seconds(total: float, every: float = 1.0) -> Iterator[float]:
    began = time.monotonic()
    while (passed := time.monotonic() - began) < total:
        yield passed
        time.sleep(every)


def _end(stack: Stack) -> int:
    with closing(LogReader(stack.log)) as reader:
        return reader.extent().end_position


def _lag(stack: Stack) -> int:
    """Records in the log after the newest checkpoint, which is up to two seconds old."""
    newest = stack.checkpoint()
    return _end(stack) - (int(newest["source"]["position"]) if newest else 0)


def _median(samples: list[dict[str, float]], name: str) -> float:
    values = sorted(sample[name] for sample in samples if name in sample)
    return values[len(values) // 2]


def _quarters(count: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (count // 4, count // 2), (3 * count // 4, count)


def _newest_row(database: Path) -> str | None:
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
            found: str | None = connection.execute("SELECT max(window_end) FROM s").fetchone()[0]
            return found
    except sqlite3.Error:
        return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    names = ("collector", "rate", "latency", "restart", "bytewax", "soak")
    parser.add_argument("--only", default=",".join(names), help=f"only these, of {', '.join(names)}")
    parser.add_argument("--minutes", type=float, default=20.0, help="how long the soak takes")
    peers = Path(__file__).resolve().parents[2] / "build" / "bench" / "peers"
    parser.add_argument(
        "--peers", type=Path, default=peers, metavar="VENV", help="where Bytewax is (build/bench/peers)"
    )
    asked = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="streamgauge-live-"))
    measures: dict[str, Callable[[Path], Iterator[Row]]] = {
        "collector": measure_collector,
        "rate": measure_rate,
        "latency": measure_latency,
        "restart": measure_restart,
        "bytewax": lambda folder: measure_bytewax(folder, asked.peers.absolute()),
        "soak": lambda folder: measure_soak(folder, asked.minutes),
    }
    try:
        print(f"# Live\n\n- The disk: {fsyncs_per_s(scratch):,.0f} durable appends of 4 KiB a second\n")
        all_met = print_table(row for name in asked.only.split(",") for row in measures[name](scratch))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0 if all_met else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""Runs one command and writes down what it cost: wall, CPU, peak memory.

usage: python -I -S stopwatch.py REPORT LIMIT_SECONDS COMMAND [ARGUMENT ...]

A script of its own, on the standard library alone, because it must be small: the kernel's peak for a child starts from
what its parent held when it forked, and the benchmark itself holds millions of events.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
SAMPLE_EVERY_S = 0.1  # a walk over the tree costs about 0.2 ms
ORPHANS_MAY_TAKE_S = 10.0  # a JVM whose launcher has left needs a second or two
BYTES_PER_MAXRSS = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes there, kilobytes on Linux


def adopt_orphans() -> None:
    """Makes this process the parent of what a launcher leaves behind, so that its CPU time is counted too."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(pid: int) -> list[int]:
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:  # it has ended, or this is not Linux
        return []
    found: list[int] = []
    for task in tasks:
        try:
            with open(f"/proc/{pid}/task/{task}/children") as listing:
                found += [int(child) for child in listing.read().split()]
        except OSError:  # the thread ended between the two looks
            continue
    return found


def descendants(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from descendants(child)


def resident_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as sizes:
            return int(sizes.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


class TreePeak:
    """The largest sum of resident memory seen over all descendants; pages they share count once for each."""

    def __init__(self) -> None:
        self.sum_bytes = 0
        self.processes = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self) -> None:
        while not self.stopped.wait(SAMPLE_EVERY_S):
            tree = list(descendants(os.getpid()))
            self.processes = max(self.processes, len(tree))
            self.sum_bytes = max(self.sum_bytes, sum(map(resident_bytes, tree)))


def kill_descendants() -> None:
    for pid in list(descendants(os.getpid())):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # it ended by itself
            continue


def abandon(number: int, frame: FrameType | None) -> None:
    """Leaves nothing running when the benchmark itself is interrupted."""
    kill_descendants()
    os._exit(128 + number)  # sys.exit would wait for the timers


def reap_orphans() -> None:
    """Waits for what the command left running, for a while; then ends it."""
    timer = threading.Timer(ORPHANS_MAY_TAKE_S, kill_descendants)
    timer.start()
    try:
        while True:
            os.wait()
    except ChildProcessError:  # none is left
        timer.cancel()


def timed(command: list[str], limit_s: float) -> dict[str, float | int | bool]:
    adopt_orphans()
    peak = TreePeak()
    peak.thread.start()
    expired = threading.Event()
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    timer = threading.Timer(limit_s, in_order(expired.set, kill_descendants))
    timer.start()
    _, status = os.waitpid(process.pid, 0)
    wall_s = time.perf_counter() - begin
    timer.cancel()
    peak.stopped.set()
    reap_orphans()
    tree = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "wall_s": wall_s,
        "cpu_s": tree.ru_utime + tree.ru_stime,
        # The kernel's figure is exact, but of the largest process only; the sum is sampled.
        "peak_bytes": max(tree.ru_maxrss * BYTES_PER_MAXRSS, peak.sum_bytes),
        "processes": max(peak.processes, 1),
        "exit_code": os.waitstatus_to_exitcode(status),
        "timed_out": expired.is_set(),
    }


def in_order(*actions: Callable[[], None]) -> Callable[[], None]:
    def act() -> None:
        for action in actions:
            action()

    return act


def main() -> None:
    report, limit_s, *command = sys.argv[1:]
    signal.signal(signal.SIGTERM, abandon)
    signal.signal(signal.SIGINT, abandon)
    cost = timed(command, float(limit_s))
    with open(report, "w") as out:
        json.dump(cost, out)


if __name__ == "__main__":
    main()

"""The threads of a process: one pool for every kernel, so that stages never overload the cores."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    """This process's pool with this many threads; its tasks must not wait for each other."""
    return ThreadPoolExecutor(threads, "kernel")


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

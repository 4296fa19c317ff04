"""The threads of a process: one pool for every kernel, so that stages never overload the cores."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    """This process's pool with this many threads; its tasks must not wait for each other."""
    return ThreadPoolExecutor(threads, "kernel")

"""The threads of a process: one pool for every kernel, so that stages never crowd the cores."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    """The pool of this process with so many threads; tasks in it must not wait for other tasks in it."""
    return ThreadPoolExecutor(threads, "kernel")

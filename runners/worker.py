"""A worker process of the local runner: Beam's own, without its log and its repeated reports of a failure.

A failure in a worker is raised again where the pipeline runs, and is reported there in one sentence.
"""

import logging
import os
import sys
import threading
import time
from importlib import import_module
from typing import NoReturn


def quieten() -> None:
    """Keeps Beam in this process from writing to stderr what the runner learns anyway."""
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL + 1)
    # These modules print tracebacks and lost connections at any log level: replace their `print`.
    for name in ("sdk_worker", "log_handler"):
        module = import_module(f"apache_beam.runners.worker.{name}")
        setattr(module, "print", lambda *_, **__: None)  # noqa: B010  # mypy: a module has no such attribute


def main(runner: int) -> NoReturn:
    """Serves the runner that the environment names, process `runner`, until it finishes or disappears."""
    logging.disable(logging.WARNING)  # importing Beam without the gcp extra warns on the root logger
    quieten()
    threading.Thread(target=_end_with, args=(runner,), daemon=True).start()
    # When the runner disappears, Beam's threads fail one by one at reading from it.
    threading.excepthook = lambda _: None
    try:
        import_module("apache_beam.runners.worker.sdk_worker_main").main([])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Threads may be within a bundle whose result is no longer needed, and the engine reports errors if torn down.
        os._exit(0)


def _end_with(runner: int) -> None:
    """Ends this process when the runner's is gone: a worker that has just started would wait for ever."""
    while os.getppid() == runner:
        time.sleep(0.5)
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))

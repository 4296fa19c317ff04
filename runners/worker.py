"""A worker process of the local runner: Beam's own, without its log and without its second telling of a failure.

What fails in a worker is raised again where the pipeline runs, and is told there in one sentence.
"""

import logging
import os
import sys
import threading
import time
from importlib import import_module
from typing import NoReturn


def quieten() -> None:
    """Keeps this process's Beam from writing to stderr what the runner is told anyway."""
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL + 1)
    # These print tracebacks and lost connections, whatever the log level: they get a `print` of their own.
    for name in ("sdk_worker", "log_handler"):
        module = import_module(f"apache_beam.runners.worker.{name}")
        setattr(module, "print", lambda *_, **__: None)  # noqa: B010  # mypy: a module has no such attribute


def main(runner: int) -> NoReturn:
    """Serves the runner that the environment names and that is the process `runner`, until it is done or gone."""
    logging.disable(logging.WARNING)  # importing Beam without the gcp extra warns on the root logger
    quieten()
    threading.Thread(target=_end_with, args=(runner,), daemon=True).start()
    # When the runner goes, Beam's threads fail one by one at reading from it.
    threading.excepthook = lambda _: None
    try:
        import_module("apache_beam.runners.worker.sdk_worker_main").main([])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Threads may be in the middle of a bundle that nobody waits for, and the engine complains if it is torn down.
        os._exit(0)


def _end_with(runner: int) -> None:
    """Ends this process when the runner's is gone: one that had just started would wait for its call for ever."""
    while os.getppid() == runner:
        time.sleep(0.5)
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))

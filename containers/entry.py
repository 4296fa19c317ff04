"""Selects what a container of the image does by its arguments: a Beam worker, a pool of workers, or a command of ours.

Beam calls an image with flags of its boot program (`--id=… --provision_endpoint=…`, `--worker_pool`); `pool` is our
own pool, which listens on a given address; everything else is `python -m dataflow.main`. This process is replaced by
the one that does the work, so that it receives the engine's signals.
"""

import os
import sys
from collections.abc import Sequence
from typing import Final

BOOT: Final = "/opt/apache/beam/boot"
POOL: Final = "pool"
_BOOT_FLAGS: Final = frozenset(
    {
        *("id", "provision_endpoint", "control_endpoint", "logging_endpoint", "artifact_endpoint"),
        *("semi_persist_dir", "setup_only", "artifacts", "worker_pool"),
    }
)


def command(arguments: Sequence[str]) -> list[str]:
    """The program to become, and its arguments.

    >>> command(["--worker_pool"])
    ['/opt/apache/beam/boot', '--worker_pool']
    >>> command(["--id=1-1", "--provision_endpoint=localhost:4444"])[0]
    '/opt/apache/beam/boot'
    >>> command(["pool", "--listen", "127.0.0.1:50000"])[1:]
    ['-m', 'runners.pool', '--listen', '127.0.0.1:50000']
    >>> command(["--job=job.yaml", "--runner=FlinkRunner"])[1:]
    ['-m', 'dataflow.main', '--job=job.yaml', '--runner=FlinkRunner']
    """
    first = arguments[0] if arguments else "--help"
    if first.startswith("-") and first.lstrip("-").partition("=")[0] in _BOOT_FLAGS:
        return [BOOT, *arguments]
    if first == POOL:
        return [sys.executable, "-m", "runners.pool", *arguments[1:]]
    return [sys.executable, "-m", "dataflow.main", *(arguments or [first])]


def main() -> None:
    """The entry point of the image."""
    program, *arguments = command(sys.argv[1:])
    os.execv(program, [program, *arguments])


if __name__ == "__main__":
    main()

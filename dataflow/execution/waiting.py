"""A live job that starts before its source exists: it waits, and says so."""

import os
import time
from collections.abc import Callable
from typing import Final

from dataflow.job.plan import Job
from transforms.storage.checkpoint.folder import MANIFEST

_PAUSE_SECONDS: Final = 0.2


def wait_for_source(job: Job, say: Callable[[str], None]) -> None:
    """Waits until the source of a job that has never read it exists; Ctrl-C and SIGTERM end the wait.

    For a job that has already read its source, a missing source is an error.
    """
    said = False
    while not os.path.exists(f"{job.state}/{MANIFEST}") and (why := job.source.missing()):
        if not said:
            say(f"waiting: {why}")
            said = True
        time.sleep(_PAUSE_SECONDS)

"""A live job that starts before its source exists: it waits, and says so."""

import os
import time
from collections.abc import Callable
from typing import Final

from dataflow.job.plan import Job
from transforms.collection.log.writer import LogReader
from transforms.errors import LogMissing
from transforms.storage.checkpoint.folder import MANIFEST

_PAUSE_SECONDS: Final = 0.2


def wait_for_source(job: Job, say: Callable[[str], None]) -> None:
    """Waits until the log that a job reads exists, if the job has never read it; Ctrl-C and SIGTERM end the wait.

    For a job that has already read a log, a missing log is an error.
    """
    log, said = job.spec.source.log, False
    while log is not None and not os.path.exists(f"{job.state}/{MANIFEST}"):
        try:
            LogReader(log.path).close()
        except LogMissing as error:
            if not said:
                say(f"waiting: {error}")
                said = True
            time.sleep(_PAUSE_SECONDS)
        else:
            return

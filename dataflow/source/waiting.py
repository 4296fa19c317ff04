"""A live job that is started before its source is there: it waits, and says so."""

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
    """Waits until there is the log that a job reads, if it has never read it; Ctrl-C and SIGTERM end that, too.

    A job that has read a log already does not take it that its log is not there yet.
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

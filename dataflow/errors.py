"""Every failure that is not a bug, and the exit code it ends in.

JobFileError    2  the job file or a `--set` is wrong
  JobRunning    2  the same job runs already
  WrongFlags    2  a flag that neither we nor Beam understand
SourceError     2  the input is not there or cannot be read
InferenceError  2  `init` cannot make a job of the data
UsageError      2  the command line asks for what cannot be
Refused         2  the doctor refuses
StateRefused    2  a live job's state is another job's, or nothing can go on from it
SinkError       1  a sink cannot be written
JobFailed       1  anything else that ended a run
"""

from dataflow.execution.bounded import JobFailed
from dataflow.inference import InferenceError
from dataflow.job.document import JobFileError
from transforms.collection.files.ranges import SourceError
from transforms.storage.checkpoint.folder import StateRefused
from transforms.storage.error import SinkError


class UsageError(Exception):
    """A command line that asks for what cannot be."""


class Refused(Exception):
    """The doctor refuses a job, and says why."""


def exit_code(error: Exception) -> int | None:
    """The exit code for a failure; None: it is a bug."""
    if isinstance(error, StateRefused | JobFileError | SourceError | InferenceError | UsageError | Refused):
        return 2
    if isinstance(error, SinkError | JobFailed):
        return 1
    return None

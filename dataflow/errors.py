"""Every failure of jobs and commands that is not a bug, and the exit code that a command ends with.

Failure (transforms.errors)
├─ JobFileError     2  a job file or a `--set` is wrong
│  ├─ JobRunning       the same job runs already
│  └─ WrongFlags       a flag that neither this program nor Beam understands
├─ InferenceError   2  `init` cannot make a job of the data
├─ UsageError       2  the command line asks for something impossible
├─ Refused          2  the job cannot run as asked
├─ JobFailed        1  anything else that ended a run
│  └─ RunnerFailed     the program below the job failed
└─ SourceError 2, LogError 2, SinkError 1, StateRefused 2: those of the stages
"""

from collections.abc import Sequence

from dataflow.job.problem import Problem
from transforms.errors import Failure


class JobFileError(Failure):
    """A job file that cannot be used; the message has one line for each problem."""

    exit_code = 2

    def __init__(self, lines: Sequence[str], problems: Sequence[Problem] = ()):
        super().__init__("\n".join(map(_on_one_line, lines)))
        self.problems = tuple(problems)


class JobRunning(JobFileError):
    """The same job is running already."""


class WrongFlags(JobFileError):
    """Flags after the job that neither this program nor Beam understands."""


class InferenceError(Failure):
    """No job file can be written for these files; the message is one sentence that names the file and the reason."""

    exit_code = 2


class UsageError(Failure):
    """A command line that asks for something impossible."""

    exit_code = 2


class Refused(Failure):
    """The job cannot run as asked; the message says why."""

    exit_code = 2


class JobFailed(Failure):
    """A job that could not finish, with one clear message."""


class RunnerFailed(JobFailed):
    """The program below the job failed by its own fault, or was killed."""


def exit_code(error: Exception) -> int | None:
    """The exit code for a failure; None: it is a bug."""
    return error.exit_code if isinstance(error, Failure) else None


def _on_one_line(text: str) -> str:
    """A text without line ends and control characters; names can contain them, and terminals obey them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

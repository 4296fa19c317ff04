"""Every failure of jobs and commands that is not a bug, and the exit code that a command ends with.

Failure (transforms.errors)
├─ JobFileError     2  a job file or a `--set` is wrong
│  ├─ JobRunning       the same job runs already
│  └─ WrongFlags       a flag that neither we nor Beam understand
├─ InferenceError   2  `init` cannot make a job of the data
├─ UsageError       2  the command line asks for what cannot be
├─ Refused          2  `check` refuses
├─ JobFailed        1  anything else that ended a run
│  └─ RunnerFailed     the program below the job failed
└─ SourceError 2, LogError 2, SinkError 1, StateRefused 2: those of the stages
"""

from collections.abc import Sequence

from dataflow.job.problem import Problem
from transforms.errors import Failure


class JobFileError(Failure):
    """A job file that cannot be used, with everything that is wrong with it: one line a problem."""

    exit_code = 2

    def __init__(self, lines: Sequence[str], problems: Sequence[Problem] = ()):
        super().__init__("\n".join(map(_on_one_line, lines)))
        self.problems = tuple(problems)


class JobRunning(JobFileError):
    """The same job is running already."""


class WrongFlags(JobFileError):
    """Flags after the job that nothing understands."""


class InferenceError(Failure):
    """No job file can be written for these files; the message is one sentence that names the file and the reason."""

    exit_code = 2


class UsageError(Failure):
    """A command line that asks for what cannot be."""

    exit_code = 2


class Refused(Failure):
    """`check` refuses a job, and says why."""

    exit_code = 2


class JobFailed(Failure):
    """A job that could not finish, with one clear message."""


class RunnerFailed(JobFailed):
    """The program below the job failed: a fault of its own, or it was killed."""


def exit_code(error: Exception) -> int | None:
    """The exit code for a failure; None: it is a bug."""
    return error.exit_code if isinstance(error, Failure) else None


def _on_one_line(text: str) -> str:
    """A text without line ends and control characters, which a name may hold and a terminal would act on."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

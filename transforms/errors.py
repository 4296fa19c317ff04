"""Every failure of the stages that is not a bug; `dataflow.errors` adds the failures of jobs and commands.

Failure                   caught where a command ends, which exits with its code
├─ SourceError         2  a source cannot be read
├─ LogError            2  a log cannot be used; also an OSError
│  ├─ LogMissing          there is no log yet
│  ├─ LogOther            it is not the log that was read so far
│  ├─ LogLost             its files were removed or replaced while they were open
│  └─ LogDamaged          its content is not what was written
└─ SinkError           1  a sink cannot be used or written
   ├─ SqlSinkError        the sink is a database
   ├─ TableLost           what a live job has stored is gone or damaged; for databases SqlTableGone
   ├─ TakenOver           another launch or attempt may now write; for databases SqlOvertaken, for topics KafkaFenced
   ├─ NotShared           a worker's state folder is not the launch's
   └─ StateRefused     2  the state of a live job does not fit the job
      └─ CheckpointDamaged
"""

from typing import ClassVar


class Failure(Exception):
    """A failure that is not a bug, in one message for users.

    `exit_code` is the code of a command that ends with it. `is_final` says that a retry cannot help.
    """

    exit_code: ClassVar[int] = 1
    is_final: ClassVar[bool] = False


def failures() -> dict[str, type[Failure]]:
    """The classes of failures by name; the text of a worker's failure contains the name."""
    found, kinds = {}, [Failure]
    while kinds:
        kind = kinds.pop()
        found[kind.__name__] = kind
        kinds += kind.__subclasses__()
    return found


class SourceError(Failure):
    """A source that cannot be read: missing, empty glob, no permission, wrong format, cut short, or changed."""

    exit_code = 2


class LogError(Failure, OSError):
    """A log that cannot be used, with one clear message."""

    exit_code = 2

    def __str__(self) -> str:
        return str(self.args[0])


class LogMissing(LogError):
    """There is no log yet."""


class LogOther(LogError):
    """The log is not the log that was read so far."""


class LogLost(LogError):
    """The log's files were removed or replaced while they were open."""


class LogDamaged(LogError):
    """The content of the log is not what was written to it."""


class SinkError(Failure):
    """A sink cannot be used or written: which one, and the system's error."""


class TableLost(SinkError):
    """What a live job has stored is gone or damaged: another program or the disk is the cause."""

    is_final = True


class TakenOver(SinkError):
    """Another launch or attempt of the job has taken over its state: this one is outdated and must not write it."""

    is_final = True


class KafkaFenced(TakenOver):
    """Another run of the same job has taken over the topics: this one must end."""


class NotShared(SinkError):
    """A worker's state folder is not the folder of the process that launched the job, although the path is the same."""

    is_final = True


class StateRefused(SinkError):
    """A state folder that does not fit the job; the message says what to do about it."""

    exit_code = 2
    is_final = True


class CheckpointDamaged(StateRefused):
    """A checkpoint whose file differs from what was written."""


class SqlSinkError(SinkError):
    """A SQL sink cannot be used: names the URL without its password, the table, and the error."""


class SqlOvertaken(SqlSinkError, TakenOver):
    """Another launch of a live job may now write the tables."""


class SqlTableGone(SqlSinkError, TableLost):
    """A table that a live job has written no longer exists."""

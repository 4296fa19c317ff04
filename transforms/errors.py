"""Every failure of the stages that is not a bug; `dataflow.errors` adds those of jobs and commands.

Failure                   what is caught where a command ends, with its exit code
├─ SourceError         2  a source cannot be read
├─ LogError            2  a log cannot be used; an OSError, too
│  ├─ LogMissing          there is none yet
│  ├─ LogOther            it is not the one that was read so far
│  ├─ LogLost             its files were removed or replaced while they were open
│  └─ LogDamaged          it does not hold what was written to it
└─ SinkError           1  a sink cannot be used or written
   ├─ SqlSinkError        one that is a database
   ├─ TableLost           what a live job has stored is gone or damaged; of databases SqlTableGone
   ├─ TakenOver           another launch or attempt may write by now; of databases SqlOvertaken, of topics KafkaFenced
   ├─ NotShared           a worker's state folder is not the launch's
   └─ StateRefused     2  a live job's state does not fit it
      └─ CheckpointDamaged
"""

from typing import ClassVar


class Failure(Exception):
    """Something that is not a bug, in one message for people.

    `exit_code` is that of a command that ends with it. `is_final` says that trying again cannot help.
    """

    exit_code: ClassVar[int] = 1
    is_final: ClassVar[bool] = False


def failures() -> dict[str, type[Failure]]:
    """The classes of failures by their names, which a worker's text has."""
    found, kinds = {}, [Failure]
    while kinds:
        kind = kinds.pop()
        found[kind.__name__] = kind
        kinds += kind.__subclasses__()
    return found


class SourceError(Failure):
    """A source that cannot be read: no such file, an empty glob, no permission, not the format, cut short, changed."""

    exit_code = 2


class LogError(Failure, OSError):
    """A log that cannot be used, with one clear message."""

    exit_code = 2

    def __str__(self) -> str:
        return str(self.args[0])


class LogMissing(LogError):
    """There is no log yet."""


class LogOther(LogError):
    """A log is not the one that was read so far."""


class LogLost(LogError):
    """The log's files were removed or replaced while they were open."""


class LogDamaged(LogError):
    """What the log holds is not what was written to it."""


class SinkError(Failure):
    """A sink cannot be used or written: which one, and what the system says."""


class TableLost(SinkError):
    """What a live job has stored is gone, or is damaged: another program, or a disk, did it."""

    is_final = True


class TakenOver(SinkError):
    """Another launch or attempt of the job goes on with its state: this one, left over, must not write it."""

    is_final = True


class KafkaFenced(TakenOver):
    """Another run of the same job has taken the topics over: this one must end."""


class NotShared(SinkError):
    """A worker's state folder is another than that of who launched the job, at the same path."""

    is_final = True


class StateRefused(SinkError):
    """A state folder that does not fit the job, with what to do about it."""

    exit_code = 2
    is_final = True


class CheckpointDamaged(StateRefused):
    """A checkpoint whose file is not what was written."""


class SqlSinkError(SinkError):
    """A SQL sink cannot be used: names the url without its password, the table, and what went wrong."""


class SqlOvertaken(SqlSinkError, TakenOver):
    """Another launch of a live job may write the tables by now."""


class SqlTableGone(SqlSinkError, TableLost):
    """A table that a live job has written is not there any more."""

"""The collector's log as a source: where it is, and how much of it stays."""

from datetime import timedelta

from pydantic import Field

from transforms.specification import Duration, Spec


class LogSpec(Spec):
    """The collector's durable log: read to its present end, or for ever with `--streaming`.

    `path` is the log's folder, relative to the job file. `retain` is how far back, at least, `verify` can replay the
    log; the collector keeps that much of it, whatever its own `--keep` says.
    """

    path: str = Field(min_length=1)
    retain: Duration = timedelta(hours=1)


class LogSourceSpec(Spec):
    """The collector's log, as the job file writes it."""

    log: LogSpec

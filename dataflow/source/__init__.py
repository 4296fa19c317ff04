"""The sources that can be followed."""

from dataflow.job.plan import Job
from dataflow.source.kafka import KafkaSource
from dataflow.source.live import LiveSource
from dataflow.source.log import LogSource


def source_of(job: Job) -> LiveSource:
    """The endless source of a job; every live job has one."""
    return LogSource(job) if job.spec.source.log is not None else KafkaSource(job)

"""`flink status`, `list`, `savepoint`, `stop`, `cancel`: reports on a job on a cluster, and ends it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import click

from dataflow.commands.flink.start import drain_job
from dataflow.commands.load import load_job
from dataflow.commands.options import say_of
from dataflow.errors import JobFailed, Refused
from dataflow.execution.bounded import held, quieten
from dataflow.execution.checkpoints import checkpoint_folder
from dataflow.execution.submission import Submission
from dataflow.job.plan import Job
from transforms.time.event_time import as_text

if TYPE_CHECKING:
    from runners.flink_rest import Flink

SAVEPOINT_SECONDS: Final = 300.0
END_SECONDS: Final = 120.0
LARGE_BYTES: Final = 512 << 20
"""Checkpoints of the cluster that are larger than this are reported."""

STALE: Final = 6
"""A pause of more than this many checkpoint intervals is reported."""


@dataclass(frozen=True)
class RunningJob:
    """A job that runs on a cluster."""

    record: Submission
    flink: "Flink"


@contextmanager
def flink_failures() -> Iterator[None]:
    """Turns errors of a cluster into failures of a command."""
    from runners.flags import FlagError
    from runners.flink_rest import FlinkError, FlinkJobFailed, SavepointUnfit

    try:
        yield
    except SavepointUnfit as error:
        raise Refused(f"flink: the savepoint is not one of this job: {error}") from None
    except FlinkJobFailed as error:
        raise JobFailed(str(error)) from None
    except (FlinkError, FlagError) as error:
        raise Refused(f"flink: {error}") from None


def submitted(job: Job) -> Submission:
    """The record of a job that was submitted to a cluster.

    Raises:
        Refused: if it was never submitted.
    """
    record = Submission.read(job.state)
    if record is None:
        raise Refused(f"{job.state}: this job was never submitted to Flink; `flink submit` does that")
    return record


def placed(job: Job) -> RunningJob:
    """A job and the cluster that it runs on.

    Raises:
        Refused: if it is not running.
    """
    from runners.flink_rest import ENDED, Flink, NoSuchJob

    record = submitted(job)
    flink = Flink(record.cluster)
    try:
        state = flink.state(record.job)
    except NoSuchJob:
        state = "unknown there"
    if state in ENDED or state == "unknown there":
        raise Refused(
            f"{job.spec.job} is not running: {record.job} is {state} at {record.cluster}; `flink resume` resumes it"
            " from a savepoint or from its own checkpoint"
        )
    return RunningJob(record, flink)


def complete(job: Job) -> Submission:
    """The record of a job, with savepoints that only its cluster knows: a command may have been killed after it took
    a savepoint and before it recorded it.

    Raises:
        Refused: if it was never submitted.
    """
    from dataflow.execution.restore import standing_of
    from runners.flink_rest import Flink, FlinkError, NoSuchJob

    record = submitted(job)
    root = checkpoint_folder(job).root()
    try:
        taken = Flink(record.cluster).savepoints(record.job)
    except (FlinkError, NoSuchJob):  # the cluster may be gone: then the record is all that is known
        return record
    for path, at in taken:
        if record.savepoint_at(path) is None:
            # Where the job stood is known unless another launch has resumed it since.
            is_here = root is not None and root.launch == record.launch
            record = record.with_savepoint(path, standing_of(job) if is_here else None, at)
            say_of(job.spec.job)(f"the cluster has a savepoint that was not recorded: {path}")
    record.write(job.state)
    return record


def take_savepoint(path: str, settings: Sequence[str], folder: str | None) -> int:
    """Takes a savepoint of a job, which keeps running."""
    from dataflow.execution.restore import standing_of

    quieten()
    job = load_job(path, settings)
    with flink_failures(), held(job.state):
        at, began = placed(job), time.monotonic()
        location = at.flink.savepoint(at.record.job, folder, SAVEPOINT_SECONDS)
        at.record.with_savepoint(location, standing_of(job)).write(job.state)
        say_of(job.spec.job)(f"savepoint {location}, in {time.monotonic() - began:.1f} s")
    return 0


def stop_job(path: str, settings: Sequence[str], folder: str | None, *, drain: bool) -> int:
    """Stops a job with a savepoint; or closes all of its windows, after which it cannot resume."""
    quieten()
    job = load_job(path, settings)
    with flink_failures(), held(job.state):
        at = placed(job)
        if drain:
            job = load_job(path, (*at.record.settings, *settings))
            cancel(job, at)
            drain_job(job, at.record)
            say_of(job.spec.job)("drained: every window is closed")
        else:
            stop_at_savepoint(job, at, folder)
    return 0


def cancel_job(path: str, settings: Sequence[str]) -> int:
    """Ends a job at once; it can resume from its own checkpoint."""
    quieten()
    job = load_job(path, settings)
    with flink_failures(), held(job.state):
        at = placed(job)
        cancel(job, at)
    return 0


def cancel(job: Job, at: RunningJob) -> None:
    """Ends a job on its cluster; the next launch repeats the work after the job's own last checkpoint."""
    at.flink.cancel(at.record.job, END_SECONDS)
    say_of(job.spec.job)("cancelled; it will resume from its own last checkpoint")


def stop_at_savepoint(job: Job, at: RunningJob, folder: str | None = None) -> Submission:
    """Stops a job with a savepoint, and records that."""
    from dataflow.execution.restore import standing_of

    began = time.monotonic()
    location = at.flink.stop(at.record.job, folder, SAVEPOINT_SECONDS)
    record = at.record.with_savepoint(location, standing_of(job))
    record.write(job.state)
    say_of(job.spec.job)(f"stopped at savepoint {location}, in {time.monotonic() - began:.1f} s")
    return record


def list_jobs(address: str) -> int:
    """Lists every job of a cluster."""
    from runners.flink_rest import Flink

    with flink_failures():
        flink = Flink(address)
        found = flink.overview()
        click.echo(f"Flink {found.version} at {address}: {found.free} of {found.slots} slots free")
        for job in sorted(flink.jobs(), key=lambda job: -job["start-time"]):
            click.echo(f"  {job['jid']}  {job['state']:10}  {_age(job['duration'] / 1e3):>8}  {job['name']}")
    return 0


def show_status(path: str, settings: Sequence[str]) -> int:
    """Prints the state of a job, its checkpoints, lag, restarts and last failure."""
    from runners.flink_rest import ENDED, Flink, NoSuchJob

    quieten()
    job = load_job(path, settings)
    record = submitted(job)
    with flink_failures():
        flink = Flink(record.cluster)
        flink.overview()
        try:
            state = flink.state(record.job)
        except NoSuchJob:
            state = "unknown to the cluster"
        click.echo(f"{job.spec.job}: {state}, {record.job} on Flink at {record.cluster}")
        click.echo(f"  parallelism   {record.parallelism}, submitted {record.submitted}")
        if not state.startswith("unknown"):
            _show_cluster(flink, record)
        _show_progress(job, record, runs=state not in ENDED and not state.startswith("unknown"))
        root = checkpoint_folder(job).root()
        for savepoint in record.savepoints[-3:]:
            is_left = root is not None and savepoint.is_abandoned(root.line)
            click.echo(f"  savepoint     {savepoint.path}, {savepoint.taken}" + (", abandoned" if is_left else ""))
    return 0


def _show_cluster(flink: "Flink", record: Submission) -> None:
    found = flink.checkpoints(record.job)
    counts, latest = found["counts"], found["latest"]["completed"]
    summary = f"{counts['completed']} completed, {counts['failed']} failed"
    if latest:
        age = time.time() - latest["latest_ack_timestamp"] / 1e3
        summary += f"; the last {_size(latest['state_size'])}, {_age(age)} ago, took {latest['end_to_end_duration']} ms"
    click.echo(f"  checkpoints   {summary}")
    if (growth := growth_of(found["history"])) > 0:
        click.echo(f"  growth        {_size(growth)} a day, by the last {len(found['history'])} checkpoints")
    if latest and latest["state_size"] > LARGE_BYTES:
        click.echo("  note          the cluster's state has grown large: `flink compact` replaces it")
    click.echo(f"  restarts      {flink.restarts(record.job)}")
    failure = flink.failure(record.job)
    if failure:
        click.echo(f"  last failure  {_age(time.time() - failure[0])} ago: {failure[1]}")


def growth_of(history: Sequence[Any]) -> float:
    """The growth of checkpoints in bytes a day; 0 if there are too few to estimate it.

    It is the median over pairs of successive checkpoints, because the state of open windows rises and falls in leaps.
    """
    done = [entry for entry in history if entry["status"] == "COMPLETED" and not entry["is_savepoint"]]
    slopes = [
        (newer["state_size"] - older["state_size"])
        / max(newer["trigger_timestamp"] - older["trigger_timestamp"], 1)
        * 86_400_000
        for newer, older in pairwise(done)
    ]
    return median(slopes) if len(slopes) > 1 else 0.0


def _show_progress(job: Job, record: Submission, *, runs: bool) -> None:
    manifest = checkpoint_folder(job).read()
    now, kept = time.time(), None
    if manifest is None:
        click.echo("  own           no checkpoint yet")
    else:
        newest, kept = manifest.newest, manifest.newest.taken
        click.echo(f"  own           checkpoint {_age(now - kept)} ago, event time {as_text(newest.watermark)}")
        click.echo(f"  lag           {job.source.unread(newest):,} records of the source came after that checkpoint")
    if runs and (note := standstill(kept, record.submitted, now, job.spec.execution.checkpoint.total_seconds())):
        click.echo(f"  note          {note}")


def standstill(kept: float | None, submitted: str, now: float, pace: float) -> str:
    """A note on a job that runs without checkpoints; empty if it keeps checkpoints or has not run for long.

    Args:
        kept: when its newest checkpoint was taken (s since the epoch), perhaps by an earlier launch; None: none was.
        submitted: when it was submitted, from its record.
        pace: seconds between its checkpoints.
    """
    quiet = now - max(kept or 0.0, datetime.fromisoformat(submitted).timestamp())
    if quiet <= max(STALE * pace, 60):
        return ""
    where = "check the last failure, the sinks, and the workers' log"
    return f"it is running and has kept no checkpoint for {_age(quiet)}: {where}"


def _age(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(size: float) -> str:
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if abs(size) >= length:
            return f"{size / length:.1f} {unit}"
    return f"{size:.0f} B"

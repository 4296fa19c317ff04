"""Running a job to its end: lock, build, execute, and record how it ended."""

import fcntl
import json
import logging
import os
import shutil
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from dataflow import interrupt
from dataflow.errors import JobFailed, JobFileError, JobRunning, Refused, WrongFlags
from dataflow.execution.part import Part
from dataflow.job.paths import paths
from dataflow.job.plan import Job
from transforms.collection.source import Source
from transforms.errors import SinkError, SourceError, failures
from transforms.location import is_local
from transforms.process import durable
from transforms.process.progress import Bulletin
from transforms.refusal import dotted
from transforms.storage.error import as_sink_error

if TYPE_CHECKING:
    import apache_beam as beam


@dataclass(frozen=True, slots=True)
class Ran:
    """A finished run: how it ended, how long it took, on what, and when it was over."""

    status: str
    seconds: float
    runner: str
    finished: datetime

    def write(self, state: str) -> None:
        """Stores it for the report."""
        content = {**asdict(self), "finished": self.finished.isoformat()}
        with as_sink_error(state):
            durable.write_text(f"{state}/ran.json", json.dumps(content))

    @staticmethod
    def read(state: str) -> "Ran | None":
        """The last run of a job; None: it never ran."""
        try:
            content = json.loads(Path(state, "ran.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return Ran(**{**content, "finished": datetime.fromisoformat(content["finished"])})


def execute(job: Job, flags: Sequence[str], part: Part | None = None, bulletin: Bulletin | None = None) -> Ran:
    """Runs a planned job to its end and publishes its tables.

    Args:
        part: the part of the source to read; None: from its beginning to its present end.
        bulletin: where the run shows its progress.

    Raises:
        WrongFlags, JobFileError, Refused: if the runner cannot run the job as asked.
        JobRunning: if the job runs already.
        SourceError: if something cannot be read.
        SinkError: if a sink cannot be written; the previous tables are whole.
        JobFailed: if anything else fails, such as a worker that cannot load a function of the user.
    """
    quieten()
    from dataflow.execution.overlay import ReplayOverlay
    from dataflow.graph import BoundedRun, build
    from runners import direct, flink
    from transforms.storage.publish import finish_interrupted

    started = time.monotonic()
    began = datetime.now(timezone.utc)
    try:
        if flink.is_cluster(flags):
            refuse_read_once(job.source)
        direct.check(flags)
    except ValueError as error:
        raise WrongFlags([str(error)]) from None
    refuse_unseen(job, flags)
    job.refuse_overwriting()
    part = part or Part(job.source.whole())
    interrupt.check()
    with locked(job.state):
        finish_interrupted(job.state)
        clean_staging(job.state)
        check_sinks(job)
        overlay = ReplayOverlay.read(job.state)
        name = f"{began:%Y%m%dT%H%M%S%f}"
        run = BoundedRun(name, began, part, overlay.repairs, overlay.attempts, bulletin or Bulletin())
        try:
            pipeline = direct.pipeline(flags)
            build(pipeline, job, run)
            interrupt.check()
            _run(pipeline)
        except Exception as error:  # runners wrap failures in exceptions of any kind
            raise as_failure(error) from error
        finally:
            clean_staging(job.state, keep=_has_dead_letters_to_show(job.state, name))
        status = _status_of(job.state, name)
    ran = Ran(status, time.monotonic() - started, direct.name(flags), datetime.now(timezone.utc))
    ran.write(job.state)
    return ran


def _status_of(state: str, run: str) -> str:
    """How a run ended."""
    from transforms.storage.publish import Outcome

    outcome = Outcome.read(state)
    if outcome is None or outcome.run != run:
        raise JobFailed(
            f"the run ended, and {state} knows nothing of its tables: it must be the same folder for the process that"
            " submits and for every worker"
        )
    return outcome.status


def _run(pipeline: "beam.Pipeline") -> None:
    """Runs a pipeline to its end, in a thread: on Ctrl-C, Beam would wait for workers, perhaps for ever."""
    from runners import flink

    failures: list[BaseException] = []

    def work() -> None:
        try:
            pipeline.run().wait_until_finish()
        except BaseException as error:  # noqa: BLE001  # the waiting thread raises it again
            failures.append(error)

    thread = threading.Thread(target=work, name="pipeline", daemon=True)
    thread.start()
    try:
        thread.join()
    except BaseException:
        flink.abandon(pipeline)
        raise
    if failures:
        raise failures[0]


def quieten() -> None:
    """Lets only errors through: Beam and its libraries warn about things that users of a job cannot change."""
    logging.basicConfig(level=logging.ERROR, force=True, format="%(levelname)s %(name)s: %(message)s")
    for name in ("apache_beam", "root"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def check_sinks(job: Job) -> None:
    """Raises SinkError for a sink that cannot be published to, before anything is read."""
    for field, path in (("state", job.state), ("report", job.spec.report)):
        if path is not None:
            with as_sink_error(field):
                durable.check_folder(path if field == "state" else os.path.dirname(path))
    if job.spec.report is not None and os.path.isdir(job.spec.report):
        raise SinkError(f"report: {job.spec.report} is a folder, and must be a file")
    for sink in job.sinks:
        sink.check()


def refuse_unseen(job: Job, flags: Sequence[str]) -> None:
    """Raises JobFileError for every path of this machine that the workers of a runner would not see."""
    from runners.flags import FlagError, runner_named

    try:
        runner = str(runner_named(flags)).lower()
    except FlagError:  # it is reported where the runner is chosen
        return
    if not runner.endswith("dataflowrunner"):
        return
    if unseen := [named for named in paths(job.spec) if named.shared and is_local(named.text)]:
        sentence = "is a path of this machine, which the workers of Dataflow do not see"
        raise JobFileError([f"{dotted(named.field)}: {named.text} {sentence}" for named in unseen])


def refuse_read_once(source: Source) -> None:
    """Raises Refused for a job on a cluster, which reads again when a worker fails, if its source can be read once."""
    if not source.replays:
        raise Refused(
            f"the {source.describe()} can be read only once, and a cluster reads again what came after its own last"
            " checkpoint: run the job on this machine, with `run`"
        )


_HELD: Final[ContextVar[frozenset[str]]] = ContextVar("held", default=frozenset())
"""The states that the present command holds; one in another thread holds none of them."""


@contextmanager
def locked(state: str) -> Iterator[None]:
    """Holds the job's folder: two runs of one job would publish over each other.

    Raises:
        JobRunning: if another process holds it, or the job runs on a cluster.
    """
    from dataflow.execution.submission import refuse_while_it_runs

    is_new = state not in _HELD.get()
    with held(state):
        if is_new:
            refuse_while_it_runs(state)
        yield


@contextmanager
def held(state: str) -> Iterator[None]:
    """Holds the job's folder against other commands, even if the job runs on a cluster.

    Raises:
        JobRunning: if another process holds it.
    """
    if state in _HELD.get():  # by a command with several steps
        yield
        return
    file = _open_lock(state)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise JobRunning(
                [f"{state}: this job is running already; wait for it, or give this job another `state`"]
            ) from None
        token = _HELD.set(_HELD.get() | {state})
        try:
            yield
        finally:
            _HELD.reset(token)
    finally:
        file.close()


def settle(state: str) -> None:
    """Completes a publication that a crash interrupted; if the job is running, its own run does so."""
    from transforms.storage.publish import JOURNAL, finish_interrupted

    with suppress(JobRunning):
        if os.path.exists(f"{state}/{JOURNAL}"):
            with locked(state):
                finish_interrupted(state)


def _open_lock(state: str) -> IO[str]:
    with as_sink_error(state):
        os.makedirs(state, exist_ok=True)
        return open(f"{state}/lock", "w")


def clean_staging(state: str, keep: str | None = None) -> None:
    """Removes what earlier runs staged, except the staging folder `keep`."""
    for folder in Path(state).glob("staging-*"):
        if str(folder) != keep:
            shutil.rmtree(folder, ignore_errors=True)


def _has_dead_letters_to_show(state: str, run: str) -> str | None:
    """The staging folder of a run with too many dead letters, so that users can look at them; None: no such run."""
    from transforms.storage.publish import Outcome, staging_of

    outcome = Outcome.read(state)
    shown = outcome is not None and outcome.run == run and outcome.status == "too_many_dead_letters"
    return staging_of(state, run) if shown else None


def as_failure(error: BaseException) -> Exception:
    """The failure in a runner's exception: runners wrap it, some of them as a mere text."""
    from runners.failures import raised_in, without_step

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, SinkError):
            return SinkError(without_step(str(cause)))
        if isinstance(cause, SourceError):  # the source was right when the job began, so the job failed
            return JobFailed(without_step(str(cause)))
        cause = cause.__cause__ or cause.__context__
    text = str(error)
    raised = raised_in(text)
    for each in raised:
        kind = failures().get(each.name)
        if kind is not None and issubclass(kind, SinkError):
            return SinkError(each.message)
        if kind is not None and issubclass(kind, SourceError):
            return JobFailed(each.message)
    if not raised and (not text or isinstance(error, KeyError)):  # the text of a KeyError is only the key
        text = "".join(traceback.format_exception_only(error)).strip()
    return JobFailed(f"the job failed: {raised[-1].line if raised else text}")

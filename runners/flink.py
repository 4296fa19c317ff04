"""Jobs on a Flink cluster: submitted over its REST API as one jar that contains the job; nothing is left here.

Settings that a job needs on Flink are added if the user gives none; each comment says what happens otherwise.
"""

import os
import secrets
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions, PortableOptions, StandardOptions
from apache_beam.runners.portability.flink_runner import MAGIC_HOST_NAMES, FlinkRunner
from apache_beam.runners.portability.portable_runner import JobServiceHandle, PortableRunner
from apache_beam.runners.runner import PipelineResult, PipelineState
from apache_beam.transforms.environments import Environment

from runners import flink_jar
from runners.flags import is_given, options_of
from runners.flink_jar import JobServerJar
from runners.flink_rest import ENDED, START_SECONDS, Flink, FlinkError, job_failed

ADDRESS: Final = "localhost:8081"
POOL: Final = "localhost:50000"
"""The default place where a TaskManager looks for workers: a pool in its pod or on its machine."""

RUNNING_SECONDS: Final = 120.0
"""How long the parts of a job may take to start; starting a container for the first worker takes longest."""

WORKERS: Final = "sdk_worker_parallelism"
"""Beam's option for the number of Python processes that a TaskManager has per job."""

MOST_SUBTASKS: Final = 128
"""Flink's state keeps this number of parts for ever, whatever the parallelism: more parallelism is refused."""

SETTINGS: Final[Mapping[str, object]] = {
    "job_server_timeout": 100_000_000,  # s: the streams of a job would end with it, after 5 minutes
    "max_parallelism": MOST_SUBTASKS,  # otherwise the first parallelism decides it, and may rule out a later one
}
ENDLESS: Final[Mapping[str, object]] = {
    "finish_bundle_before_checkpointing": True,  # otherwise the first bundle often never ends, and nothing is emitted
    "max_bundle_time_mills": 100,  # ms: a window waits for the end of a bundle; the default is a second
    "operator_chaining": False,  # otherwise the parallelism changes the names of sources, and no savepoint fits
    "checkpointing_interval": 10_000,  # ms
    "min_pause_between_checkpoints": 1_000,  # ms: otherwise a slow disk would do nothing else
    "fail_on_checkpointing_errors": False,  # a full disk costs checkpoints, not the job
    "retain_externalized_checkpoints_on_cancellation": True,  # a cancelled job can be resumed
    "number_of_execution_retries": 1_000_000,  # a job that fails is restarted
    "execution_retry_delay": 1_000,  # ms
}


@dataclass(frozen=True)
class FlinkTarget:
    """A cluster to submit a job to, the jar for it, and what runs there.

    Args:
        workers: Python processes that a TaskManager has for the job; 0: Beam uses one less than the cores.
    """

    flink: Flink
    version: str
    slots: int
    free: int
    jar: JobServerJar
    workers: int = 1


def is_cluster(flags: Sequence[str]) -> bool:
    """Whether these flags name a running Flink cluster."""
    options = options_of(flags)
    flink = options.view_as(FlinkRunnerOptions)
    return options.view_as(StandardOptions).runner == "FlinkRunner" and flink.flink_master not in MAGIC_HOST_NAMES


def target_of(flags: Sequence[str], parallelism: int, *, own: int = 0) -> FlinkTarget:
    """The cluster and the jar that flags name, checked against each other and for a job of this parallelism.

    Args:
        own: slots that are taken now, and will be free before the job needs them.

    Raises:
        FlinkError: if the cluster does not answer or is too small, or there is no jar for it.
    """
    options = options_of(flags).view_as(FlinkRunnerOptions)
    flink = Flink(options.flink_master if options.flink_master not in MAGIC_HOST_NAMES else ADDRESS)
    found = flink.overview()
    if found.free + own < parallelism:
        raise FlinkError(
            f"{flink.address} has {found.free + own} free slots of {found.slots}, and the job needs {parallelism}:"
            " start TaskManagers, or lower --parallelism"
        )
    if not 0 < parallelism <= MOST_SUBTASKS:
        raise FlinkError(f"--parallelism must be from 1 to {MOST_SUBTASKS}, is {parallelism}")
    jar = flink_jar.locate(options.flink_job_server_jar, found.version)
    return FlinkTarget(flink, found.version, found.slots, found.free, jar, workers_of(flags, flink, parallelism))


def workers_of(flags: Sequence[str], flink: Flink, parallelism: int) -> int:
    """Python processes that a TaskManager has for a job: as many as it may have subtasks of a step.

    With one, which is Beam's default, all its slots would share a core. Flags may give another number.

    Raises:
        FlinkError: if the flag is not a count.
    """
    if is_given(flags, WORKERS):
        said = str(getattr(options_of(flags).view_as(PortableOptions), WORKERS))
        if not said.isdecimal():
            raise FlinkError(f"--{WORKERS} must be a number of processes, or 0, is {said}")
        return int(said)
    return max(1, min(parallelism, max(flink.slots_of_each(), default=1)))


def notes_of(target: FlinkTarget) -> list[str]:
    """Notes on a target, each in a sentence."""
    ours = version("apache-beam")
    notes = [f"Flink {target.version} at {target.flink.address}, {target.free} of {target.slots} slots free"]
    if target.jar.beam and target.jar.beam != ours:
        notes.append(f"{target.jar.path.name} is Beam {target.jar.beam} and this is Beam {ours}: not an official pair")
    if target.workers > 1:
        notes.append(f"up to {target.workers} Python processes for each TaskManager, about 430 MB each")
    return notes


def versions() -> str:
    """The versions that workers must share with this process."""
    return f"Python {sys.version_info[0]}.{sys.version_info[1]} and Beam {version('apache-beam')}"


def parallelism_of(flags: Sequence[str]) -> int:
    """The parallelism that flags request; by default 1."""
    found = options_of(flags).view_as(FlinkRunnerOptions).parallelism
    return int(found) if found and int(found) > 0 else 1


def image_of(flags: Sequence[str]) -> str | None:
    """The container image in which Python workers run; None if they run outside containers."""
    portable = _settled(options_of(flags)).view_as(PortableOptions)
    return portable.environment_config if portable.environment_type == "DOCKER" else None


def environment_of(flags: Sequence[str]) -> str:
    """Where the Python workers run, in words."""
    portable = _settled(options_of(flags)).view_as(PortableOptions)
    return f"{portable.environment_type} {portable.environment_config or ''}".strip()


def pipeline(flags: Sequence[str], name: str, *, endless: bool) -> beam.Pipeline:
    """A pipeline for a job that `submit` accepts.

    Raises:
        FlagError: if Beam does not understand the flags.
    """
    options = options_of([f"--job_name={name}", *flags])
    options.view_as(StandardOptions).streaming = endless
    return beam.Pipeline(runner=RestRunner(flags), options=_settled(options))


def _settled(options: PipelineOptions) -> PipelineOptions:
    options.view_as(StandardOptions).runner = None  # otherwise Flink would look for a Java class of that name
    portable = options.view_as(PortableOptions)
    if portable.environment_type in (None, "LOOPBACK"):  # the submitting process has ended when the job runs
        portable.environment_type = "EXTERNAL"
        portable.environment_config = portable.environment_config or POOL
    return options


def new_id() -> str:
    """An id for a job, chosen before the job exists."""
    return secrets.token_hex(16)


def proto_of(built: beam.Pipeline) -> Any:
    """A built pipeline as it is submitted."""
    environment = Environment.from_options(built._options.view_as(PortableOptions))
    return PortableRunner._optimize_pipeline(built.to_runner_api(default_environment=environment), built._options)


def submit(
    proto: Any, options: PipelineOptions, target: FlinkTarget, job: str, parallelism: int, savepoint: str | None = None
) -> None:
    """Starts a job under the id `job`, from nothing or from a savepoint, and removes the jar from the cluster.

    Raises:
        FlinkError: if the cluster refuses.
    """
    encoded = encoded_options(options, parallelism, target.workers)
    with tempfile.TemporaryDirectory(prefix="streamgauge-flink-") as folder:
        path = str(Path(folder, "job.jar"))
        flink_jar.with_job(target.jar, path, proto, encoded)
        uploaded = target.flink.upload(path)
    settings: dict[str, Any] = {"entryClass": flink_jar.ENTRY, "jobId": job, "parallelism": parallelism}
    if savepoint is not None:
        settings |= {"savepointPath": savepoint, "allowNonRestoredState": False}
    try:
        started = target.flink.start(uploaded, settings)
        if started != job:
            target.flink.cancel(started, START_SECONDS)
            raise FlinkError(f"{target.flink.address} runs jobs under ids of its own; Flink 1.19 to 2.2 do not")
    finally:
        with suppress(FlinkError):  # the cluster removes it when it ends
            target.flink.forget_jar(uploaded)


def encoded_options(options: PipelineOptions, parallelism: int, workers: int) -> Any:
    """Options in the cluster's form."""
    found = options.get_all_options(retain_unknown_options=True)
    wanted = {**SETTINGS, **(ENDLESS if found["streaming"] else {})}
    default = PortableOptions().job_server_timeout
    if found.get("job_server_timeout") == default:
        found["job_server_timeout"] = None
    for name, value in wanted.items():
        if found.get(name) is None:
            found[name] = value
    # The program runs inside the cluster, which is where [auto] looks.
    found |= {"flink_master": "[auto]", "parallelism": parallelism, "flink_job_server_jar": None, "runner": None}
    found |= {WORKERS: workers}
    return JobServiceHandle.encode_pipeline_options(found)


def abandon(pipeline: beam.Pipeline) -> None:
    """Ends the jobs on a cluster that a pipeline has become, if the cluster answers."""
    attached = pipeline.runner.attached if isinstance(pipeline.runner, RestRunner) else []
    while attached:
        with suppress(FlinkError):
            attached.pop().cancel()


class RestRunner(FlinkRunner):
    """Beam's runner for Flink, without a job server: submits as `submit` does, and waits on request."""

    def __init__(self, flags: Sequence[str] = ()) -> None:
        super().__init__()
        self._flags = flags
        self.attached: list[FlinkResult] = []

    def run_portable_pipeline(self, pipeline: Any, options: PipelineOptions) -> "FlinkResult":
        """Submits the job."""
        parallelism = parallelism_of(self._flags)
        target, job = target_of(self._flags, parallelism), new_id()
        result = FlinkResult(target.flink, job)
        self.attached.append(result)
        submit(self._optimize_pipeline(pipeline, options), options, target, job, parallelism)
        return result


class FlinkResult(PipelineResult):
    """A job on a cluster, in Beam's interface."""

    def __init__(self, flink: Flink, job: str) -> None:
        super().__init__(PipelineState.RUNNING)
        self._flink = flink
        self.job = job

    @property
    def state(self) -> str:
        """The present state of the job."""
        known = {"FINISHED": PipelineState.DONE, "CANCELED": PipelineState.CANCELLED, "FAILED": PipelineState.FAILED}
        return str(known.get(self._flink.state(self.job), PipelineState.RUNNING))

    def wait_until_finish(self, duration: int | None = None) -> str:
        """Waits for the end of the job, at most `duration` ms.

        Raises:
            FlinkJobFailed: if the job failed.
        """
        seconds = duration / 1e3 if duration else 1e9
        state = self._flink.wait_for(self.job, ENDED, seconds)
        if state == "FAILED":
            raise job_failed(self._flink.why(self.job, "FAILED"))
        return self.state

    def cancel(self) -> str:
        """Ends the job at once."""
        self._flink.cancel(self.job, START_SECONDS)
        return self.state


def bounded_pipeline(flags: Sequence[str]) -> beam.Pipeline:
    """A pipeline for a job that ends, run by a cluster.

    Raises:
        FlagError: if Beam does not understand the flags.
    """
    return pipeline(flags, "streamgauge", endless=False)


def default_address() -> str:
    """The default cluster of commands."""
    return os.environ.get("STREAMGAUGE_FLINK") or ADDRESS

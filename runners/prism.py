"""The local runner for endless jobs, and for others on request: Beam's Prism, a separate program.

The DoFns run in this process. Prism chooses its port, and ends with this process however that ends. Its output is not
shown; if it cannot start, the error quotes its last line.
"""

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import grpc  # type: ignore[import-untyped]  # it ships none
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, PortableOptions, StandardOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2_grpc, beam_job_api_pb2_grpc
from apache_beam.runners.portability.job_server import JobServer
from apache_beam.runners.portability.portable_runner import PipelineResult
from apache_beam.runners.portability.prism_runner import PrismRunner
from apache_beam.runners.runner import PipelineState
from apache_beam.runners.worker.sdk_worker_main import _get_data_buffer_time_limit_ms, _get_state_cache_size_bytes
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.transforms.environments import (
    Environment,
    ExternalEnvironment,
    PythonLoopbackEnvironment,
    python_sdk_capabilities,
)
from apache_beam.utils.thread_pool_executor import shared_unbounded_instance

from runners.failures import is_of_prism
from runners.flags import options_of
from runners.prism_binary import SOCKET, locate
from runners.worker import quieten

YEARS: Final = 100_000_000
"""Seconds: Beam ends the streams of a job, and with them the job, after `job_server_timeout`, by default 5 minutes."""

START_SECONDS: Final = 30
"""How long Prism may take to print its address; usually it takes 0.1 s."""

WATCHED: Final = """
folder=$1
shift
"$@" </dev/null & prism=$!
exec >/dev/null 2>&1
trap '' INT TERM HUP
read -r _
kill -9 "$prism"
wait
rm -rf "$folder"
"""
"""Prism with a watcher, which kills it when the watcher's input ends, as it does when this process ends in any way."""

LONGEST_PARENT: Final = 70
"""The most characters of the folder in which the folder of sockets is made: systems allow 104 bytes for a socket."""


class PrismFailed(RuntimeError):
    """Prism did not start, or ended or failed before the job did; the next one may do better."""


class PrismResult(PipelineResult):
    """A job on Prism. Any thread may call `cancel`; a waiting thread then gets CANCELLED, and nothing remains."""

    def __init__(self, *job: Any, last_words: Callable[[], str], **settings: Any) -> None:
        super().__init__(*job, **settings)
        self._last_words = last_words
        self._cancelled = False

    def cancel(self) -> None:
        """Stops the job. Running bundles are abandoned; `wait_until_finish` returns."""
        self._cancelled = True
        super().cancel()

    def wait_until_finish(self, duration: int | None = None) -> str:
        """Waits for the end of the job, at most `duration` ms; returns its state.

        Raises:
            PrismFailed: if Prism failed or ended.
            RuntimeError: if the job failed.
        """
        try:
            return str(super().wait_until_finish(duration))
        except Exception as error:
            if self._cancelled:
                return str(PipelineState.CANCELLED)
            if isinstance(error, grpc.RpcError):
                raise PrismFailed(f"Prism ended before the job did: {self._last_words()}") from error
            if is_of_prism(str(error)):
                raise PrismFailed(str(error)) from error
            raise


class LocalPrism(PrismRunner):
    """Beam's Prism runner, with a separate Prism per job, which ends with the job and which only this user reaches."""

    def __init__(self, program: Path) -> None:
        super().__init__()
        self._program = program
        self._server = _Server(program)

    def default_job_server(self, options: PipelineOptions) -> JobServer:
        """The Prism of this job."""
        return self._server

    def default_environment(self, options: PipelineOptions) -> Environment:
        """This process, which has all that the job needs: Beam would copy it to folders that are never removed."""
        if options.view_as(PortableOptions).environment_type == "LOOPBACK":
            return PythonLoopbackEnvironment(capabilities=python_sdk_capabilities())
        return super().default_environment(options)

    def start_and_replace_loopback_environments(
        self, pipeline: Any, options: PipelineOptions
    ) -> list[Callable[[], object]]:
        """Serves the DoFns of this process to Prism, as Beam does, but only to this user: on a Unix socket."""
        looped = [
            environment
            for environment in pipeline.components.environments.values()
            if environment.urn == python_urns.EMBEDDED_PYTHON_LOOPBACK
        ]
        if not looped:
            return []
        server = grpc.server(shared_unbounded_instance())
        address = f"unix:{self._server.folder}/workers"
        server.add_insecure_port(address)
        workers = BeamFnExternalWorkerPoolServicer(
            state_cache_size=_get_state_cache_size_bytes(options=options),
            data_buffer_time_limit_ms=_get_data_buffer_time_limit_ms(options.view_as(DebugOptions).experiments or []),
        )
        beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(workers, server)
        server.start()
        external = ExternalEnvironment(address).to_runner_api(None)
        for environment in looped:
            environment.urn, environment.payload = external.urn, external.payload
        return [partial(server.stop, 1)]

    def run_portable_pipeline(self, pipeline: Any, options: PipelineOptions) -> PrismResult:
        """Starts Prism and submits the job to it.

        Raises:
            PrismFailed: if it does not start, or does not accept the job.
        """
        is_ours = options.view_as(PortableOptions).environment_type == "LOOPBACK"
        self._server = _Server(self._program, by_socket=is_ours)
        try:
            result = super().run_portable_pipeline(pipeline, options)
        except BaseException as error:
            self._server.stop()
            if isinstance(error, grpc.RpcError):
                is_gone = error.code() == grpc.StatusCode.UNAVAILABLE
                why = self._server.last_words() if is_gone else error.details()
                raise PrismFailed(f"Prism did not accept the job: {why}") from error
            raise
        # The worker's server ends first: otherwise its threads would report the loss of Prism.
        ends = (*result._cleanup_callbacks, self._server.stop)
        return PrismResult(
            result._job_service,
            result._job_id,
            result._message_stream,
            result._state_stream,
            cleanup_callbacks=ends,
            last_words=self._server.last_words,
        )


def endless_pipeline(flags: Sequence[str]) -> beam.Pipeline:
    """A pipeline for an endless job on Prism, its DoFns in this process.

    Raises:
        PrismError: if there is no Prism to run it on.
        FlagError: if Beam does not understand the flags.
    """
    options = options_of(flags)
    options.view_as(StandardOptions).streaming = True
    # A split separates the far half of a slow bundle's range: that of an endless one holds the watermark for ever.
    options.view_as(DebugOptions).add_experiment("prism_disable_sdf_split")
    return _pipeline(flags, options)


def bounded_pipeline(flags: Sequence[str]) -> beam.Pipeline:
    """A pipeline for a bounded job, on Prism as well.

    Raises:
        PrismError: if there is no Prism to run it on.
        FlagError: if Beam does not understand the flags.
    """
    return _pipeline(flags, options_of(flags))


def _pipeline(flags: Sequence[str], options: PipelineOptions) -> beam.Pipeline:
    quieten()
    threading.excepthook = _ignore_lost_connections
    options.view_as(StandardOptions).runner = None
    portable = options.view_as(PortableOptions)
    portable.environment_type = portable.environment_type or "LOOPBACK"
    portable.job_server_timeout = YEARS
    return beam.Pipeline(runner=LocalPrism(locate(flags)), options=options)


def _ignore_lost_connections(failure: threading.ExceptHookArgs) -> None:
    """Beam's threads fail one by one when Prism is gone; the thread that waits for the job reports the reason."""
    if not isinstance(failure.exc_value, grpc.RpcError):
        threading.__excepthook__(failure)


class _Server(JobServer):
    """One Prism process, from the job's start to its end.

    Args:
        by_socket: whether it listens on a Unix socket that only this user reaches; workers elsewhere need a port.
    """

    def __init__(self, program: Path, *, by_socket: bool = True) -> None:
        self._program = program
        self._by_socket = by_socket
        self._process: subprocess.Popen[bytes] | None = None
        self._said: deque[str] = deque(maxlen=200)

    @cached_property
    def folder(self) -> str:
        """The folder of its sockets, which only this user may enter; its name is short enough for them."""
        parent = tempfile.gettempdir()
        return tempfile.mkdtemp(prefix="streamgauge-", dir=parent if len(parent) <= LONGEST_PARENT else "/tmp")

    def start(self) -> beam_job_api_pb2_grpc.JobServiceStub:
        command = [str(self._program), "--job_port=0", "--serve_http=false", "--log_kind=json", "--log_level=info"]
        socket = {SOCKET: f"{self.folder}/prism"} if self._by_socket else {}
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", WATCHED, "prism", self.folder, *command],
            env={**os.environ, **socket},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # this process handles Ctrl-C in a terminal
        )
        endpoint: list[str] = []
        settled = threading.Event()
        threading.Thread(target=self._listen, args=(self._process, endpoint, settled), daemon=True).start()
        settled.wait(START_SECONDS)
        if not endpoint:
            self.stop()
            raise PrismFailed(f"{self._program} did not start: {self.last_words()}")
        return beam_job_api_pb2_grpc.JobServiceStub(grpc.insecure_channel(endpoint[0]))

    def stop(self) -> None:
        process, self._process = self._process, None
        if process and process.stdin:
            process.stdin.close()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)  # the watcher does it too, unless Prism was never started

    def last_words(self) -> str:
        """Why Prism ended, as far as it printed a reason; its ordinary log lines do not count."""
        said = [words for words in map(_words, self._said) if words]
        fatal = [words for words in said if words.startswith(("panic:", "fatal error:"))]
        return (fatal or said[-1:] or ["it was killed, or ended without a word"])[0]

    def _listen(self, process: "subprocess.Popen[bytes]", endpoint: list[str], settled: threading.Event) -> None:
        """Reads all output of Prism: a full pipe would block it."""
        assert process.stderr
        for line in process.stderr:
            self._said.append(line.decode(errors="replace").strip())
            if not endpoint and b'"Serving JobManagement"' in line:
                endpoint.append(str(json.loads(line)["endpoint"]))
                settled.set()
        settled.set()


def _words(line: str) -> str:
    """The failure in a line of Prism's output: the message of a JSON line with level ERROR, or any other text."""
    try:
        note = json.loads(line)
        return str(note["msg"]) if note["level"] == "ERROR" else ""
    except (ValueError, TypeError, KeyError):
        return line

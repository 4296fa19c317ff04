"""The pool of workers serves several runners at once, which name their workers alike."""

import os
import queue
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]  # it ships none
import pytest
from apache_beam.portability.api import (
    beam_fn_api_pb2,
    beam_fn_api_pb2_grpc,
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
)

from runners import pool
from tests.waiting import until

WORKER = "1-1"
"""What Flink calls the first worker of a job, on each of its TaskManagers."""


class Runner(
    beam_fn_api_pb2_grpc.BeamFnControlServicer,
    beam_fn_api_pb2_grpc.BeamFnLoggingServicer,
    beam_provision_api_pb2_grpc.ProvisionServiceServicer,
):
    """As much of a runner as a worker needs to stay."""

    def __init__(self) -> None:
        self._questions: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def __enter__(self) -> "Runner":
        self._server = grpc.server(ThreadPoolExecutor(max_workers=8))
        beam_fn_api_pb2_grpc.add_BeamFnControlServicer_to_server(self, self._server)
        beam_fn_api_pb2_grpc.add_BeamFnLoggingServicer_to_server(self, self._server)
        beam_provision_api_pb2_grpc.add_ProvisionServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("localhost:0")
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Goes, as a TaskManager's does behind its last bundle."""
        self._server.stop(0).wait()

    def GetProvisionInfo(self, request: Any, context: Any) -> Any:  # Beam's name
        return beam_provision_api_pb2.GetProvisionInfoResponse()

    def Logging(self, entries: Any, context: Any) -> Iterator[Any]:  # Beam's name
        for _ in entries:
            yield from ()

    def Control(self, answers: Any, context: Any) -> Iterator[Any]:  # Beam's name
        ThreadPoolExecutor(1).submit(self._listen, answers)
        while context.is_active():
            try:
                yield self._questions.get(timeout=0.1)
            except queue.Empty:
                continue

    def _listen(self, answers: Any) -> None:
        for answer in answers:
            self._answers.put(answer.instruction_id)

    def answered(self, question: str) -> bool:
        """Whether its worker answers: also a refusal is an answer."""
        asked = beam_fn_api_pb2.HarnessMonitoringInfosRequest()
        self._questions.put(beam_fn_api_pb2.InstructionRequest(instruction_id=question, harness_monitoring_infos=asked))
        try:
            return bool(self._answers.get(timeout=30) == question)
        except queue.Empty:
            return False


@pytest.fixture
def workers() -> Iterator[Any]:
    server, port = pool.serve("localhost:0")
    with grpc.insecure_channel(f"localhost:{port}") as channel:
        yield beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
    server.stop(0)


def start(workers: Any, runner: Runner) -> None:
    here = {"url": f"localhost:{runner.port}"}
    request = beam_fn_api_pb2.StartWorkerRequest(
        worker_id=WORKER, control_endpoint=here, logging_endpoint=here, provision_endpoint=here
    )
    assert workers.StartWorker(request).error == ""


def stop(workers: Any) -> None:
    workers.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id=WORKER))


def processes() -> set[str]:
    """The process ids of workers of this process."""
    children = (path.read_text().split() for path in Path("/proc/self/task").glob("*/children"))
    return {pid for pids in children for pid in pids if b"runners.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def test_a_worker_ends_with_its_runner_and_another_runners_of_the_same_name_stays(workers: Any) -> None:
    with Runner() as one, Runner() as other:
        start(workers, one)
        first = until(processes, "a worker")
        start(workers, other)
        assert one.answered("1") and other.answered("2")
        second = processes() - first
        stop(workers)
        one.close()
        until(lambda: not processes() & first, "the worker of the runner that went to go")
        assert other.answered("3") and processes() == second
        stop(workers)
        other.close()
        until(lambda: not processes(), "the other worker to go")


def test_a_worker_that_does_not_leave_by_itself_is_ended(workers: Any) -> None:
    with Runner() as runner:
        start(workers, runner)
        assert runner.answered("1")
        (pid,) = processes()
        os.kill(int(pid), signal.SIGSTOP)
        stop(workers)
        runner.close()
        until(lambda: not processes(), "the worker to go")

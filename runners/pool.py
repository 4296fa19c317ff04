"""A pool of Beam's workers for Python: a cluster's programs ask it for one, and it starts a process.

`python -m runners.pool --listen HOST:PORT`, and `--environment_type=EXTERNAL --environment_config=HOST:PORT` at
submission. Beam has one too; this one listens where it is told instead of on every network interface, tells workers
the job's options, keeps nobody waiting who writes to a pipe that is not read, its workers end with it, and it may serve
any number of TaskManagers and jobs: they all call their workers by the same names.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import grpc  # type: ignore[import-untyped]  # it ships none
from apache_beam.portability.api import (
    beam_fn_api_pb2,
    beam_fn_api_pb2_grpc,
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    endpoints_pb2,
)
from google.protobuf import json_format, text_format  # type: ignore[import-untyped]  # it ships none

_LOOKS: Final = 20
_LOOK_SECONDS: Final = 0.25
_UNKNOWN_SECONDS: Final = 10


@dataclass(frozen=True, eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    control: str
    """Where its runner listens: HOST:PORT."""

    def leave_with_its_runner(self) -> None:
        """Kills it if its runner goes in the next moments."""
        for _ in range(_LOOKS):
            if not self._has_runner():
                self.process.kill()
                break
            time.sleep(_LOOK_SECONDS)

    def _has_runner(self) -> bool:
        host, _, port = self.control.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_UNKNOWN_SECONDS).close()
        except OSError:
            return False
        return True


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Starts workers, each a process of its own, and sees to it that they leave with their runners."""

    def __init__(self) -> None:
        self._workers: defaultdict[str, list[_Worker]] = defaultdict(list)

    def StartWorker(self, request: Any, context: Any) -> Any:  # noqa: N802  # Beam's name
        """Starts a worker for the endpoints of a request."""
        try:
            environment = {**os.environ, **variables(request, _provision(request))}
        except grpc.RpcError as error:
            return beam_fn_api_pb2.StartWorkerResponse(error=f"the cluster does not say what to run: {error.code()}")
        command = [sys.executable, "-m", "runners.worker", str(os.getpid())]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        worker = _Worker(process, request.control_endpoint.url)
        self._workers[request.worker_id].append(worker)
        threading.Thread(target=self._wait_for, args=(request.worker_id, worker), daemon=True).start()
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request: Any, context: Any) -> Any:  # noqa: N802  # Beam's name
        """Ends a worker as soon as its runner has closed, as a runner does that asks for this.

        The request names the worker only, and every job of every TaskManager counts its workers from `1-1`: those of
        that name whose runner still listens are another's.
        """
        for worker in list(self._workers[request.worker_id]):
            threading.Thread(target=worker.leave_with_its_runner, daemon=True).start()
        return beam_fn_api_pb2.StopWorkerResponse()

    def _wait_for(self, name: str, worker: _Worker) -> None:
        worker.process.wait()  # so that no dead process stays in the table
        self._workers[name].remove(worker)


def variables(request: Any, provision: Any) -> Mapping[str, str]:
    """What a worker finds in its environment: where its runner is, and the options of the job."""

    def said(endpoint: Any) -> str:
        return text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=endpoint.url))

    return {
        "WORKER_ID": request.worker_id,
        "CONTROL_API_SERVICE_DESCRIPTOR": said(request.control_endpoint),
        "LOGGING_API_SERVICE_DESCRIPTOR": said(request.logging_endpoint),
        "PIPELINE_OPTIONS": json_format.MessageToJson(provision.pipeline_options),
        "RUNNER_CAPABILITIES": " ".join(provision.runner_capabilities),
    }


def _provision(request: Any) -> Any:
    with grpc.insecure_channel(request.provision_endpoint.url) as channel:
        stub = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        question = beam_provision_api_pb2.GetProvisionInfoRequest()
        metadata = (("worker_id", request.worker_id),)
        return stub.GetProvisionInfo(question, timeout=_UNKNOWN_SECONDS, metadata=metadata).info


def serve(address: str) -> tuple[Any, int]:
    """Starts a pool at HOST:PORT; the server and its port.

    Raises:
        OSError: if the address cannot be listened on.
    """
    server = grpc.server(ThreadPoolExecutor(max_workers=16), options=[("grpc.so_reuseport", 0)])
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(WorkerPool(), server)
    try:
        port = int(server.add_insecure_port(address))
    except RuntimeError:
        raise OSError(f"{address}: cannot be listened on") from None
    server.start()
    return server, port


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m runners.pool", description="A pool of workers for Python.")
    parser.add_argument("--listen", metavar="HOST:PORT", default="127.0.0.1:50000", help="default: %(default)s")
    address = parser.parse_args(arguments).listen
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        server, port = serve(address)
    except OSError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"workers at {address.rpartition(':')[0]}:{port}\n")
    sys.stdout.flush()
    ended.wait()
    server.stop(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())

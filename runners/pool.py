"""A pool of Beam's Python workers: a cluster's programs request a worker, and the pool starts a process.

`python -m runners.pool --listen HOST:PORT`, and `--environment_type=EXTERNAL --environment_config=HOST:PORT` at
submission. Beam has a pool too; this one listens on a given address instead of every network interface, passes the
job's options to workers, never blocks a worker on an unread output pipe, ends its workers when it ends, and may serve
any number of TaskManagers and jobs, which all use the same names for their workers.
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
        """Kills the worker if its runner disappears in the next moments."""
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
    """Starts workers, each in a separate process, and ends them with their runners."""

    def __init__(self) -> None:
        self._workers: defaultdict[str, list[_Worker]] = defaultdict(list)

    def StartWorker(self, request: Any, context: Any) -> Any:  # noqa: N802  # Beam's name
        """Starts a worker for the endpoints of a request."""
        try:
            environment = {**os.environ, **variables(request, _provision(request))}
        except grpc.RpcError as error:
            return beam_fn_api_pb2.StartWorkerResponse(
                error=f"the cluster does not provide what to run: {error.code()}"
            )
        command = [sys.executable, "-m", "runners.worker", str(os.getpid())]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        worker = _Worker(process, request.control_endpoint.url)
        self._workers[request.worker_id].append(worker)
        threading.Thread(target=self._wait_for, args=(request.worker_id, worker), daemon=True).start()
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request: Any, context: Any) -> Any:  # noqa: N802  # Beam's name
        """Ends a worker as soon as its runner has closed, which a runner that calls this is about to do.

        The request only names the worker, and every job of every TaskManager counts its workers from `1-1`: a worker of
        that name whose runner still listens belongs to another job.
        """
        for worker in list(self._workers[request.worker_id]):
            threading.Thread(target=worker.leave_with_its_runner, daemon=True).start()
        return beam_fn_api_pb2.StopWorkerResponse()

    def _wait_for(self, name: str, worker: _Worker) -> None:
        worker.process.wait()  # reaps the process, so that no zombie remains
        self._workers[name].remove(worker)


def variables(request: Any, provision: Any) -> Mapping[str, str]:
    """The environment variables of a worker: the addresses of its runner, and the job's options."""

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
    """Starts a pool at HOST:PORT; returns the server and its port.

    Raises:
        OSError: if the pool cannot listen on the address.
    """
    server = grpc.server(ThreadPoolExecutor(max_workers=16), options=[("grpc.so_reuseport", 0)])
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(WorkerPool(), server)
    try:
        port = int(server.add_insecure_port(address))
    except RuntimeError:
        raise OSError(f"{address}: the pool cannot listen on this address") from None
    server.start()
    return server, port


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m runners.pool", description="A pool of Python workers.")
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

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from containers import health

COLLECT = ("python", "-m", "dataflow.main", "collect", "--log", "log", "--host", "0.0.0.0", "--port")
POOL = ("python", "-m", "runners.pool", "--listen")
HARNESS = "apache_beam.runners.worker.sdk_worker_main"


@contextmanager
def server(answer: bytes) -> Iterator[str]:
    """One that gives the same answer to whatever it hears; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield str(listening.getsockname()[1])
        thread.join()


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return str(listening.getsockname()[1])


def test_a_collector_that_answers_is_well() -> None:
    with server(b"ERR bad_hello source is missing\n") as port:
        assert health.ailment({1: [*COLLECT, port]}) is None


def test_a_collector_that_says_something_else_is_none() -> None:
    with server(b"HTTP/1.1 400\r\n") as port:
        assert health.ailment({1: [*COLLECT, port]}) == "what answers is not a collector"


def test_a_collector_that_nobody_reaches_is_ill() -> None:
    assert "the collector does not answer: " in (health.ailment({1: [*COLLECT, closed_port()]}) or "")


def test_a_pool_that_speaks_http_2_is_well() -> None:
    with server(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])) as port:
        assert health.ailment({1: [*POOL, f"127.0.0.1:{port}"]}) is None


def test_a_pool_that_speaks_anything_else_or_nothing_is_ill() -> None:
    with server(b"HTTP/1.1 400 Bad Request\r\n") as port:
        assert health.ailment({1: [*POOL, f"127.0.0.1:{port}"]}) == "the worker pool does not speak HTTP/2"
    assert "the worker pool does not answer: " in (health.ailment({1: [*POOL, f":{closed_port()}"]}) or "")


def test_a_live_job_is_as_well_as_its_page_says() -> None:
    codes = iter((200, 503))

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(next(codes) if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as page:
        thread = threading.Thread(target=page.serve_forever)
        thread.start()
        job = {1: ["python", "-m", "dataflow.main", "run", "job.yaml", f"--serve=0.0.0.0:{page.server_port}"]}
        assert health.ailment(job) is None
        assert health.ailment(job) == "the job is not well: 503"
        page.shutdown()
        thread.join()
    assert "the job's page does not answer" in (health.ailment(job) or "")


def test_a_worker_needs_its_process_and_that_a_connection() -> None:
    boot = ["/opt/apache/beam/boot", "--id=1"]
    assert health.ailment({1: boot}) == "the worker has not started its process"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as idle:
        worker = {1: boot, idle.pid: ["python", "-m", HARNESS]}
        assert health.ailment(worker) == "the worker has no connection to the runner"
        idle.communicate(b"\n")
    with socket.create_server(("127.0.0.1", 0)) as runner, socket.create_connection(runner.getsockname()):
        assert health.ailment({1: boot, os.getpid(): ["python", "-m", HARNESS]}) is None


def test_any_other_command_is_well_as_long_as_it_runs() -> None:
    assert health.ailment({1: ["python", "-m", "dataflow.main", "run", "job.yaml"]}) is None
    assert health.ailment({1: []}) is None


def test_at_a_port_that_nobody_knows_nothing_can_be_asked() -> None:
    assert health.ailment({1: [*COLLECT, "0"]}) is None

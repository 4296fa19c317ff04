"""The compose file: started, seen to work, a job on its Flink, stopped. The public images have stand-ins here."""

import json
import os
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.cluster import equipment, standins
from tests.cluster.engine import Engine
from tests.waiting import until

ROOT: Final = Path(__file__).parent.parent.parent
FILE: Final = ROOT / "containers" / "compose.yaml"
OURS: Final = ("collector", "live", "pool-1", "pool-2")
STARTED: Final = (
    *OURS,
    "node-1",
    "node-2",
    "jobmanager",
    "taskmanager-1",
    "taskmanager-2",
    "kafka",
    "postgres",
    "prometheus",
)


class Stack:
    """The stack under a name of its own, on ports of its own."""

    def __init__(self, on: Engine, variables: Mapping[str, str]):
        self.on = on
        self.ports = {name: _free_port() for name in ("FLINK", "COLLECTOR", "PAGE", "PROMETHEUS")}
        numbers = {f"{name}_PORT": str(port) for name, port in self.ports.items()}
        self._environment = {**on.environment, **variables, **numbers}

    def compose(self, *arguments: str, fails: bool = False) -> str:
        ran = subprocess.run(
            ["docker-compose", "--project-name", "streamgauge-tests", "--file", str(FILE), *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert bool(ran.returncode) == fails, f"{arguments}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    def use(self, image: str) -> None:
        """From now on ours are of another image."""
        self._environment["STREAMGAUGE_IMAGE"] = image

    def get(self, name: str, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=5) as answer:
            return json.loads(answer.read())

    def state(self, service: str) -> str:
        """`running healthy`, say."""
        template = "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}"
        return self.on.docker("inspect", "--format", template, self.compose("ps", "--quiet", service).strip()).strip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def stack(on: Engine, image: str) -> Iterator[Stack]:
    variables = {**standins.images(on), "STREAMGAUGE_IMAGE": image, "FLINK_JOB_SERVER_JAR": str(equipment.job_server())}
    found = Stack(on, variables)
    started = time.monotonic()
    try:
        found.compose("up", "--detach")
        print(f"docker-compose up: {time.monotonic() - started:.1f} s")
        yield found
    finally:
        found.compose("down", "--volumes", "--timeout", "20")


def test_the_file_is_one_that_debians_compose_reads(on: Engine) -> None:
    bare = {name: value for name, value in os.environ.items() if not name.endswith(("_IMAGE", "_PORT"))}
    command = ["docker-compose", "--file", str(FILE), "config"]
    output = subprocess.run(command, env=bare, capture_output=True, text=True, check=True).stdout
    settled = yaml.safe_load(output)
    assert settled["version"] == "2.4"
    assert {*STARTED, "prepare", "see", "streamgauge"} == set(settled["services"])
    for name, service in settled["services"].items():
        assert re.search(r":v?\d", service["image"]), f"{name} names no version"
        assert "mem_limit" in service, name
        for port in service.get("ports", []):
            assert str(port).startswith("127.0.0.1:"), f"{name} publishes {port} to the network"
        if name in OURS:
            assert service["read_only"] and service["cap_drop"] == ["ALL"]


def test_one_command_starts_it_and_all_of_ours_turn_healthy(stack: Stack) -> None:
    started = time.monotonic()
    for service in (*OURS, "postgres"):
        _healthy(stack, service)
    print(f"all of ours and PostgreSQL are healthy {time.monotonic() - started:.1f} s later")
    for service in STARTED:
        assert stack.state(service).startswith("running"), _said(stack, service)
    _has_slots(stack, 4)


def test_one_command_shows_that_it_works(stack: Stack) -> None:
    said = stack.compose("run", "--rm", "see")
    print(said)
    assert "18 of 18 windows are in PostgreSQL with all their readings" in said


def test_a_job_runs_on_its_flink(stack: Stack) -> None:
    submit = ("flink", "submit", "/etc/streamgauge/flink.yaml", "--parallelism=2")
    started = time.monotonic()
    said = stack.compose("run", "--rm", "streamgauge", *submit, "--flink_job_server_jar=/opt/flink-job-server.jar")
    print(f"{said} {time.monotonic() - started:.1f} s")
    _has_windows(stack, 18, "final and temperature_count = 10")
    print(f"the windows of all records are there {time.monotonic() - started:.1f} s after submission began")
    listed = stack.compose("run", "--rm", "streamgauge", "flink", "list")
    assert "readings_on_flink" in listed


SEND: Final = """
import json, subprocess, sys, time
sys.path.insert(0, "/etc/streamgauge")
import see
begin_ms = (int(time.time() * 1000) // see.WINDOW_MS + 1) * see.WINDOW_MS
with open("/tmp/more.jsonl", "w") as file:
    file.writelines(json.dumps(reading) + "\\n" for reading in see.readings(begin_ms))
send = ["send", "/tmp/more.jsonl", "--to", "collector:8080", "--source", "more"]
subprocess.run([sys.executable, "-m", "dataflow.main", *send], check=True)
"""


def test_an_upgrade_brings_another_image_with_another_report_and_a_new_statistic(
    stack: Stack, image: str, tmp_path: Path
) -> None:
    job = "/etc/streamgauge/flink.yaml"
    template = "/opt/streamgauge/dataflow/report/template.html.jinja"
    (tmp_path / "Dockerfile").write_text(
        f"FROM {image}\nUSER 0:0\nRUN sed -i 's/Streamgauge report/The second edition/' {template}\nUSER 10001:10001\n"
    )
    stack.on.docker("build", "--network=none", "--tag=streamgauge-tests/newer", str(tmp_path))
    stack.use("streamgauge-tests/newer")
    stack.compose("up", "--detach", "pool-1", "pool-2")
    for pool in ("pool-1", "pool-2"):
        _healthy(stack, pool)
    statistic = ("--set", "aggregations.0.statistics.temperature=[count, mean, min, max, p90]")
    started = time.monotonic()
    said = stack.compose("run", "--rm", "streamgauge", "flink", "upgrade", job, *statistic)
    print(f"{said} {time.monotonic() - started:.1f} s")
    assert "temperature_p90 joined by_device_on_flink" in said
    stack.compose("run", "--rm", "--entrypoint", "python", "streamgauge", "-c", SEND)
    _has_windows(stack, 15, "final and temperature_count = 10 and temperature_p90 is not null")
    _has_windows(stack, 18, "final and temperature_count = 10 and temperature_p90 is null")
    output = stack.compose("run", "--rm", "streamgauge", "verify", job, *statistic)
    assert "are what chunks" in output
    page = "/var/lib/streamgauge/report.html"
    stack.compose("run", "--rm", "streamgauge", "report", job, *statistic, "--output", page)
    assert "The second edition" in stack.compose("run", "--rm", "--entrypoint", "cat", "streamgauge", page)
    stack.compose("run", "--rm", "streamgauge", "flink", "cancel", job)


def test_a_taskmanager_that_is_killed_comes_back_to_its_pool(stack: Stack) -> None:
    stack.compose("kill", "taskmanager-1")
    _has_slots(stack, 2)
    stack.compose("up", "--detach", "taskmanager-1")
    _has_slots(stack, 4)
    probe = "import socket; socket.create_connection(('127.0.0.1', 50000), 5); print('reached')"
    taskmanager = stack.compose("ps", "--quiet", "taskmanager-1").strip()
    output = stack.on.docker("exec", taskmanager, "python3", "-c", probe)
    assert output == "reached"


def test_prometheus_reads_them_all_with_our_rules(stack: Stack) -> None:
    def health() -> list[str]:
        with suppress(OSError):
            targets = stack.get("PROMETHEUS", "/api/v1/targets")["data"]["activeTargets"]
            return [target["health"] for target in targets]
        return []

    until(health, "four targets that are up", lambda found: found == ["up"] * 4, seconds=90)
    groups = stack.get("PROMETHEUS", "/api/v1/rules")["data"]["groups"]
    assert {group["name"] for group in groups} == {"streamgauge", "flink"}
    assert not [rule for group in groups for rule in group["rules"] if rule["health"] == "err"]
    found = stack.get("PROMETHEUS", "/api/v1/query?query=streamgauge_records_read_total")["data"]["result"]
    assert [(series["metric"]["job"], int(series["value"][1]) >= 180) for series in found] == [("readings", True)]


TRANSACTION: Final = """
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
broker = {"bootstrap.servers": "kafka:9092"}
admin = AdminClient(broker)  # held: its answers end with it
for future in admin.create_topics([NewTopic("t", 2)]).values():
    future.result(30)
producer = Producer({**broker, "transactional.id": "test"})
producer.init_transactions(60)
producer.begin_transaction()
producer.produce("t", b"stored")
producer.commit_transaction(60)
reader = {"group.id": "g", "auto.offset.reset": "earliest", "isolation.level": "read_committed"}
consumer = Consumer({**broker, **reader})
consumer.subscribe(["t"])
print(consumer.poll(60).value().decode())
consumer.close()
"""


def test_the_broker_takes_transactions_from_our_image(stack: Stack) -> None:
    said = stack.compose("run", "--rm", "--entrypoint", "python", "streamgauge", "-c", TRANSACTION)
    assert said.split()[-1] == "stored"


def test_the_rules_raise_what_they_should_and_nothing_else() -> None:
    folder = ROOT / "containers" / "prometheus"
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "rules_test.yml"]):
        ran = subprocess.run(["promtool", *command], cwd=folder, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_one_command_stops_it_and_nothing_is_left(stack: Stack) -> None:
    stack.compose("down", "--volumes", "--timeout", "20")
    label = "label=com.docker.compose.project=streamgauge-tests"
    for what in (("ps", "--all"), ("volume", "ls"), ("network", "ls")):
        assert stack.on.docker(*what, "--quiet", "--filter", label) == ""


def _healthy(stack: Stack, service: str) -> None:
    until(
        lambda: stack.state(service),
        f"{service} to be healthy",
        lambda state: state == "running healthy",
        seconds=90,
        said=lambda: _said(stack, service),
    )


def _has_windows(stack: Stack, count: int, where: str) -> None:
    """Waits for rows of the job on Flink."""
    login = ("-e", "PGPASSWORD=streamgauge", "postgres", "psql", "-h", "/tmp", "-U", "streamgauge")
    question = f"select count(*) from on_flink.by_device_on_flink where {where}"
    until(
        lambda: int(stack.compose("exec", "-T", *login, "-Atc", question)),
        f"{count} windows that are {where}",
        lambda windows: windows >= count,
        seconds=120,
        said=lambda: _said(stack, "pool-1"),
    )


def _has_slots(stack: Stack, count: int) -> None:
    def slots() -> int | None:
        with suppress(OSError):
            return int(stack.get("FLINK", "/overview")["slots-total"])
        return None

    said = partial(_said, stack, "taskmanager-1")
    until(slots, f"{count} slots of Flink", lambda found: found == count, seconds=120, said=said)


def _said(stack: Stack, service: str) -> str:
    return f"{service}: {stack.state(service)}\n{stack.compose('logs', '--no-color', '--tail=40', service)}"

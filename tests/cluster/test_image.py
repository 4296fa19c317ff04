"""The real image on a real engine: built, looked into, run in every role with few rights, pushed and pulled."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from dataflow.main import cli
from tests.cluster import engine as engines
from tests.cluster.engine import PLANTED, Engine, streamgauge
from tests.cluster.layers import findings, history
from tests.dataflow.jobs import write_job
from tests.dataflow.live_job import JOB
from tests.waiting import until
from transforms.collection.log.writer import LogWriter

ROOT: Final = Path(__file__).parent.parent.parent
FEW_RIGHTS: Final = (
    *("--read-only", "--tmpfs=/tmp:rw,exec,size=512m", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
    *("--memory=1g", "--memory-swap=1g", "--pids-limit=512"),
)


def run(on: Engine, image: str, *arguments: str, flags: tuple[str, ...] = (), fails: bool = False) -> str:
    return on.docker("run", "--rm", *FEW_RIGHTS, *flags, image, *arguments, fails=fails)


def test_the_image_says_what_it_is(on: Engine, image: str) -> None:
    ran = streamgauge(on, "image", "inspect", image)
    assert ran.returncode == 0, ran.stderr
    for label in ("version", "revision", "source", "licenses", "title", "created"):
        assert f"org.opencontainers.image.{label}=" in ran.stdout
    assert "user 10001:10001" in ran.stdout
    assert re.search(r"^sbom +CycloneDX 1\.\d, \d+ components", ran.stdout, re.MULTILINE)
    assert "yes: it can run what this Python submits" in ran.stdout


def test_its_bill_of_materials_names_every_locked_package_and_more(on: Engine, image: str) -> None:
    ran = streamgauge(on, "image", "inspect", image, "--sbom")
    bill = json.loads(ran.stdout)
    assert bill["bomFormat"] == "CycloneDX"
    listed = {
        re.sub(r"[-_.]+", "-", component["name"]).lower(): component["version"] for component in bill["components"]
    }
    locked = (ROOT / "containers" / "requirements.txt").read_text().splitlines()
    for name, version in (line.split("==") for line in locked if "==" in line and not line.startswith("#")):
        assert listed[re.sub(r"[-_.]+", "-", name).lower()] == version, name
    kinds = {component.get("purl", "").split("/")[0] for component in bill["components"]}
    assert {"pkg:pypi", "pkg:deb", "pkg:golang", "pkg:generic"} <= kinds
    for text in ("10.0.0.0", PLANTED, str(ROOT)):
        assert text not in ran.stdout


def test_no_layer_holds_a_secret_a_cache_or_a_certificate_of_this_machine(on: Engine, image: str, base: str) -> None:
    secrets = [PLANTED.encode(), *_certificates_of_this_machine(), *_addresses_of_this_machine()]
    found = set(findings(on, image, secrets)) - set(findings(on, base, []))
    assert found == set()
    assert PLANTED not in history(on, image)


def _certificates_of_this_machine() -> Iterator[bytes]:
    for path in Path("/usr/local/share/ca-certificates").rglob("*.crt"):
        lines = [line for line in path.read_bytes().split() if len(line) == 64]
        yield from lines[1:2]  # a line of base64 that no other certificate has


def _addresses_of_this_machine() -> Iterator[bytes]:
    """Hosts of its package indexes and mirrors, unless they are the public ones."""
    output = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    apt = "".join(path.read_text(errors="replace") for path in Path("/etc/apt").rglob("*.sources") if path.is_file())
    hosts = set(re.findall(r"https?://(?:[^/@\s]*@)?([^/\s'\"]+)", output.stdout + apt))
    yield from (host.encode() for host in hosts if not host.endswith(("debian.org", "pypi.org", "ubuntu.com")))


def test_the_scan_finds_what_is_planted_even_if_a_later_layer_removes_it(on: Engine, base: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"FROM {base}\nRUN mkdir -p /root/.cache/pip && echo {PLANTED} > /root/.cache/pip/x\nRUN rm -r /root/.cache\n"
    )
    on.docker("build", "--network=none", "--tag=streamgauge-tests/leak", str(tmp_path))
    found = set(findings(on, "streamgauge-tests/leak", [PLANTED.encode()]))
    assert "root/.cache/pip/x holds secret 0" in found
    assert "root/.cache/pip/x lies in a layer" in found


def test_it_runs_as_nobody_and_may_write_to_tmp_only(on: Engine, image: str) -> None:
    said = on.docker("run", "--rm", *FEW_RIGHTS, "--entrypoint=id", image)
    assert said == "uid=10001(streamgauge) gid=10001(streamgauge) groups=10001(streamgauge)"
    for folder in ("/opt", "/opt/venv", "/opt/streamgauge", "/var/lib", "/etc"):
        on.docker("run", "--rm", "--entrypoint=touch", image, f"{folder}/x", fails=True)
    on.docker("run", "--rm", *FEW_RIGHTS, "--entrypoint=touch", image, "/tmp/x")


@pytest.mark.parametrize("command", [(), *((name,) for name in cli.commands), ("image", "build")], ids=" ".join)
def test_every_command_has_its_help_in_the_image(on: Engine, image: str, command: tuple[str, ...]) -> None:
    assert "Usage: streamgauge" in run(on, image, *command, "--help")


def test_a_bounded_job_runs_with_few_rights(on: Engine, image: str, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(
        "".join(f'{{"t": {second}, "k": "a", "x": {second}}}\n' for second in range(100))
    )
    (tmp_path / "job.yaml").write_text(
        "job: small\nsource: {files: {paths: [in.jsonl], format: jsonl}}\n"
        "record: {event_time: {column: t, unit: s}, columns: {t: int64, k: string, x: float64}}\n"
        "aggregations: [{name: by_k, key: [k], window: {size: 1m}, statistics: {x: [count, mean]}}]\n"
        "sinks: [{parquet: {path: out}}]\n"
    )
    tmp_path.chmod(0o777)
    said = run(on, image, "run", "/job/job.yaml", flags=(f"--volume={tmp_path}:/job",))
    assert list((tmp_path / "out" / "by_k").glob("*.parquet")), said


def test_a_collector_answers_is_healthy_and_keeps_what_it_acknowledged(on: Engine, image: str) -> None:
    volume = on.docker("volume", "create")
    flags = (*FEW_RIGHTS, f"--volume={volume}:/var/lib/streamgauge", "--publish=127.0.0.1:0:8080")
    log = "/var/lib/streamgauge/log"
    started = time.monotonic()
    with on.container(image, "collect", "--log", log, "--host", "0.0.0.0", flags=flags) as collector:
        until(
            lambda: _send(on.port(collector, 8080), b'{"k": "a"}\n'),
            "an acknowledgement",
            lambda answer: answer == "OK\n",
        )
        print(f"a record is acknowledged {time.monotonic() - started:.1f} s after docker run")
        until(lambda: on.health(collector), "the collector to be healthy", lambda health: health == "healthy")
        print(f"healthy after {time.monotonic() - started:.1f} s")
        on.docker("kill", "--signal=STOP", collector)
        said = on.docker("exec", collector, "python", "-m", "containers.health", fails=True)
        assert "the collector does not answer" in said
        on.docker("kill", "--signal=CONT", collector)
        on.docker("stop", "--time=20", collector)
        assert on.docker("inspect", "--format", "{{.State.ExitCode}}", collector) == "0"
    held = run(on, image, "collect", "--log", log, "--inspect", flags=(f"--volume={volume}:/var/lib/streamgauge",))
    on.docker("volume", "rm", volume)
    assert re.search(r"^records +1 ", held, re.MULTILINE), held
    assert "whole" in held


def _send(port: int, line: bytes) -> str:
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(line)
            return connection.recv(100).decode()
    except OSError as error:
        return str(error)


def beam_job(on: Engine, seconds: int, *flags: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.image_jobs", str(seconds), *flags],
        cwd=ROOT,
        env=on.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("role", [("--worker_pool",), ("pool", "--listen", "127.0.0.1:50000")], ids=["Beam's", "ours"])
def test_a_worker_pool_serves_a_beam_job(on: Engine, image: str, role: tuple[str, ...]) -> None:
    started = time.monotonic()
    with on.container(image, *role, flags=(*FEW_RIGHTS, "--network=host")) as pool:
        until(lambda: on.health(pool), "the pool to be healthy", lambda health: health == "healthy")
        print(f"{role[0]} healthy after {time.monotonic() - started:.1f} s")
        job = beam_job(on, 0, "--environment_type=EXTERNAL", "--environment_config=localhost:50000")
        said = job.communicate(timeout=180)[0]
        assert said.splitlines()[-1:] == ["DONE"], said + on.docker("logs", pool)
        assert {"user_10001 1", "read_only 1", "ours 1"} <= set(said.splitlines())


def test_prism_starts_the_image_as_a_worker_of_its_own(on: Engine, image: str) -> None:
    started = time.monotonic()
    job = beam_job(on, 8, "--environment_type=DOCKER", f"--environment_config={image}")

    def well() -> bool:
        workers = on.docker("ps", "--quiet", "--filter", f"ancestor={image}")
        if not workers:
            return False
        asked = subprocess.run(
            ["docker", "exec", workers.split()[0], "python", "-m", "containers.health"],
            env=on.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return asked.stdout == "well\n"

    until(well, "a worker that is well", seconds=120, unless=lambda: job.poll() is not None and job.communicate()[0])
    said = job.communicate(timeout=180)[0]
    assert said.splitlines()[-1:] == ["DONE"], said
    assert {"user_10001 1", "ours 1"} <= set(said.splitlines())
    print(f"job with a container of its own: {time.monotonic() - started:.1f} s, 8 of them its own work")


def test_it_goes_through_a_registry_and_comes_back_the_same(on: Engine, image: str) -> None:
    with engines.registry() as address:
        ran = streamgauge(on, "image", "push", image, "--registry", f"{address}/team")
        assert ran.returncode == 0, ran.stderr
        assert f"pushed {address}/team/{image}" in ran.stdout
        assert re.search(rf"{address}/team/streamgauge@sha256:[0-9a-f]{{64}}", ran.stdout), ran.stdout
        before = on.docker("image", "inspect", "--format", "{{.Id}}", image)
        for name in re.findall(r"pushed (\S+)", ran.stdout):
            on.docker("rmi", name)
        on.docker("pull", f"{address}/team/{image}")
        assert on.docker("image", "inspect", "--format", "{{.Id}}", f"{address}/team/{image}") == before
        on.docker("rmi", f"{address}/team/{image}")


def test_an_image_of_another_beam_is_refused(on: Engine, image: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {image}\nLABEL streamgauge.beam=2.70.0\n")
    on.docker("build", "--network=none", "--tag=streamgauge:old", str(tmp_path))
    looked = streamgauge(on, "image", "inspect", "streamgauge:old")
    assert looked.returncode == 1
    assert "streamgauge:old has Beam 2.70.0 and this is 2.77.0: they must be the same" in looked.stdout
    pushed = streamgauge(on, "image", "push", "streamgauge:old", "--registry", "127.0.0.1:1/team")
    assert pushed.returncode == 2
    assert "has Beam 2.70.0" in pushed.stderr
    with closing(LogWriter(str(tmp_path / "log"))):
        job = write_job(tmp_path, JOB)
    workers = ("--environment_type=DOCKER", "--environment_config=streamgauge:old")
    submitted = streamgauge(on, "flink", "submit", str(job), "--flink", "127.0.0.1:1", *workers)
    assert submitted.returncode == 2
    assert (
        submitted.stderr == "error: flink: streamgauge:old has Beam 2.70.0 and this is 2.77.0: they must be the same\n"
    )


def test_a_base_of_another_python_is_refused_before_anything_is_built(on: Engine, base: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {base}\nRUN rm /usr/bin/python3\nCOPY python3 /usr/bin/python3\n")
    (tmp_path / "python3").write_text("#!/bin/sh\necho 3.9\n")
    (tmp_path / "python3").chmod(0o755)
    on.docker("build", "--network=none", "--tag=streamgauge-tests/old", str(tmp_path))
    ran = streamgauge(on, "image", "build", "--base", "streamgauge-tests/old")
    assert ran.returncode == 2
    assert "the base image streamgauge-tests/old has Python 3.9 and this is 3." in ran.stderr
    assert "Traceback" not in ran.stderr


def test_another_builder_can_build_it_from_the_folder_that_is_filled(on: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "context"
    ran = streamgauge(on, "image", "build", "--context", str(folder), "--no-prism", DOCKER_HOST="unix:///nowhere")
    assert ran.returncode == 0, ran.stderr
    assert {path.name for path in folder.iterdir()} == {
        *("Dockerfile", "LICENSE", "requirements.txt", "build-requirements.txt", "bin", "wheel", "wheels"),
    }
    assert [path.name for path in (folder / "bin").iterdir()] == ["boot"]
    again = streamgauge(on, "image", "build", "--context", str(folder))
    assert (again.returncode, again.stderr) == (2, f"error: {folder} already exists\n")


def test_an_image_that_is_not_there_is_one_clear_message(on: Engine) -> None:
    ran = streamgauge(on, "image", "inspect", "streamgauge:nowhere")
    assert ran.returncode == 2
    assert ran.stderr == (
        "error: the image streamgauge:nowhere is not on this machine: build it, or `docker pull streamgauge:nowhere`\n"
    )

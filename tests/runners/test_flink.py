"""What goes to a Flink cluster, and what is made of its answers; a real one has tests of its own (tests/cluster)."""

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from runners import flink, flink_jar
from runners.failures import root_cause
from runners.flags import options_of
from runners.flink_rest import Flink, FlinkError, FlinkJobFailed, NoSuchJob, SavepointUnfit, job_failed, waited

ENTRY = flink_jar.ENTRY.replace(".", "/") + ".class"


class Answers(BaseHTTPRequestHandler):
    """A cluster that answers what a test says, and keeps what it was asked."""

    known: dict[str, Any]
    asked: list[tuple[str, str, bytes]]

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append((self.command, self.path, body))
        code, content = self.known.get(f"{self.command} {self.path}", (404, {"errors": ["Not found."]}))
        self.send_response(code)
        self.end_headers()
        self.wfile.write(content if isinstance(content, bytes) else json.dumps(content).encode())

    do_GET = do_POST = do_PATCH = do_DELETE = _answer

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[type[Answers]]:
    class Mine(Answers):
        pass

    Mine.known, Mine.asked = {}, []

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Mine)
    Mine.address = f"127.0.0.1:{listening.server_port}"  # type: ignore[attr-defined]
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield Mine
    listening.shutdown()
    listening.server_close()


def cluster(server: Any) -> Flink:
    return Flink(server.address)


@pytest.mark.parametrize("address", ["nonsense", "localhost", "localhost:port", "http://", ":8081"])
def test_an_address_has_a_host_and_a_port(address: str) -> None:
    with pytest.raises(FlinkError, match="is not the address of a Flink cluster, HOST:PORT"):
        Flink(address)


def test_a_cluster_that_does_not_answer_is_told_in_one_sentence() -> None:
    with pytest.raises(FlinkError, match=r"^no Flink answers at localhost:1: Connection refused$"):
        Flink("localhost:1").overview()


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"{}"])
def test_somebody_else_at_the_address_is_no_flink(server: Any, content: bytes) -> None:
    server.known["GET /v1/overview"] = 200, content
    with pytest.raises(FlinkError, match="answers, but is not Flink"):
        cluster(server).overview()


def test_a_job_that_the_cluster_does_not_know_is_told(server: Any) -> None:
    trace = "<Exception on server side:\norg.apache.X.FlinkJobNotFoundException: Could not find Flink job (abd)\n\tat a"
    server.known["GET /v1/jobs/abd/status"] = 500, {"errors": ["Internal server error.", trace]}
    for job in ("abc", "abd"):
        with pytest.raises(NoSuchJob, match=f"does not know job {job}"):
            cluster(server).state(job)


def test_a_refusal_says_the_cause_and_no_stack_trace(server: Any) -> None:
    trace = (
        "Internal server error.\norg.apache.X: outer\n\tat a.b\nCaused by: java.io.IOException: No space left\n\tat c"
    )
    server.known["POST /v1/jars/x/run"] = 500, {"errors": ["Internal server error.", trace]}
    with pytest.raises(FlinkError, match=r"refuses: No space left$"):
        cluster(server).start("x", {})


def test_a_jar_is_uploaded_as_a_form_and_named_as_the_cluster_names_it(server: Any, tmp_path: Path) -> None:
    jar = tmp_path / "a.jar"
    jar.write_bytes(b"content" * 1000)
    server.known["POST /v1/jars/upload"] = 200, {"filename": "/tmp/web/uuid_job.jar"}
    assert cluster(server).upload(str(jar)) == "uuid_job.jar"
    body = server.asked[-1][2]
    assert b'name="jarfile"; filename="job.jar"' in body and b"content" * 1000 in body


def test_stopping_waits_for_the_savepoint_and_for_the_end(server: Any) -> None:
    server.known |= {
        "POST /v1/jobs/j/stop": (202, {"request-id": "r"}),
        "GET /v1/jobs/j/savepoints/r": (200, {"status": {"id": "COMPLETED"}, "operation": {"location": "file:/s"}}),
        "GET /v1/jobs/j/status": (200, {"status": "FINISHED"}),
    }
    assert cluster(server).stop("j", None, 1) == "file:/s"
    assert json.loads(server.asked[0][2]) == {"drain": False}


def test_a_savepoint_that_fails_says_why(server: Any) -> None:
    trace = "java.lang.X: a\nCaused by: java.io.IOException: No space left on device\n\tat b"
    server.known |= {
        "POST /v1/jobs/j/savepoints": (202, {"request-id": "r"}),
        "GET /v1/jobs/j/savepoints/r": (
            200,
            {"status": {"id": "COMPLETED"}, "operation": {"failure-cause": {"stack-trace": trace}}},
        ),
    }
    with pytest.raises(FlinkError, match=r"the savepoint failed: No space left on device$"):
        cluster(server).savepoint("j", "file:/s", 1)


def test_a_job_that_fails_instead_of_running_is_told(server: Any) -> None:
    server.known |= {
        "GET /v1/jobs/j": (200, {"state": "FAILED", "vertices": []}),
        "GET /v1/jobs/j/exceptions": (
            200,
            {"exceptionHistory": {"entries": [{"timestamp": 1000, "stacktrace": "a.B: no such key"}]}},
        ),
    }
    with pytest.raises(FlinkJobFailed, match=r"is FAILED: no such key$"):
        cluster(server).wait_until_it_runs("j", 1)


def test_waiting_ends_at_its_deadline_and_says_for_what() -> None:
    with pytest.raises(FlinkError, match=r"^no savepoint$"):
        waited(lambda: None, 0, lambda: "no savepoint")


def test_the_cause_of_a_failure_is_pythons_if_there_is_one() -> None:
    java = "java.lang.RuntimeException: Error received from SDK harness: Traceback (most recent call last):\n"
    python = (
        "  File \"a.py\", line 1\ntransforms.storage.error.SinkError: disk full [while running 'Store']\n\tat x.y\n"
    )
    assert root_cause(f"{java}{python}").startswith("SinkError: disk full")
    assert root_cause("") == ""


def jar(path: Path, *names: str, content: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, content)
    return path


def test_a_jar_says_its_flink_and_its_beam_by_its_name_or_by_its_parts(tmp_path: Path) -> None:
    named = jar(tmp_path / "beam-runners-flink-1.20-job-server-2.77.0.jar", ENTRY)
    assert flink_jar.examine(named, "x") == flink_jar.JobServerJar(named, "1.20", "2.77.0")
    pom = "META-INF/maven/org.apache.beam/beam-runners-flink-1.19/pom.properties"
    parts = jar(tmp_path / "mine.jar", ENTRY, pom, content="version=2.70.0\n")
    assert flink_jar.examine(parts, "x") == flink_jar.JobServerJar(parts, "1.19", "2.70.0")


def test_what_is_no_job_server_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.jar"
    text.write_text("no jar")
    for path, words in (
        (tmp_path / "none.jar", "is not a file"),
        (text, "is not a jar"),
        (jar(tmp_path / "other.jar", "a.class"), "is not a job server of Beam for Flink"),
    ):
        with pytest.raises(FlinkError, match=f"^--flink_job_server_jar: .*{words}"):
            flink_jar.locate(str(path), "1.19.3")


def test_a_jar_for_another_flink_is_refused(tmp_path: Path) -> None:
    other = jar(tmp_path / "beam-runners-flink-2.0-job-server-2.77.0.jar", ENTRY)
    with pytest.raises(
        FlinkError, match=r"is for Flink 2\.0, and the cluster is Flink 1\.19\.3: they must be the same"
    ):
        flink_jar.locate(str(other), "1.19.3")


def test_a_jar_that_nobody_names_is_the_one_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(flink_jar.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "streamgauge").mkdir()
    mine = jar(tmp_path / "streamgauge" / "beam-runners-flink-1.19-job-server-2.77.0.jar", ENTRY)
    assert flink_jar.locate(None, "1.19.3").path == mine
    monkeypatch.setenv(flink_jar.VARIABLE, str(tmp_path / "elsewhere.jar"))
    with pytest.raises(FlinkError, match=flink_jar.VARIABLE):
        flink_jar.locate(None, "1.19.3")


def settings_of(*flags: str, endless: bool = True, parallelism: int = 2, workers: int = 1) -> dict[str, Any]:
    options = flink.pipeline(flags, "job", endless=endless)._options
    encoded = flink.encoded_options(options, parallelism, workers)
    return {name.split(":")[2]: encoded[name] for name in encoded}


def test_an_endless_job_has_the_settings_without_which_it_stands_still() -> None:
    found = settings_of()
    for name, value in flink.ENDLESS.items():
        assert str(found[name]) == str(value), name
    assert (found["flink_master"], found["parallelism"], found["job_name"]) == ("[auto]", "2", "job")
    assert found["environment_type"] == "EXTERNAL" and found["environment_config"] == flink.POOL


def test_what_is_said_comes_in_place_of_a_setting() -> None:
    found = settings_of("--checkpointing_interval=60000", "--environment_type=DOCKER", "--environment_config=image:1")
    assert (str(found["checkpointing_interval"]), found["environment_type"]) == ("60000", "DOCKER")
    assert found["environment_config"] == "image:1"


def test_a_job_that_ends_keeps_flinks_own_settings() -> None:
    assert not settings_of(endless=False).keys() & flink.ENDLESS.keys()


@pytest.fixture
def job_server(tmp_path: Path) -> str:
    return f"--flink_job_server_jar={jar(tmp_path / 'beam-runners-flink-1.19-job-server-2.77.0.jar', ENTRY)}"


def with_slots(server: Any, slots: list[int]) -> None:
    """Lets the server be a cluster whose TaskManagers have these slots, all free."""
    about = {"flink-version": "1.19.3", "slots-total": sum(slots), "slots-available": sum(slots)}
    server.known |= {
        "GET /v1/overview": (200, {**about, "taskmanagers": len(slots)}),
        "GET /v1/taskmanagers": (200, {"taskmanagers": [{"slotsNumber": count} for count in slots]}),
    }


def target_at(server: Any, slots: list[int], *flags: str, parallelism: int) -> flink.FlinkTarget:
    """What a cluster whose TaskManagers have these slots is for a job."""
    with_slots(server, slots)
    return flink.target_of([f"--flink_master={server.address}", *flags], parallelism)


@pytest.mark.parametrize(
    ("slots", "parallelism", "workers"),
    [([4], 4, 4), ([4], 2, 2), ([4], 1, 1), ([1, 1, 1, 1], 4, 1), ([1, 3], 4, 3)],
)
def test_each_slot_that_a_job_may_use_has_a_process_for_python(
    server: Any, job_server: str, slots: list[int], parallelism: int, workers: int
) -> None:
    assert target_at(server, slots, job_server, parallelism=parallelism).workers == workers


@pytest.mark.parametrize("flags", [["--sdk_worker_parallelism=1"], ["--sdk_worker_parallelism", "1"]])
def test_processes_that_the_user_asks_for_are_what_he_gets(server: Any, job_server: str, flags: list[str]) -> None:
    assert target_at(server, [4], job_server, *flags, parallelism=4).workers == 1


def test_a_count_of_processes_is_a_number(server: Any, job_server: str) -> None:
    with pytest.raises(FlinkError, match=r"^--sdk_worker_parallelism must be a number of processes, or 0, is many$"):
        target_at(server, [4], job_server, "--sdk_worker_parallelism=many", parallelism=4)


def test_more_processes_than_one_are_told_and_travel_with_the_job(server: Any, job_server: str) -> None:
    target = target_at(server, [4], job_server, parallelism=3)
    assert "up to 3 Python processes for each TaskManager, about 430 MB each" in flink.notes_of(target)
    assert submitted_options(server, target, parallelism=3)["beam:option:sdk_worker_parallelism:v1"] in (3, "3")


def submitted_options(server: Any, target: flink.FlinkTarget, parallelism: int) -> dict[str, Any]:
    """The options in the jar that a cluster is given."""
    server.known |= {
        "POST /v1/jars/upload": (200, {"filename": "/tmp/web/u_job.jar"}),
        "POST /v1/jars/u_job.jar/run": (200, {"jobid": "j"}),
        "DELETE /v1/jars/u_job.jar": (200, {}),
    }
    pipeline = flink.pipeline([], "job", endless=True)
    _ = pipeline | "Numbers" >> beam.Create([1])
    flink.submit(flink.proto_of(pipeline), pipeline._options, target, "j", parallelism)
    body = next(body for _, path, body in server.asked if path == "/v1/jars/upload")
    with zipfile.ZipFile(io.BytesIO(body[body.index(b"PK") : body.rindex(b"\r\n--")])) as archive:
        return dict(json.loads(archive.read("BEAM-PIPELINE/pipeline/pipeline-options.json")))


def test_only_flags_that_name_a_cluster_go_to_one() -> None:
    assert flink.is_cluster(["--runner=FlinkRunner", "--flink_master=a:1"])
    assert not flink.is_cluster(["--runner=FlinkRunner"]) and not flink.is_cluster(["--flink_master=a:1"])


def test_a_job_travels_in_the_jar(tmp_path: Path) -> None:
    pipeline = flink.pipeline([], "job", endless=False)
    _ = pipeline | "Numbers" >> beam.Create([1])
    proto, source = flink.proto_of(pipeline), jar(tmp_path / "a.jar", ENTRY)
    options = flink.encoded_options(pipeline._options, 1, 1)
    flink_jar.with_job(flink_jar.JobServerJar(source, "", ""), str(tmp_path / "b.jar"), proto, options)
    with zipfile.ZipFile(tmp_path / "b.jar") as archive:
        names = archive.namelist()
        manifest = json.loads(archive.read("BEAM-PIPELINE/pipeline-manifest.json"))
    assert {ENTRY, "BEAM-PIPELINE/pipeline/pipeline.json", "BEAM-PIPELINE/pipeline/pipeline-options.json"} <= set(names)
    assert manifest == {"defaultJobName": "pipeline"}
    assert any("Numbers" in name for name in flink_jar.names_of(proto))
    assert options_of([]).get_all_options()["streaming"] is False, "options of others are as they were"


@pytest.mark.parametrize(
    ("why", "kind"),
    [
        ("x is FAILED: Cannot map checkpoint/savepoint state for operator 12", SavepointUnfit),
        ("x is FAILED: Failed to rollback to checkpoint/savepoint file:/s", SavepointUnfit),
        ("x is FAILED: Cannot find checkpoint or savepoint file/directory", SavepointUnfit),
        ("x is FAILED: SinkError: disk full", FlinkJobFailed),
    ],
)
def test_a_savepoint_that_does_not_fit_is_told_from_a_job_that_fails(why: str, kind: type[FlinkJobFailed]) -> None:
    assert type(job_failed(why)) is kind

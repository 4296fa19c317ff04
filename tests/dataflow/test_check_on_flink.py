"""What `check` says of a job that is to run on a Flink cluster."""

from contextlib import closing
from pathlib import Path
from typing import Any

from tests.dataflow.jobs import JSON_LINES, streamgauge, write_job, write_json_lines
from tests.dataflow.live_job import JOB, Feed
from tests.runners.test_flink import job_server, server, with_slots  # noqa: F401  # two are fixtures

HERE = "can be read only on the collector's machine, where every TaskManager of this job must run; for more than one"


def checked(server: Any, job_server: str, job: Path) -> str:  # noqa: F811
    with_slots(server, [2])
    ended = streamgauge("check", job, "--runner=FlinkRunner", f"--flink_master={server.address}", job_server)
    assert ended.code == 0, ended.err
    return ended.out


def test_a_log_is_said_to_be_of_one_machine(server: Any, job_server: str, tmp_path: Path) -> None:  # noqa: F811
    with closing((feed := Feed(tmp_path)).writer):
        feed.write(3)
    out = checked(server, job_server, write_job(tmp_path, JOB))
    assert f"the log {tmp_path}/log {HERE} machine, use source.kafka" in out
    [shared] = [line for line in out.splitlines() if "the same files and folders on every machine" in line]
    assert f"{tmp_path}/out" in shared and f"{tmp_path}/log" not in shared


def test_files_may_be_read_on_every_machine(server: Any, job_server: str, tmp_path: Path) -> None:  # noqa: F811
    write_json_lines(tmp_path / "data.jsonl", [{"ts": 1, "key": "a", "value": 1.0}])
    out = checked(server, job_server, write_job(tmp_path, JSON_LINES))
    assert "the same files and folders on every machine of the cluster: data.jsonl" in out
    assert "collector's machine" not in out

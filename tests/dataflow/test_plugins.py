"""A package from outside adds kinds of sinks and models, and statistics: a job names it; no file of ours changes."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.dataflow.jobs import JSON_LINES, ROOT, Ended, changed, in_process_of_its_own, streamgauge, write_job, written
from tests.dataflow.live_job import JOB, Feed

PLUGIN = f"{ROOT}/tests/plugin"
MODELS = {"usual": {"kind": "mean_of", "column": "value"}}
FIGURES = [{**JSON_LINES["aggregations"][0], "statistics": {"value": ["min", "max", "range"]}, "models": MODELS}]


def with_plugin(*arguments: str | Path) -> Ended:
    return in_process_of_its_own(*arguments, env={"PYTHONPATH": os.pathsep.join([str(ROOT), PLUGIN])})


def rows(folder: Path) -> list[dict[str, Any]]:
    files = json.loads((folder / "files.json").read_text())
    return [json.loads(line) for name in files for line in (folder / name).read_text().splitlines()]


def test_a_job_runs_with_a_sink_a_model_and_a_statistic_of_a_plugin(tmp_path: Path) -> None:
    sinks = [{"lines": {"path": "lines"}}]
    job = written(
        tmp_path, changed(JSON_LINES, plugins=["example"], sinks=sinks, aggregations=FIGURES, report="r.html")
    )
    planned = with_plugin("plan", job)
    assert "plugin      example (streamgauge-example 1.0)" in planned.out, planned
    for _ in range(2):  # and again, in the place of the run before
        ended = with_plugin("run", job)
        assert ended.code == 0, ended
    found = rows(tmp_path / "lines/by_key")
    assert len(found) == 7
    assert all(row["value_range"] == row["value_max"] - row["value_min"] > 0 for row in found)
    assert sum(row["read"] for row in rows(tmp_path / "lines/ledger")) == 1000
    assert {(row["model"], row["n"] > 0) for row in rows(tmp_path / "lines/by_key_models")} == {("usual", True)}
    assert "Range" in (tmp_path / "r.html").read_text()


def test_a_live_job_goes_through_a_plugin_and_is_verified(tmp_path: Path, feed: Feed) -> None:
    sinks = [{"lines": {"path": "lines"}}, *JOB["sinks"]]
    job = write_job(tmp_path, changed(JOB, plugins=["example"], sinks=sinks))
    feed.write(30)
    for _ in range(2):
        ended = with_plugin("run", job, "--streaming", "--to-end")
        assert ended.code == 0, ended
        feed.write(20)
    assert rows(tmp_path / "lines/ledger") and rows(tmp_path / "lines/fixed")
    checked = with_plugin("verify", job)
    assert checked.code == 0, checked


@pytest.mark.parametrize(
    ("plugins", "said"),
    [
        (["exampel"], "job.yaml:3: plugins[0]: must be a plugin that is installed (none), is exampel"),
        (None, "sinks[0]: must be a mapping with one of parquet, sql, kafka, is lines"),
    ],
)
def test_a_plugin_that_is_not_there_or_not_named_is_refused(
    plugins: list[str] | None, said: str, tmp_path: Path
) -> None:
    job = {"job": "j", "plugins": plugins, **JSON_LINES, "sinks": [{"lines": {"path": "lines"}}]}
    ended = streamgauge("check", written(tmp_path, changed(job)))
    assert (ended.code, said in ended.message) == (2, True), ended.message

"""A package from outside adds sources, kinds of sinks and models, and statistics: no file of ours changes."""

import itertools
import json
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.dataflow.forking import forked
from tests.dataflow.jobs import (
    JSON_LINES,
    ROOT,
    Ended,
    changed,
    finished,
    parquet_table,
    streamgauge,
    write_job,
    written,
)
from tests.dataflow.live_job import BEGAN_US, JOB, Feed, kept_up_to
from tests.waiting import until
from transforms.process import versions

PLUGIN = f"{ROOT}/tests/plugin"
MODELS = {"usual": {"kind": "mean_of", "column": "value"}}
FIGURES = [{**JSON_LINES["aggregations"][0], "statistics": {"value": ["min", "max", "range"]}, "models": MODELS}]


ENVIRONMENT = {"PYTHONPATH": os.pathsep.join([str(ROOT), PLUGIN])}


def with_plugin(*arguments: str | Path, packages: Path | None = None) -> Ended:
    folders = [ENVIRONMENT["PYTHONPATH"], *([str(packages)] if packages is not None else [])]
    return finished(forked(*arguments, env={"PYTHONPATH": os.pathsep.join(folders)}))


def package(folder: Path, name: str, code: str, plugin: str = "mine") -> Path:
    """Installs a package in a folder, with one plugin, its function `register`."""
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[streamgauge.plugins]\n{plugin} = {name}:register\n")
    (folder / f"{name}.py").write_text(code)
    return folder


MINE = """
from streamgauge_example.lines import LinesSink, LinesTarget
from transforms.errors import SinkError
from transforms.specification import Spec
from transforms.storage import sinks
from transforms.storage.sink import Sink


class MineSpec(Spec):
    mine: LinesTarget


class Mine(LinesSink):
    kind, spec, journal = "mine", MineSpec, "mine"

    @classmethod
    def of(cls, spec, job, tables):
        return cls(job=job, tables=tables, path=spec.mine.path)

    @classmethod
    def resolved(cls, spec, folder):
        return MineSpec(mine=LinesTarget(path=f"{folder}/{spec.mine.path}"))

    @classmethod
    def paths(cls, spec):
        return iter(())


def register():
    sinks.register(Mine)
"""
"""A kind of sink that plugins of tests change at one place."""


def mine(**methods: str) -> str:
    """The code of a plugin whose sink has other methods."""
    return MINE + "".join(f"\n\nMine.{name} = {code}" for name, code in methods.items()) + "\n"


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


SESSIONS: dict[str, Any] = {
    "name": "sessions",
    "key": ["key"],
    "window": {"gap": "150ms"},
    "allowed_lateness": "1s",
    "statistics": {"value": ["count", "sum", "first"]},
    "models": MODELS,
}


@pytest.mark.slow
def test_windows_of_a_plugin_grow_in_a_live_job_and_are_verified(tmp_path: Path, feed: Feed) -> None:
    """Late records join windows that are there, so rows of bounds that are gone would stay if nothing took them out."""
    sinks = [{"lines": {"path": "lines"}}, *JOB["sinks"]]
    job = write_job(tmp_path, changed(JOB, plugins=["example"], aggregations=[SESSIONS], sinks=sinks))
    assert "windows of sessions with gaps of 150ms" in with_plugin("plan", job).out
    feed.write(60, records=4)
    for _ in range(2):
        ended = with_plugin("run", job, "--streaming", "--to-end")
        assert ended.code == 0, ended
        feed.write(60, records=4)
    for command in (["verify"], ["replay"], ["run", "--streaming", "--to-end", "--drain"], ["verify"]):
        ended = with_plugin(command[0], job, *command[1:])
        assert ended.code == 0, ended
    with closing(sqlite3.connect(tmp_path / "out/live.db")) as database:
        stored = database.execute("SELECT key, window_start, window_end, final FROM sessions ORDER BY 1, 2").fetchall()
    assert all(final for *_, final in stored)
    following = [(one, other) for one, other in itertools.pairwise(stored) if one[0] == other[0]]
    assert following and all(one[2] <= other[1] for one, other in following), "windows of a key do not overlap"


def test_a_sink_that_cannot_retract_is_refused_where_windows_grow(tmp_path: Path) -> None:
    code = mine(
        stores_at_once="True", **dict.fromkeys(("take", "store", "roll_back", "expire", "last_closed"), "print")
    )
    packages = package(tmp_path / "packages", "mine", code)
    sinks = [*JOB["sinks"], {"mine": {"path": "mine"}}]
    for lateness, code_of_it in (("1s", 2), ("0s", 0)):
        aggregation = {**SESSIONS, "allowed_lateness": lateness}
        content = changed(JOB, plugins=["example", "mine"], aggregations=[aggregation], sinks=sinks)
        ended = with_plugin("plan", write_job(tmp_path, content), packages=packages)
        assert ended.code == code_of_it, ended
        said = "sinks[2]: must be able to retract rows of windows that grow, which mine is not"
        assert (said in ended.err) == bool(code_of_it)


@pytest.mark.slow
def test_a_replay_and_a_rebuild_of_a_live_job_keep_the_rows_of_a_plugin_s_sink(tmp_path: Path, feed: Feed) -> None:
    sinks = [{"lines": {"path": "lines"}}, *JOB["sinks"]]
    job = write_job(tmp_path, changed(JOB, plugins="example", sinks=sinks))
    feed.write(30)
    for command in (["run", "--streaming", "--to-end"], ["replay"], ["run", "--streaming", "--to-end"]):
        ended = with_plugin(command[0], job, *command[1:])
        assert ended.code == 0, ended
        feed.write(10)
    checked = with_plugin("verify", job)
    assert checked.code == 0, checked
    shutil.rmtree(tmp_path / "lines/fixed")
    assert "has lost" in with_plugin("verify", job).message
    for command in (["rebuild"], ["verify"]):
        ended = with_plugin(command[0], job)
        assert ended.code == 0, ended


def test_a_new_kind_of_sink_in_the_folder_of_another_is_refused(tmp_path: Path, feed: Feed) -> None:
    sinks = [{"lines": {"path": "tables"}}, *JOB["sinks"]]
    feed.write(10)
    job = write_job(tmp_path, changed(JOB, plugins="example", sinks=sinks))
    assert with_plugin("run", job, "--streaming", "--to-end").code == 0
    feed.write(10)
    write_job(tmp_path, changed(JOB, sinks=[{"parquet": {"path": "tables"}}, *JOB["sinks"]]))
    ended = with_plugin("run", job, "--streaming", "--to-end")
    assert (ended.code, "holds files of a sink of another kind (" in ended.message) == (2, True), ended


def test_tables_that_an_interrupted_run_has_yet_to_publish_are_not_forgotten_with_their_plugin(tmp_path: Path) -> None:
    fails = "classmethod(lambda cls, prepared: (_ for _ in ()).throw(SinkError('no room')))"
    sinks = [{"parquet": {"path": "out"}}, {"mine": {"path": "mine"}}]
    job = written(tmp_path, changed(JSON_LINES, plugins="mine", sinks=sinks))
    broken = package(tmp_path / "broken", "mine", mine(finish=fails))
    assert "no room" in with_plugin("run", job, packages=broken).message
    write_job(tmp_path, JSON_LINES)
    ended = with_plugin("run", job)
    assert "an interrupted run has yet to publish to mine, which is not a kind of sink" in ended.message
    write_job(tmp_path, changed(JSON_LINES, plugins="mine", sinks=sinks))
    ended = with_plugin("run", job, packages=package(tmp_path / "mended", "mine", MINE))
    assert ended.code == 0, ended
    assert sum(row["read"] for row in rows(tmp_path / "mine/ledger")) == 1000


def test_a_sink_that_fails_is_reported_and_the_others_discard_what_they_prepared(tmp_path: Path) -> None:
    code = mine(
        publish="lambda self, staged: (_ for _ in ()).throw(SinkError('no room'))",
        discard="classmethod(lambda cls, prepared: (_ for _ in ()).throw(SinkError('no way back')))",
    )
    sinks = [{"mine": {"path": "mine"}}, {"parquet": {"path": "out"}}]
    job = written(tmp_path, changed(JSON_LINES, plugins="mine", sinks=sinks))
    ended = with_plugin("run", job, packages=package(tmp_path / "packages", "mine", code))
    assert (ended.code, "no room" in ended.message, "no way back" in ended.message) == (1, True, False), ended
    assert not list((tmp_path / ".streamgauge/readings").glob("publication*"))
    assert not list((tmp_path / "out").glob("*/.incoming*"))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (MINE.replace("sinks.register(Mine)", "raise SystemExit(0)"), "cannot be loaded: SystemExit: 0"),
        (mine(continued="Sink.continued"), "cannot be loaded: ValueError: the sink mine must define continued"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_refused(code: str, said: str, tmp_path: Path) -> None:
    job = written(tmp_path, changed(JSON_LINES, plugins="mine"))
    ended = with_plugin("check", job, packages=package(tmp_path / "packages", "mine", code))
    assert (ended.code, said in ended.message) == (2, True), ended


def test_a_plugin_of_two_packages_is_refused(tmp_path: Path) -> None:
    packages = package(package(tmp_path / "packages", "mine", MINE), "other", MINE)
    ended = with_plugin("check", written(tmp_path, changed(JSON_LINES, plugins="mine")), packages=packages)
    assert ended.code == 2
    assert "plugins[0]: must be a plugin of one package, and mine is one of mine and other" in ended.message


def test_a_sink_that_does_not_store_live_jobs_is_refused_in_one(tmp_path: Path) -> None:
    code = mine(folders="Sink.folders")
    job = write_job(tmp_path, changed(JOB, plugins="mine", sinks=[{"mine": {"path": "mine"}}]))
    ended = with_plugin("check", job, packages=package(tmp_path / "packages", "mine", code))
    assert ended.code == 2
    assert "sinks[0]: must store the rows of live jobs, which mine does not" in ended.message


@pytest.mark.parametrize(
    ("plugins", "said"),
    [
        (["exampel"], "job.yaml:3: plugins[0]: must be a plugin that is installed (none), is exampel"),
        ("exampel", "job.yaml:2: plugins[0]: must be a plugin that is installed (none), is exampel"),
        (None, "sinks[0]: must be a mapping with one of parquet, sql, kafka, is lines"),
    ],
)
def test_a_plugin_that_is_not_there_or_not_named_is_refused(
    plugins: list[str] | None, said: str, tmp_path: Path
) -> None:
    job = {"job": "j", "plugins": plugins, **JSON_LINES, "sinks": [{"lines": {"path": "lines"}}]}
    ended = streamgauge("check", written(tmp_path, changed(job)))
    assert (ended.code, said in ended.message) == (2, True), ended.message


class Files:
    """Puts numbered files into a folder, whole, a tenth of a second of 20 records each; one record is broken."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        self.written = 0

    def write(self, count: int) -> None:
        for number in range(self.written + 1, self.written + count + 1):
            now = BEGAN_US // 1000 + 100 * number
            lines = [json.dumps({"ts": now - row, "key": f"k{row % 3}", "value": row}) for row in range(19)]
            new = self.folder / f"{number}.new"
            new.write_text("\n".join([*lines, "broken"]) + "\n")
            new.rename(new.with_suffix(".jsonl"))
        self.written += count

    @property
    def present(self) -> set[int]:
        return {int(path.stem) for path in self.folder.glob("*.jsonl")}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "in")


def reading(folder: Path, kind: str) -> Path:
    """A job with a source of the plugin."""
    return write_job(folder, changed(JOB, plugins="example", source={kind: {"path": "in"}}))


def booked(folder: Path) -> dict[str, int]:
    """What became of the records, by the ledger."""
    rows = parquet_table(folder / "out/ledger").to_pylist()
    return {name: sum(row[name] for row in rows) for name in ("read", "dead")}


def test_a_job_reads_the_source_of_a_plugin_to_its_end(tmp_path: Path, files: Files) -> None:
    job = reading(tmp_path, "numbered")
    files.write(30)
    assert f"  read        folder {tmp_path}/in\n" in with_plugin("plan", job).out
    checked = with_plugin("check", job)
    assert f"source    folder {tmp_path}/in, records 0 to 30, readable" in checked.out, checked
    ended = with_plugin("run", job)
    assert ended.code == 0, ended
    assert booked(tmp_path) == {"read": 600, "dead": 30}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["numbered", "mailbox"])
def test_a_live_job_follows_the_source_of_a_plugin_is_killed_and_resumes(
    kind: str, tmp_path: Path, files: Files
) -> None:
    job = reading(tmp_path, kind)
    for _ in range(2):
        before = kept_up_to(tmp_path)
        process = forked("run", job, "--streaming", env=ENVIRONMENT)
        try:
            files.write(30)
            until(lambda: kept_up_to(tmp_path), f"a checkpoint after {before}", before.__lt__)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    files.write(30)
    ended = with_plugin("run", job, "--streaming", "--to-end")
    assert ended.code == 0, ended
    assert booked(tmp_path) == {"read": 1800, "dead": 90}
    assert files.present == (set(range(1, 91)) if kind == "numbered" else set())


@pytest.mark.slow
def test_a_source_of_a_plugin_is_verified_and_its_dead_letters_replayed(tmp_path: Path, files: Files) -> None:
    job = reading(tmp_path, "numbered")
    files.write(30)
    assert with_plugin("run", job, "--streaming", "--to-end").code == 0
    checked = with_plugin("verify", job)
    assert f"are what files 1 to 30 of the folder {tmp_path}/in give" in checked.out, checked
    assert with_plugin("replay", job, "--export", tmp_path / "dead.jsonl").code == 0
    mended = (tmp_path / "dead.jsonl").read_text().replace('"broken"', json.dumps('{"ts": 1, "key": "k"}'))
    (tmp_path / "dead.jsonl").write_text(mended)
    replayed = with_plugin("replay", job, tmp_path / "dead.jsonl")
    assert "30: 30 brought in, 0 still dead" in replayed.out, replayed
    for command in (["run", "--streaming", "--to-end"], ["verify"]):
        files.write(10)
        ended = with_plugin(command[0], job, *command[1:])
        assert ended.code == 0, ended
    assert booked(tmp_path) == {"read": 800, "dead": 10}


@pytest.mark.slow
def test_what_would_read_a_source_again_says_that_it_can_be_read_only_once(tmp_path: Path, files: Files) -> None:
    job = reading(tmp_path, "mailbox")
    files.write(30)
    assert with_plugin("run", job, "--streaming", "--to-end").code == 0
    once = f"the folder {tmp_path}/in can be read only once"
    for command in ("verify", "replay"):
        ended = with_plugin(command, job)
        assert (ended.code, f"{command} reads a source again, and {once}" in ended.message) == (2, True), ended
    assert with_plugin("replay", job, "--export", tmp_path / "dead.jsonl").code == 0
    shutil.rmtree(tmp_path / "out/fixed")
    rebuilt = with_plugin("rebuild", job)
    assert (rebuilt.code, "from another sink" in rebuilt.out) == (0, True), rebuilt
    shutil.rmtree(tmp_path / "out")
    ended = with_plugin("rebuild", job)
    assert (ended.code, f"is whole in no sink, and {once}: restore a sink" in ended.message) == (2, True), ended
    on_flink = with_plugin("check", job, "--runner=FlinkRunner", "--flink_master=localhost:1")
    assert on_flink.code == 2 and f"{once}, and a cluster" in on_flink.message, on_flink
    bounded = with_plugin("run", job, "--set=state=bounded", "--runner=FlinkRunner", "--flink_master=localhost:1")
    assert bounded.code == 2 and f"{once}, and a cluster" in bounded.message, bounded


@pytest.mark.slow
@pytest.mark.parametrize("is_of_an_earlier_version", [False, True])
def test_a_checkpoint_of_a_source_of_another_kind_is_refused(
    is_of_an_earlier_version: bool, tmp_path: Path, files: Files, feed: Feed
) -> None:
    files.write(10)
    feed.write(10)
    assert with_plugin("run", reading(tmp_path, "numbered"), "--streaming", "--to-end").code == 0
    words = "its checkpoints belong to a job with different `source`"
    if is_of_an_earlier_version:
        forget_source(f"{tmp_path}/.streamgauge/live/manifest")
        words = f"its checkpoints cannot be read as those of the log {tmp_path}/log (KeyError: 'heard')"
    job, before = write_job(tmp_path, JOB), written(tmp_path / "out")
    for command in (["run", "--streaming", "--to-end"], ["verify"], ["replay"], ["rebuild"]):
        ended = with_plugin(command[0], job, *command[1:])
        assert (ended.code, words in ended.message) == (2, True), ended
    assert written(tmp_path / "out") == before


def forget_source(manifest: str) -> None:
    """Makes a manifest one of a version that did not record the kind of source."""
    version = versions.read(manifest)
    assert version is not None
    content = json.loads(version.content)
    del content["identity"]["source"]
    versions.write(manifest, version.number + 1, json.dumps(content).encode())


@pytest.mark.slow
def test_after_damage_a_source_that_can_be_read_once_is_not_read_from_an_older_checkpoint(
    tmp_path: Path, files: Files
) -> None:
    job = reading(tmp_path, "mailbox")
    for _ in range(3):
        files.write(10)
        assert with_plugin("run", job, "--streaming", "--to-end").code == 0
    newest = max((tmp_path / ".streamgauge/live/checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    files.write(10)
    ended = with_plugin("run", job, "--streaming", "--to-end")
    assert ended.code == 2 and f"{newest}: is damaged" in ended.message, ended
    assert "can be read only once: after an older checkpoint, records would be missing" in ended.message
    assert len(files.present) == 10

"""What can fail does: one clear message, the right exit code, the tables of the run before, and the next run works."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from tests.dataflow.jobs import (
    JSON_LINES,
    changed,
    finished,
    parquet_table,
    parquet_tables,
    readings,
    run,
    settled,
    sqlite_rows,
    start,
    streamgauge,
    tree,
    write_job,
    write_json_lines,
    written,
)
from tests.dataflow.trouble import read_only, small_disk
from tests.waiting import until

BOTH = [{"parquet": {"path": "out"}}, {"sql": {"url": "sqlite:///out/figures.db"}}]
HOLD = """
import time
from pathlib import Path

HERE = Path(__file__).parent

def wait(frame):
    if len(frame):
        (HERE / "reached").touch()
        while not (HERE / "go").exists():
            time.sleep(0.01)
    return frame
"""
SEVERAL = ["a", "b;", "c", "d", "e", "f"]


def state_of(folder: Path) -> Any:
    """The rows of every table of both sinks."""
    tables = {f"parquet {name}": settled(table) for name, table in parquet_tables(folder / "out").items()}
    return tables | {f"sqlite {name}": sqlite_rows(folder / "out/figures.db", name) for name in ("by_key", "ledger")}


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """The job file of a job with both sinks that has run once."""
    job = written(tmp_path, changed(JSON_LINES, sinks=BOTH))
    run(job)
    return job


def more_data(folder: Path, count: int = 20_000) -> None:
    """Other data than before, with a key a record that no compression makes small."""
    records = [{**record, "key": sha256(b"%d" % i).hexdigest()} for i, record in enumerate(readings(count))]
    write_json_lines(folder / "data.jsonl", records)


def test_a_full_disk_is_told_leaves_the_tables_and_once_there_is_room_the_next_run_finishes(tmp_path: Path) -> None:
    for sink in ({"parquet": {"path": "disk/out"}}, {"sql": {"url": "sqlite:///disk/figures.db"}}):
        folder = tmp_path / next(iter(sink))
        (folder / "disk").mkdir(parents=True)
        with small_disk(folder / "disk", 500_000) as is_full:
            job = written(folder, changed(JSON_LINES, sinks=[sink], dead_letters={"path": "letters"}), readings(1000))
            run(job)
            before = stored(folder)
            more_data(folder)
            with is_full():
                ended = streamgauge("run", job)
            assert ended.code == 1
            assert "No space left" in ended.message or "full" in ended.message or "too large" in ended.message
            assert len(ended.message.splitlines()) == 1
            assert stored(folder) == before
            assert not [path for path in tree(folder) if "staging" in path or "incoming" in path or ".new" in path]
            write_json_lines(folder / "data.jsonl", readings(1100))
            run(job)
            assert stored(folder) != before


def stored(folder: Path) -> Any:
    database = folder / "disk/figures.db"
    return sqlite_rows(database, "by_key") if database.exists() else settled(parquet_table(folder / "disk/out/by_key"))


def test_a_full_disk_under_the_job_s_own_folder_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk", 300_000) as is_full:
        job = written(tmp_path, changed(JSON_LINES, state="disk/state"))
        run(job)
        before = settled(parquet_table(tmp_path / "out/by_key"))
        more_data(tmp_path)
        with is_full():
            ended = streamgauge("run", job)
        assert ended.code == 1 and len(ended.message.splitlines()) == 1
        assert settled(parquet_table(tmp_path / "out/by_key")) == before


@pytest.mark.parametrize("sink", [{"parquet": {"path": "locked/out"}}, {"sql": {"url": "sqlite:///locked/it.db"}}])
def test_a_folder_that_cannot_be_written_to_is_told_before_a_record_is_read(tmp_path: Path, sink: Any) -> None:
    (tmp_path / "locked").mkdir()
    job = written(tmp_path, changed(JSON_LINES, sinks=[sink], dead_letters={"path": "letters"}))
    with read_only(tmp_path / "locked"):
        ended = streamgauge("run", job)
        refused = streamgauge("check", job)
    assert (ended.code, refused.code) == (1, 2)
    assert "locked" in ended.message and "cannot be written to" in ended.message
    assert "locked" in refused.message
    assert not (tmp_path / "letters").exists()
    run(job)


@pytest.mark.parametrize("place", ["out", "out/by_key", "letters", "out/figures.db", ".streamgauge"])
def test_a_file_where_a_folder_should_be_is_told_and_left_as_it_is(tmp_path: Path, place: str) -> None:
    job = written(tmp_path, changed(JSON_LINES, sinks=BOTH, dead_letters={"path": "letters"}))
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("somebody's notes")
    before = tree(tmp_path)
    ended = streamgauge("run", job)
    assert ended.code == 1
    assert str(tmp_path / place) in ended.message and len(ended.message.splitlines()) == 1
    assert (tmp_path / place).read_text() == "somebody's notes"
    assert not [path for path in tree(tmp_path) - before if path.endswith(".parquet")]


def test_an_unreachable_database_is_told_without_its_password_and_leaves_the_other_sink(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = written(tmp_path)
    run(job)
    before = settled(parquet_table(tmp_path / "out/by_key"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("PASSWORD_OF_THE_TEST", "hush-hush")
    url = f"postgresql://app:${{PASSWORD_OF_THE_TEST}}@127.0.0.1:{port}/figures"
    write_job(tmp_path, changed(JSON_LINES, sinks=[*JSON_LINES["sinks"], {"sql": {"url": url}}]))
    more_data(tmp_path, 100)
    ended, refused, plan = streamgauge("run", job), streamgauge("check", job), streamgauge("plan", job)
    assert (ended.code, refused.code, plan.code) == (1, 2, 0)
    assert "127.0.0.1" in ended.message and "refused" in ended.message.lower()
    assert "hush-hush" not in "".join((ended.err, ended.out, refused.err, refused.out, plan.err, plan.out))
    assert settled(parquet_table(tmp_path / "out/by_key")) == before


def test_what_cannot_be_read_ends_in_2_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("not Parquet at all")
    (tmp_path / "text.jsonl.gz").write_text("not gzip at all")
    (tmp_path / "text.jsonl.zst").write_text("not zstandard at all")
    (tmp_path / "twice.csv").write_text("a,a\n1,2\n")
    (tmp_path / "folder.jsonl").mkdir()
    cases = {
        "missing.jsonl": "there is no file missing.jsonl",
        "*.nothing": "no file matches *.nothing",
        "folder.jsonl": "there is no file folder.jsonl",
        "text.parquet": "text.parquet cannot be read as parquet",
        "text.jsonl.gz": "text.jsonl.gz cannot be read as jsonl",
        "text.jsonl.zst": "text.jsonl.zst cannot be read as jsonl",
        "twice.csv": "twice",
    }
    for path, words in cases.items():
        format_ = path.split(".")[1] if path.split(".")[1] in ("csv", "parquet") else "jsonl"
        job = write_job(tmp_path, changed(JSON_LINES, source={"files": {"paths": [path], "format": format_}}))
        before = tree(tmp_path)
        for command in ("run", "check"):
            ended = streamgauge(command, job)
            assert (ended.code, command) == (2, command)
            assert words in ended.message and len(ended.message.splitlines()) == 1
        assert tree(tmp_path) == before


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_whose_every_record_has_an_unknown_field_is_told_before_anything_is_written(
    tmp_path: Path, kind: str
) -> None:
    known = pa.table({"ts": [1, 2], "key": ["a", "b"], "value": [0.5, 1.5]})
    write = csv.write_csv if kind == "csv" else pq.write_table
    write(known, tmp_path / f"1.{kind}")
    write(known.append_column("more", pa.array([1, 2])), tmp_path / f"2.{kind}")
    files = {"paths": [f"*.{kind}"], "format": kind}
    job = changed(JSON_LINES, source={"files": files}, record={**JSON_LINES["record"], "unknown_fields": "dead_letter"})
    ended = streamgauge("run", write_job(tmp_path, job))
    assert ended.code == 2
    assert f"record.unknown_fields: every record of 2.{kind} has more, which is not in columns" in ended.message
    assert not (tmp_path / "out").exists()
    job["record"]["unknown_fields"] = "ignore"
    assert streamgauge("run", write_job(tmp_path, job)).code == 0


def test_too_many_dead_letters_end_in_3_and_lie_where_the_message_says(ran: Path) -> None:
    folder = ran.parent
    before = state_of(folder)
    write_json_lines(folder / "data.jsonl", [*readings(60), *[{"ts": "soon"}] * 40])
    assert streamgauge("run", ran, "--set", "dead_letters.fail_above=0.4").code == 0
    run(written(folder, changed(JSON_LINES, sinks=BOTH)))
    write_json_lines(folder / "data.jsonl", [*readings(59), *[{"ts": "soon"}] * 41])
    ended = streamgauge("run", ran, "--set", "dead_letters.fail_above=0.4")
    assert ended.code == 3
    assert "41 of 100" in ended.message and "wrong_type 41" in ended.message
    place = Path(ended.message.split("to look at them: ")[1].strip())
    letters = parquet_table(place)
    assert letters["payload"].to_pylist() == [b'{"ts": "soon"}'] * 41
    assert state_of(folder) == before
    more_data(folder, 10)
    run(ran)
    assert not place.exists()


def test_an_input_of_nothing_but_dead_letters_leaves_the_tables_of_the_run_before(ran: Path) -> None:
    folder = ran.parent
    before = state_of(folder)
    write_json_lines(folder / "data.jsonl", [{"ts": "soon"}] * 157)
    ended = streamgauge("run", ran)
    assert ended.code == 3
    assert "157 of 157 records are dead letters (100.0%; dead_letters.fail_above is 50.0%)" in ended.message
    assert state_of(folder) == before
    write_json_lines(folder / "data.jsonl", [*readings(50), *[{"ts": "soon"}] * 50])
    run(ran)  # half of them are not more than half


def test_an_input_without_a_record_empties_the_tables_and_is_told(ran: Path) -> None:
    folder = ran.parent
    assert parquet_table(folder / "out/by_key").num_rows
    (folder / "data.jsonl").write_text("")
    ended = run(ran)
    assert "no record was read: the tables are empty" in ended.out
    assert parquet_table(folder / "out/by_key").num_rows == 0
    assert sqlite_rows(folder / "out/figures.db", "by_key") == []


def test_a_function_that_raises_makes_dead_letters_of_its_records_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "half_bad.py").write_text(
        "def work(frame):\n"
        "    if (frame['value'] == 13).any():\n"
        "        raise RuntimeError('thirteen!')\n"
        "    return frame\n"
    )
    job = written(tmp_path, changed(JSON_LINES, preprocess=[{"apply": "half_bad:work"}]), readings(200))
    ended = run(job)
    letters = parquet_table(tmp_path / "out/dead_letters").to_pylist()
    assert "dead letters  apply_failed 2" in ended.out
    assert [(letter["reason"], letter["stage"]) for letter in letters] == [("apply_failed", "preprocess:apply")] * 2
    assert all(b'"value": 13.0' in letter["payload"] and "thirteen!" in letter["detail"] for letter in letters)


@pytest.mark.parametrize(
    "source",
    ["def work(frame:\n", "1 / 0\n", "import sys\nsys.exit(0)\n", "def work(frame):\n    raise SystemExit(0)\n", ""],
)
def test_a_function_that_cannot_be_had_is_told_before_anything_runs(tmp_path: Path, source: str) -> None:
    module = f"broken_{abs(hash(source))}"
    (tmp_path / f"{module}.py").write_text(source)
    job = written(tmp_path, changed(JSON_LINES, preprocess=[{"apply": f"{module}:work"}]))
    ended = streamgauge("run", job)
    assert ended.code == 2
    assert f"preprocess[0].apply: {module}:work" in ended.message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["mine.parquet", "part-00000-5f0a-c000.snappy.parquet", "_manifest.json"])
def test_a_folder_with_files_of_somebody_else_is_refused_and_left_as_it_is(tmp_path: Path, name: str) -> None:
    job = written(tmp_path)
    foreign = tmp_path / "out/by_key" / name
    foreign.parent.mkdir(parents=True)
    foreign.write_text('{"files": ["../../job.yaml"]}')
    for command, code in (("run", 1), ("check", 2)):
        ended = streamgauge(command, job)
        assert ended.code == code
        assert name in ended.message and "give the job another path" in ended.message
    assert foreign.read_text() == '{"files": ["../../job.yaml"]}' and job.exists()


def test_the_tables_of_another_job_are_refused(ran: Path) -> None:
    before = state_of(ran.parent)
    ended = streamgauge("run", ran, "--set", "job=another")
    assert ended.code == 1
    assert "belongs to the job readings" in ended.message
    assert state_of(ran.parent) == before


@contextmanager
def held(job: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """The job, run in a process of its own, in the middle of its records until `go` is there."""
    folder = job.parent
    (folder / "hold.py").write_text(HOLD)
    process = start("run", job, "--set", "preprocess=[{apply: 'hold:wait'}]", *arguments)
    try:
        reached = folder / "reached"
        until(reached.exists, "the first record", unless=lambda: process.poll() is not None and finished(process))
        yield process
    finally:
        process.kill()
        process.wait()


def test_two_runs_of_a_job_at_once_are_refused_and_the_first_goes_on(ran: Path) -> None:
    with held(ran) as first:
        ended = streamgauge("run", ran)
        assert ended.code == 2
        assert "running already" in ended.message
        (ran.parent / "go").touch()
        assert finished(first).code == 0


@pytest.mark.alone
@pytest.mark.parametrize("flags", [(), ("--direct_num_workers=2", "--direct_running_mode=multi_processing")])
def test_ctrl_c_ends_in_130_soon_with_one_message_and_the_tables_of_the_run_before(
    ran: Path, flags: tuple[str, ...]
) -> None:
    before = state_of(ran.parent)
    more_data(ran.parent, 100)
    with held(ran, *flags) as process:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the job
        began = time.monotonic()
        ended = finished(process)
        assert time.monotonic() - began < 2
    assert ended.code == 130
    assert len(ended.message.split()) > 3 and len(ended.message.strip().splitlines()) == 1
    assert state_of(ran.parent) == before
    shutil.rmtree(ran.parent / "__pycache__", ignore_errors=True)
    run(ran)
    assert state_of(ran.parent) != before

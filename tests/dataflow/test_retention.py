"""How long rows stay in the tables of a live job: at least as long as its job file says, and not much longer."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dataflow.commands.load import load_job
from tests.dataflow.forking import forked
from tests.dataflow.jobs import changed, finished, streamgauge, write_job
from tests.dataflow.live_job import BEGAN_US, JOB, Feed, newest, to_end, verified
from transforms.process import versions
from transforms.storage.checkpoint.folder import MANIFEST

pytestmark = pytest.mark.slow

LOG = {"log": {"path": "log", "retain": "0s"}}


def keys(path: Path) -> dict[str, list[set[tuple[Any, ...]]]]:
    """The keys of the rows of each table, sink by sink."""
    job = load_job(str(path), [])
    found: dict[str, list[set[tuple[Any, ...]]]] = {}
    for sink, table in ((each, name) for each in job.sinks for name in each.tables.values()):
        rows = [row for row in sink.read(table.name).to_pylist() if row.get("final", True)]
        found.setdefault(table.name, []).append({tuple(row[name] for name in table.key) for row in rows})
    return found


def test_rows_go_when_they_are_old_in_every_sink_and_the_rest_is_verified(tmp_path: Path, feed: Feed) -> None:
    stays = {"ledger": "4s", "dead_letters": "9s", "fixed": "6s"}
    # Two checkpoints are kept, the older of which is the one before: rounds are as long as what may be compared.
    job = write_job(tmp_path, changed(JOB, source=LOG, retention=stays, execution={"checkpoint": "50ms"}))
    (tmp_path / "whole").mkdir()
    whole = write_job(tmp_path / "whole", changed(JOB, source={"log": {"path": "../log"}}))
    for _ in range(8):
        feed.write(20)
        said = to_end(tmp_path)
    to_end(tmp_path / "whole")
    verified(tmp_path)
    all_rows, rows = keys(whole), keys(job)
    for table, found in rows.items():
        assert all(each == found[0] for each in found), table
        assert found[0] <= all_rows[table][0], table
    assert rows["sliding"] == all_rows["sliding"], "what has no retention stays"
    last = newest(tmp_path)["source"]["progress"]["elapsed"] / 1e6
    for table, seconds in (("ledger", 4), ("fixed", 6), ("dead_letters", 9)):
        mark = versions.content(str(tmp_path / ".streamgauge/live" / MANIFEST))["expired"][table]
        assert seconds <= last - mark["time"] <= 1.5 * seconds + 2, table
        gone = all_rows[table][0] - rows[table][0]
        assert gone, table
    assert len(rows["fixed_models"][0]) == len(all_rows["fixed_models"][0])
    read = newest(tmp_path)["totals"]["read"]
    assert read == 8 * 20 * 52
    assert f"read {read:,} =" in said, "the ledger's sums are those of everything that was read"
    page = finished(forked("report", job, "--output", tmp_path / "report.html"))
    assert page.code == 0, page.err
    assert f"{read:,}" in (tmp_path / "report.html").read_text()


def test_a_retention_that_comes_later_or_goes_leaves_what_is_right(tmp_path: Path, feed: Feed) -> None:
    quick = changed(JOB, source=LOG, execution={"checkpoint": "50ms"})
    for stays in ({}, {"ledger": "2s"}, {"ledger": "2s"}, {"ledger": "2s"}, {"ledger": "30d"}, {}):
        write_job(tmp_path, changed(quick, retention=stays))
        feed.write(20)
        to_end(tmp_path)
        verified(tmp_path)
    with closing(sqlite3.connect(tmp_path / "out/live.db")) as database:
        (first,) = database.execute("select min(first_position) from ledger").fetchone()
    assert first > 0


@pytest.mark.parametrize(
    ("retention", "said"),
    [
        ({"legder": "30d"}, "retention.legder: is not a table of this job, which has fixed, fixed_models, sliding"),
        ({"ledger": "30"}, "retention.ledger: must be a duration"),
        ({"ledger": "0s"}, "retention.ledger: must be longer than 0s"),
        ("30d", "retention: "),
    ],
)
def test_a_retention_that_cannot_be_meant_is_refused(tmp_path: Path, feed: Feed, retention: Any, said: str) -> None:
    ended = streamgauge("check", write_job(tmp_path, {**JOB, "retention": retention}))
    assert ended.code == 2
    assert said in ended.err


def test_a_job_that_reads_files_has_no_retention(tmp_path: Path) -> None:
    lines = [json.dumps({"ts": BEGAN_US // 1000 + n, "key": "k", "value": 1.0}) for n in range(10)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    source = {"files": {"paths": "a.jsonl", "format": "jsonl"}}
    job = write_job(tmp_path, {**JOB, "source": source, "retention": {"fixed": "1s"}})
    ended = streamgauge("run", job)
    assert ended.code == 2 and re.search(r"retention: .*live", ended.err)

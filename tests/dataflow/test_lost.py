"""What a live job has stored is damaged, lost, or another's: it says so, loses nothing more, and has a remedy."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dataflow.commands.load import load_job
from dataflow.execution.stored import read_table
from tests.dataflow.forking import forked
from tests.dataflow.jobs import Ended, changed, finished, parquet_table, settled, streamgauge, write_job
from tests.dataflow.live_job import JOB, Feed, followed_and_killed, newest, rows, to_end, verified, with_a_forgotten_log
from transforms.record import ledger
from transforms.storage.checkpoint.folder import FOLDER, MANIFEST

pytestmark = pytest.mark.slow

STATE = ".streamgauge/live"


def started(folder: Path, *flags: str, job: str = "job.yaml") -> Ended:
    return finished(forked("run", folder / job, "--streaming", "--to-end", *flags))


def flip(path: Path, chance: Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def test_a_start_that_would_empty_full_tables_is_refused(tmp_path: Path, feed: Feed) -> None:
    feed.write(60)
    to_end(tmp_path)
    before, stored = rows(tmp_path, "fixed"), settled(parquet_table(tmp_path / "out/fixed"))
    write_job(tmp_path, changed(JOB, state="elsewhere"), "copy.yaml")
    ended = started(tmp_path, job="copy.yaml")
    assert ended.code == 2 and len(ended.message.splitlines()) == 1
    assert "elsewhere holds no checkpoint, and tables of this job hold rows" in ended.message
    assert "`--begin-anew` empty the tables" in ended.message
    assert (rows(tmp_path, "fixed"), settled(parquet_table(tmp_path / "out/fixed"))) == (before, stored)
    feed.write(30)
    to_end(tmp_path)
    verified(tmp_path)


def test_a_job_with_another_state_that_begins_anew_ends_the_one_before(tmp_path: Path, feed: Feed) -> None:
    """Two jobs with the same sinks never write over each other."""
    feed.write(60)
    to_end(tmp_path)
    write_job(tmp_path, changed(JOB, state="elsewhere"), "copy.yaml")
    assert started(tmp_path, "--begin-anew", job="copy.yaml").code == 0
    assert streamgauge("verify", tmp_path / "copy.yaml").code == 0
    feed.write(30)
    ended = started(tmp_path)
    assert ended.code == 1 and "another job, or this job with another state, has begun it" in ended.message
    assert streamgauge("verify", tmp_path / "copy.yaml").code == 0


def test_to_begin_anew_empties_tables_and_reads_what_the_source_holds(tmp_path: Path, feed: Feed) -> None:
    feed.write(60)
    to_end(tmp_path)
    shutil.rmtree(tmp_path / STATE)
    assert started(tmp_path).code == 2
    assert started(tmp_path, "--begin-anew").code == 0
    verified(tmp_path)
    feed.write(20)
    assert started(tmp_path, "--begin-anew").code == 0, "also where a state is"
    verified(tmp_path)


def newest_checkpoint(folder: Path) -> Path:
    return folder / STATE / FOLDER / newest(folder)["file"]


def newest_manifest(folder: Path) -> Path:
    return max((folder / STATE / MANIFEST).glob("*.json"))


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        (newest_checkpoint, "is damaged: its checksum differs from the manifest's; trying an older checkpoint"),
        (newest_manifest, "the newest version of the manifest is damaged; the one before it counts"),
    ],
)
def test_a_flipped_bit_is_noticed_and_what_was_before_counts(
    tmp_path: Path, feed: Feed, damaged: Callable[[Path], Path], words: str
) -> None:
    for _ in range(3):
        feed.write(30)
        to_end(tmp_path)
    flip(damaged(tmp_path), Random(0))
    feed.write(30)
    assert words in to_end(tmp_path)
    verified(tmp_path)


def test_a_state_whose_checkpoints_are_all_damaged_is_refused_with_what_to_do(tmp_path: Path, feed: Feed) -> None:
    feed.write(60)
    to_end(tmp_path)
    for path in (tmp_path / STATE / FOLDER).iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    ended = started(tmp_path)
    assert (ended.code, "all of its checkpoints are damaged; restore one, or let `--begin-anew`" in ended.message) == (
        2,
        True,
    )


def lose_database(folder: Path) -> None:
    os.remove(folder / "out/live.db")


def lose_table(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "out/live.db")) as database, database:
        database.execute('DROP TABLE "fixed"')


def lose_file(folder: Path) -> None:
    os.remove(next((folder / "out/fixed").glob("*.parquet")))


def lose_folder(folder: Path) -> None:
    shutil.rmtree(folder / "out/ledger")


LOSSES: dict[str, Any] = {
    "database": (lose_database, "live.db"),
    "table": (lose_table, "'fixed': it is gone"),
    "file": (lose_file, "out/fixed: part-"),
    "folder": (lose_folder, "out/ledger: "),
}


@pytest.mark.parametrize("what", LOSSES)
def test_a_lost_sink_is_named_not_made_again_silently_and_can_be_rebuilt(tmp_path: Path, feed: Feed, what: str) -> None:
    lose, words = LOSSES[what]
    feed.write(60)
    to_end(tmp_path)
    lose(tmp_path)
    feed.write(30)
    ended = started(tmp_path)
    assert ended.code == 1 and words in ended.message and "`rebuild`" in ended.message, ended
    ended = streamgauge("rebuild", tmp_path / "job.yaml")
    assert (ended.code, "rebuilt       every table" in ended.out) == (0, True), ended
    verified(tmp_path)
    to_end(tmp_path)
    verified(tmp_path)


@pytest.mark.parametrize("what", LOSSES)
def test_without_its_whole_log_a_lost_sink_is_rebuilt_from_another(tmp_path: Path, feed: Feed, what: str) -> None:
    with_a_forgotten_log(tmp_path, feed, rounds=3)
    before = {name: settled(parquet_table(tmp_path / "out" / name)) for name in ("fixed", "sliding", "ledger")}
    LOSSES[what][0](tmp_path)
    ended = streamgauge("rebuild", tmp_path / "job.yaml")
    assert (ended.code, "from another sink" in ended.out) == (0, True), ended
    assert {name: settled(parquet_table(tmp_path / "out" / name)) for name in before} == before
    feed.write(30)
    to_end(tmp_path)
    verified(tmp_path)


def test_what_no_sink_holds_and_no_log_gives_cannot_be_rebuilt(tmp_path: Path, feed: Feed) -> None:
    with_a_forgotten_log(tmp_path, feed, rounds=3)
    lose_database(tmp_path)
    lose_file(tmp_path)
    ended = streamgauge("rebuild", tmp_path / "job.yaml")
    assert (ended.code, "fixed is whole in no sink" in ended.message) == (2, True), ended


def test_the_sums_of_the_ledger_stand_in_the_checkpoint(tmp_path: Path, feed: Feed) -> None:
    """A start and a stop read them there, however long the ledger is."""
    dice = Random(3)
    for _ in range(2):
        feed.write(30)
        followed_and_killed(tmp_path, dice, lambda: feed.write(20))
    to_end(tmp_path)
    job = load_job(str(tmp_path / "job.yaml"))
    assert newest(tmp_path)["totals"] == ledger.totals(read_table(job, "ledger"))
    letters = read_table(job, "dead_letters")["reason"].to_pylist()
    assert newest(tmp_path)["reasons"] == {reason: letters.count(reason) for reason in letters}

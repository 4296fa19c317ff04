"""What a version before wrote is read by this one, and the tables of the examples are bit for bit what they were."""

import json
import tarfile
from pathlib import Path

import pytest

from tests.dataflow.jobs import streamgauge
from tests.dataflow.live_job import Feed, position, to_end, verified
from tests.golden.make import CHUNKS, FIGURES, flights, state_files


@pytest.mark.parametrize("archive", state_files(), ids=lambda path: path.name)
def test_a_job_that_a_version_before_has_stopped_resumes(tmp_path: Path, archive: Path) -> None:
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    before = position(tmp_path)
    assert before > 0
    verified(tmp_path)
    feed = Feed(tmp_path, seed=2, chunks=CHUNKS)
    feed.write(60, records=20)
    feed.writer.close()
    to_end(tmp_path)
    assert position(tmp_path) == before + 60 * 22
    verified(tmp_path)
    ended = streamgauge("report", tmp_path / "job.yaml", "--output", tmp_path / "report.html")
    assert ended.code == 0, ended.err


def test_the_example_gives_the_tables_that_it_always_gave(tmp_path: Path) -> None:
    assert flights(tmp_path) == json.loads(FIGURES.read_text())["flights"]

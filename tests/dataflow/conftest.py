"""What end-to-end tests of live jobs share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dataflow.jobs import write_job
from tests.dataflow.live_job import JOB, Feed


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    """The live job in a folder of the test's, and what feeds its log."""
    write_job(tmp_path, JOB)
    feed = Feed(tmp_path)
    yield feed
    feed.writer.close()

"""A million records of a topic, followed on Flink with any parallelism: the tables are those of a batch run here."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.topics import produce, shared_broker
from tests.dataflow.jobs import changed, parquet_table, streamgauge, write_job
from tests.dataflow.live_job import JOB, position
from tests.waiting import until

RECORDS: Final = 1_000_000
PARTITIONS: Final = 4
BEGAN_MS: Final = 1_700_000_000_000
SECONDS: Final = 180.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("flink"), task_managers=2) as started:
        yield started


@pytest.fixture(scope="module")
def topic() -> str:
    """A million records over ten minutes of event time, some of them late or broken."""
    name = shared_broker().create("million-on-flink", PARTITIONS)
    dice = random.Random(5)
    for partition in range(PARTITIONS):
        values = []
        for number in range(RECORDS // PARTITIONS):
            now = BEGAN_MS + number * 600_000 * PARTITIONS // RECORDS
            behind = dice.choice([0, 900, 2500, 6000]) if dice.random() < 0.01 else 50
            record = {"ts": now - behind, "key": f"k{dice.randrange(100)}", "value": dice.randrange(99)}
            values.append((b"broken" if dice.random() < 1e-4 else json.dumps(record).encode(), now))
        produce(shared_broker(), name, values, partition)
    return name


@pytest.mark.parametrize("parallelism", [1, 2, 4])
def test_a_million_records_give_the_same_tables(tmp_path: Path, cluster: Cluster, topic: str, parallelism: int) -> None:
    source = {"kafka": {"brokers": shared_broker().address, "topic": topic}}
    execution = {"checkpoint": "2s", "shards": 8}
    watermark = {"out_of_orderness": "1s", "idle_after": "never"}
    job = write_job(tmp_path, changed(JOB, source=source, watermark=watermark, execution=execution))
    ended = streamgauge("flink", "submit", job, *cluster.flags, "--parallelism", str(parallelism))
    assert ended.code == 0, ended.err
    began = time.monotonic()
    until(lambda: position(tmp_path), "all records", lambda reached: reached == RECORDS, seconds=SECONDS)
    print(f"parallelism {parallelism}: behind a checkpoint {time.monotonic() - began:.1f} s after the submission")
    assert streamgauge("flink", "cancel", job).code == 0
    assert sum(parquet_table(tmp_path / "out/ledger")["read"].to_pylist()) == RECORDS
    ended = streamgauge("verify", job)
    assert ended.code == 0, ended.err

"""Which rows of dead letters and the ledger a checkpoint knows."""

from typing import Any

import pyarrow as pa
import pytest

from dataflow.execution.stored import inside
from transforms.collection.kafka.source import KafkaSource
from transforms.collection.kafka.spec import KafkaSpec
from transforms.collection.log.source import LogSource
from transforms.collection.log.spec import LogSpec
from transforms.collection.source import Source
from transforms.storage.checkpoint.manifest import Checkpoint


def at(**offsets: int) -> Checkpoint:
    """A checkpoint of a topic with a partition `pN` for each N, or of a log by its `position`."""
    partitions = {name[1:]: [offset, 0, 0] for name, offset in offsets.items() if name != "position"}
    progress = {"watermark": 0, "elapsed": 0, "partitions": partitions}
    return Checkpoint(1, 1, 0, {"progress": progress, "position": offsets.get("position", 0)}, 0.0)


def rows(*places: tuple[str, int]) -> pa.Table:
    return pa.table(
        {"source": [source for source, _ in places], "position": pa.array([n for _, n in places], pa.int64())},
        pa.schema([("source", pa.string()), ("position", pa.int64())]),
    )


def found(source: Source, table: pa.Table, before: Checkpoint | None, after: Checkpoint) -> list[tuple[str, int]]:
    kept = inside(source, table, "position", before, after)
    return list(zip(kept["source"].to_pylist(), kept["position"].to_pylist(), strict=True))


NOT_ASKED: Any = None
IN_TOPIC = KafkaSource(options=KafkaSpec(brokers="a:9092", topic="t"), work=NOT_ASKED)
IN_LOG = LogSource(options=LogSpec(path="log"), work=NOT_ASKED)
TOPIC = [(f"t/{partition}", n) for partition in range(3) for n in range(4)]


@pytest.mark.parametrize("pieces", [1, 3])
def test_of_a_topic_each_partition_has_its_own_bounds(pieces: int) -> None:
    whole = rows(*TOPIC)
    size = -(-whole.num_rows // pieces)
    table = pa.concat_tables([whole.slice(start, size) for start in range(0, whole.num_rows, size)])
    assert found(IN_TOPIC, table, None, at(p0=2, p1=0)) == [("t/0", 0), ("t/0", 1)]
    assert found(IN_TOPIC, table, at(p0=1), at(p0=3, p2=1)) == [("t/0", 1), ("t/0", 2), ("t/2", 0)]


def test_of_a_log_positions_decide() -> None:
    table = rows(*(("log", n) for n in range(6)))
    assert [n for _, n in found(IN_LOG, table, at(position=2), at(position=4))] == [2, 3]
    assert [n for _, n in found(IN_LOG, table, None, at(position=1))] == [0]


def test_a_table_without_rows_has_none() -> None:
    assert found(IN_TOPIC, rows(), None, at(p0=9)) == []

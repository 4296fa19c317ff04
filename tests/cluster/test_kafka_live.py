"""A topic followed live: stored as windows close, killed, gone on with, its broker killed, and what a batch gives."""

import json
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka.cimpl import NewPartitions

from tests.cluster.broker import Broker, broker
from tests.cluster.topics import messages, produce, shared_broker
from tests.dataflow.jobs import changed, finished, parquet_table, start, streamgauge, write_job
from tests.dataflow.live_job import JOB, followed_and_killed, position, rows, to_end, verified
from tests.waiting import until
from transforms.storage.tables import DEAD_LETTERS, LEDGER

PARTITIONS: Final = 3
BEGAN_MS: Final = 1_700_000_000_000


class Topic:
    """A topic that devices write to, each record on the partition of its key, on a clock of its own."""

    def __init__(self, server: Broker, name: str, folder: Path, seed: int = 1, **kafka: Any):
        self.server, self.name = server, name
        self.server.create(name, PARTITIONS)
        self._dice = random.Random(seed)
        self._tick = 0
        self.sent = 0
        source = {"kafka": {"brokers": server.address, "topic": name, **kafka}}
        self.job = changed(JOB, source=source, watermark={"out_of_orderness": "1s", "idle_after": "never"})
        write_job(folder, self.job)

    def write(self, ticks: int, records: int = 60, partitions: int = PARTITIONS) -> None:
        """Some tenths of a second of records."""
        values: list[list[Any]] = [[] for _ in range(PARTITIONS)]
        for _ in range(ticks):
            self._tick += 1
            now = BEGAN_MS + self._tick * 100
            for _ in range(records):
                key = self._dice.randrange(7)
                behind = self._dice.choice([0, 900, 2500, 6000]) if self._dice.random() < 0.1 else 50
                record = {"ts": now - behind, "key": f"k{key}", "value": self._dice.randrange(99)}
                value = b"broken" if self._dice.random() < 0.01 else json.dumps(record).encode()
                values[key % partitions].append((value, now))
        for partition, batch in enumerate(values):
            produce(self.server, self.name, batch, partition)
            self.sent += len(batch)


@pytest.fixture
def topic(tmp_path: Path, request: pytest.FixtureRequest) -> Topic:
    return Topic(shared_broker(), f"live-{tmp_path.name}", tmp_path)


@pytest.fixture
def own_broker() -> Iterator[Broker]:
    with broker() as server:
        yield server


def read_so_far(folder: Path) -> int:
    return sum(parquet_table(folder / "out/ledger")["read"].to_pylist())


def test_a_topic_is_followed_and_its_tables_are_those_of_a_batch(tmp_path: Path, topic: Topic) -> None:
    topic.write(50)
    process = start("run", tmp_path / "job.yaml", "--streaming")
    until(lambda: rows(tmp_path, "fixed"), "the rows of a window", lambda count: count >= 4)
    topic.write(100)
    until(lambda: position(tmp_path), f"all {topic.sent:,} records", lambda reached: reached == topic.sent)
    process.send_signal(signal.SIGTERM)
    ended = finished(process)
    assert (ended.code, ended.err) == (0, "")
    assert read_so_far(tmp_path) == topic.sent
    verified(tmp_path)
    book = parquet_table(tmp_path / "out/ledger")
    assert set(book["source"].to_pylist()) == {f"{topic.name}/{number}" for number in range(PARTITIONS)}
    assert sum(book["late"].to_pylist()) and sum(book["dead"].to_pylist())


def test_a_bounded_run_gives_the_same_tables(tmp_path: Path, topic: Topic) -> None:
    topic.write(120)
    to_end(tmp_path, "--drain")
    bounded = tmp_path / "bounded"
    bounded.mkdir()
    write_job(bounded, topic.job)
    ended = streamgauge("run", bounded / "job.yaml")
    assert ended.code == 0, ended.err
    for table in ("fixed", "sliding", LEDGER, DEAD_LETTERS):
        kept = [parquet_table(folder / "out" / table).to_pylist() for folder in (tmp_path, bounded)]
        leave = {"revision", "failed_at"}
        live, batch = [
            sorted(repr({n: v for n, v in row.items() if n not in leave and not isinstance(v, float)}) for row in found)
            for found in kept
        ]
        assert live == batch, table


def test_it_goes_on_where_it_was_killed_however_often(tmp_path: Path, topic: Topic) -> None:
    dice = random.Random(7)
    topic.write(20)

    def write() -> None:
        for _ in range(dice.randrange(10, 30)):
            topic.write(2)

    for _ in range(3):
        followed_and_killed(tmp_path, dice, write)
        topic.write(dice.randrange(20))
    assert "resuming from the checkpoint" in to_end(tmp_path)
    assert read_so_far(tmp_path) == topic.sent
    verified(tmp_path)


def test_a_ledger_row_of_a_range_grows_until_the_range_is_read(tmp_path: Path, topic: Topic) -> None:
    for _ in range(4):
        topic.write(60, records=150)
        to_end(tmp_path)
        book = parquet_table(tmp_path / "out/ledger")
        assert sum(book["read"].to_pylist()) == topic.sent
        places = list(zip(book["source"].to_pylist(), book["first_position"].to_pylist(), strict=True))
        assert len(places) == len(set(places))
    assert max(first for _, first in places) > 0, "a range was read to its end"
    verified(tmp_path)


def test_a_broker_that_is_killed_costs_nothing(tmp_path: Path, own_broker: Broker) -> None:
    topic = Topic(own_broker, "killed", tmp_path)
    topic.write(40)
    process = start("run", tmp_path / "job.yaml", "--streaming")
    until(lambda: rows(tmp_path, "fixed"), "the rows of a window", lambda count: count >= 4)
    own_broker.kill()
    time.sleep(1)
    own_broker.start()
    topic.write(60)
    until(lambda: position(tmp_path), f"all {topic.sent:,} records", lambda reached: reached == topic.sent)
    process.send_signal(signal.SIGTERM)
    assert finished(process).code == 0
    verified(tmp_path)


def test_a_partition_that_comes_into_being_is_read_from_its_beginning(tmp_path: Path, topic: Topic) -> None:
    topic.write(40)
    to_end(tmp_path)
    admin = topic.server.admin()
    admin.create_partitions([NewPartitions(topic.name, PARTITIONS + 1)])[topic.name].result(30)
    now = BEGAN_MS + 10_000
    late = json.dumps({"ts": now, "key": "new", "value": 1}).encode()
    produce(topic.server, topic.name, [(late, now)] * 10, PARTITIONS)
    topic.write(80)
    to_end(tmp_path)
    verified(tmp_path)
    assert f"{topic.name}/{PARTITIONS}" in parquet_table(tmp_path / "out/ledger")["source"].to_pylist()


def test_a_silent_partition_holds_the_watermark_until_it_is_idle(tmp_path: Path, topic: Topic) -> None:
    write_job(tmp_path, changed(topic.job, watermark={"out_of_orderness": "1s", "idle_after": "2s"}))
    topic.write(100, partitions=PARTITIONS - 1)
    process = start("run", tmp_path / "job.yaml", "--streaming")
    until(lambda: rows(tmp_path, "fixed"), "the rows of a window despite the silence", lambda count: count >= 4)
    process.send_signal(signal.SIGTERM)
    assert finished(process).code == 0


def test_a_topic_that_is_not_there_or_was_made_anew_is_refused(tmp_path: Path, topic: Topic) -> None:
    topic.write(40)
    to_end(tmp_path)
    kafka = {"brokers": topic.server.address, "topic": "not-made"}
    write_job(tmp_path, changed(topic.job, source={"kafka": kafka}))
    ended = finished(start("run", tmp_path / "job.yaml", "--streaming"))
    assert (ended.code, "not-made" in ended.message, len(ended.message.splitlines())) == (2, True, 1), ended
    empty = topic.server.create(f"empty-{tmp_path.name}", PARTITIONS)
    write_job(tmp_path, changed(topic.job, source={"kafka": {**kafka, "topic": empty}}))
    ended = finished(start("run", tmp_path / "job.yaml", "--streaming"))
    assert (ended.code, "created again" in ended.message) == (2, True), ended


def test_each_final_row_is_in_its_topic_once_however_often_the_job_is_killed(tmp_path: Path, topic: Topic) -> None:
    dice = random.Random(11)
    prefix = f"out-{tmp_path.name}-"
    sink = {"kafka": {"brokers": topic.server.address, "topic": prefix + "{table}"}}
    write_job(tmp_path, changed(topic.job, sinks=[*JOB["sinks"], sink]))
    topic.write(30)
    for _ in range(4):
        followed_and_killed(tmp_path, dice, lambda: topic.write(dice.randrange(20, 60)))
    topic.write(30)
    to_end(tmp_path)
    verified(tmp_path)
    for table in ("fixed", "fixed_models", "sliding"):
        sent = [json.loads(value) for _, _, _, value in messages(topic.server, prefix + table)]
        keys = [tuple(row[name] for name in ("window_start", "key", "model") if name in row) for row in sent]
        assert len(keys) == len(set(keys)), f"{table} has rows twice"
        stored = parquet_table(tmp_path / "out" / table)
        assert len(sent) == stored.num_rows > 0
        if table == "sliding":
            assert sum(row["value_count"] for row in sent) == sum(stored["value_count"].to_pylist())
    book = {key: json.loads(value) for _, _, key, value in messages(topic.server, prefix + LEDGER)}
    assert sum(row["read"] for row in book.values()) == topic.sent


def test_rows_of_windows_are_sent_where_only_a_database_holds_the_tables(tmp_path: Path, topic: Topic) -> None:
    prefix = f"sql-{tmp_path.name}-"
    sink = {"kafka": {"brokers": topic.server.address, "topic": prefix + "{table}"}}
    write_job(tmp_path, changed(topic.job, sinks=[{"sql": {"url": "sqlite:///out.db"}}, sink]))
    topic.write(60)
    to_end(tmp_path)
    verified(tmp_path)
    with closing(sqlite3.connect(tmp_path / "out.db")) as database:
        ((stored,),) = database.execute("SELECT count(*) FROM fixed WHERE final")
    assert len(messages(topic.server, prefix + "fixed")) == stored > 0


def test_a_bounded_run_sends_its_rows(tmp_path: Path, topic: Topic) -> None:
    prefix = f"bounded-{tmp_path.name}-"
    sink = {"kafka": {"brokers": topic.server.address, "topic": prefix + "{table}"}}
    write_job(tmp_path, changed(topic.job, sinks=[*JOB["sinks"], sink]))
    topic.write(60)
    ended = streamgauge("run", tmp_path / "job.yaml")
    assert ended.code == 0, ended.err
    assert "kafka " in ended.out
    assert len(messages(topic.server, prefix + "fixed")) == parquet_table(tmp_path / "out/fixed").num_rows > 0


def test_a_sink_that_is_kafka_alone_is_refused(tmp_path: Path, topic: Topic) -> None:
    write_job(tmp_path, changed(topic.job, sinks=[{"kafka": {"brokers": topic.server.address}}]))
    ended = streamgauge("check", tmp_path / "job.yaml")
    assert (ended.code, "must have one that can be read back (parquet, sql)" in ended.message) == (2, True)


def test_late_records_are_replayed_and_the_job_goes_on(tmp_path: Path, topic: Topic) -> None:
    topic.write(100)
    to_end(tmp_path)
    late = sum(parquet_table(tmp_path / "out/ledger")["late"].to_pylist())
    assert late
    ended = streamgauge("replay", tmp_path / "job.yaml")
    assert ended.code == 0, ended.err
    for _ in range(2):
        book = parquet_table(tmp_path / "out/ledger")
        assert len(set(book["source"].to_pylist())) == book.num_rows, "a range is there twice"
        assert sum(book["read"].to_pylist()) == topic.sent
        topic.write(20)
        to_end(tmp_path)
    assert sum(parquet_table(tmp_path / "out/ledger")["late"].to_pylist()) < late
    verified(tmp_path)

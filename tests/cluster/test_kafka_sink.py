"""Tables as topics of a real broker: each final row once, whatever dies and whenever."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from operator import le
from pathlib import Path
from random import Random
from uuid import uuid4

import pyarrow as pa
import pytest

from tests.cluster.broker import PASSWORD, USER, Broker, broker
from tests.cluster.topics import messages, shared_broker, transaction
from tests.transforms.collection.parsing.registry_server import registry
from tests.waiting import until
from transforms.collection.parsing.avro import AvroDecoder
from transforms.errors import KafkaFenced, SinkError
from transforms.record import ledger
from transforms.storage.kafka.spec import KafkaTarget
from transforms.storage.kafka.transactions import KafkaWriter, Position
from transforms.storage.tables import Table

SCHEMA = pa.schema({"k": pa.int64(), "v": pa.string(), "final": pa.bool_()})
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def server() -> Broker:
    return shared_broker()


def writer_of(server: Broker, name: str, tables: Sequence[str] = ("t",)) -> KafkaWriter:
    target = KafkaTarget(brokers=server.address, topic=f"{name}.{{table}}")
    return KafkaWriter(target, {table: Table(table, ("k",), SCHEMA) for table in tables}, job=name)


def rows(*keys: int) -> list[pa.RecordBatch]:
    return [pa.RecordBatch.from_pylist([{"k": key, "v": f"v{key}", "final": True} for key in keys], SCHEMA)]


def keys_in(server: Broker, topic: str, isolation: str = "read_committed") -> list[int]:
    return sorted(json.loads(key)["k"] for _, _, key, _ in messages(server, topic, isolation))


def name_of() -> str:
    return f"s-{uuid4().hex[:8]}"


def kept(position: Position) -> Position:
    """A position as a checkpoint gives it back."""
    return Position.from_json(json.loads(json.dumps(position.to_json())))


def test_rows_of_a_checkpoint_are_keyed_json_in_topics_of_their_own(server: Broker) -> None:
    name = name_of()
    writer = writer_of(server, name, ["one", "two"])
    writer.check()
    writer.open(None)
    writer.publish({"one": rows(1, 2), "two": rows(3)})
    writer.publish({"one": [], "two": rows(4)})
    found = {(key, value) for _, _, key, value in messages(server, f"{name}.one")}
    assert found == {(b'{"k":%d}' % key, b'{"k":%d,"v":"v%d","final":true}' % (key, key)) for key in (1, 2)}
    assert keys_in(server, f"{name}.two") == [3, 4]
    writer.close()


def test_values_may_be_avro_that_our_own_source_reads(server: Broker) -> None:
    with registry() as kept:
        name = name_of()
        written = {"brokers": server.address, "topic": f"{name}.{{table}}", "format": "avro"}
        target = KafkaTarget.model_validate({**written, "schema_registry": {"url": kept.url}})
        begun: Position | None = None
        for _ in range(2):  # the second finds its keys, whatever the values are
            writer = KafkaWriter(target, {"t": Table("t", ("k",), SCHEMA)}, job=name)
            begun = writer.open(begun)
            writer.publish({"t": rows(1, 2)})
        assert target.schema_registry is not None
        values = [value for *_, value in messages(server, f"{name}.t")]
        texts = AvroDecoder(target.schema_registry).as_json(values, {})
    assert [json.loads(text or b"") for text in texts] == [{"k": k, "v": f"v{k}", "final": True} for k in (1, 2)]


def test_what_was_committed_behind_the_checkpoint_is_not_sent_again(server: Broker) -> None:
    name = name_of()
    writer = writer_of(server, name)
    writer.open(None)
    position = kept(writer.publish({"t": rows(1, 2)}))
    writer.publish({"t": rows(3, 4, 5)})  # and no checkpoint
    again = writer_of(server, name)
    again.open(position)
    position = kept(again.publish({"t": rows(4)}))
    assert position.sent == {"t": {'{"k":3}', '{"k":5}'}}
    third = writer_of(server, name)  # the second died too, behind its checkpoint
    third.open(position)
    position = third.publish({"t": rows(3, 5, 6)})
    assert position.sent == {}
    assert keys_in(server, f"{name}.t") == [1, 2, 3, 4, 5, 6]


def test_what_was_sent_before_the_first_checkpoint_is_not_sent_again(server: Broker) -> None:
    name = name_of()
    writer = writer_of(server, name)
    begun = kept(writer.open(None))
    writer.publish({"t": rows(1, 2)})
    again = writer_of(server, name)
    again.open(begun)
    again.publish({"t": rows(1, 2, 3)})
    assert keys_in(server, f"{name}.t") == [1, 2, 3]


def test_a_job_that_begins_anew_sends_everything_anew(server: Broker) -> None:
    name = name_of()
    for _ in range(2):
        writer = writer_of(server, name)
        writer.open(None)
        writer.publish({"t": rows(1)})
    assert keys_in(server, f"{name}.t") == [1, 1]


def test_rows_that_may_come_again_with_other_values_always_go_out(server: Broker) -> None:
    name = name_of()
    tables = {"ledger": Table("ledger", ledger.KEY, ledger.SCHEMA)}
    writer = KafkaWriter(KafkaTarget(brokers=server.address, topic=f"{name}.{{table}}"), tables, job=name)
    begun = writer.open(None)
    writer.publish({"ledger": [ledger.entry("a", 0, read=1, accepted=1)]})
    again = KafkaWriter(KafkaTarget(brokers=server.address, topic=f"{name}.{{table}}"), tables, job=name)
    again.open(begun)
    again.publish({"ledger": [ledger.entry("a", 0, read=2, accepted=2)]})
    assert [json.loads(value)["read"] for *_, value in messages(server, f"{name}.ledger")] == [1, 2]


@pytest.mark.parametrize("seed", range(4))
def test_each_row_is_seen_once_wherever_the_job_dies(server: Broker, seed: int) -> None:
    """Rows come in one order; each launch cuts them anew, as a clock does, and dies before or behind its commit."""
    chance, name = Random(seed), name_of()
    total, done = 60, 0
    checkpoint = kept(writer_of(server, name).open(None))
    deaths = 0
    while done < total:
        writer, place = writer_of(server, name), done
        writer.open(checkpoint)
        while place < total:
            size = chance.randint(0, 12)
            position = writer.publish({"t": rows(*range(place, min(place + size, total)))})
            place = min(place + size, total)
            if chance.random() < 0.4 and deaths < 12:
                deaths += 1
                break  # committed, and no checkpoint behind it
            checkpoint, done = kept(position), place
    assert keys_in(server, f"{name}.t") == list(range(total))
    assert deaths


DIES = """
import os, sys
from tests.cluster.test_kafka_sink import *
class Server: address = sys.argv[1]
writer = writer_of(Server, sys.argv[2])
writer.open(Position.from_json(json.loads(sys.argv[3])))
commit = writer._commit
def dies(module, producer):
    if sys.argv[4] == "behind":
        commit(module, producer)
    os.kill(os.getpid(), 9)
writer._commit = dies
writer.publish({"t": rows(*range(1000))})
"""


@pytest.mark.parametrize("moment", ["before", "behind"])
def test_a_process_killed_around_its_commit_leaves_all_or_nothing(server: Broker, moment: str) -> None:
    name = name_of()
    begun = writer_of(server, name).open(None)
    arguments = [server.address, name, json.dumps(begun.to_json()), moment]
    ended = subprocess.run([sys.executable, "-c", DIES, *arguments], cwd=ROOT, capture_output=True)
    assert ended.returncode == -9, ended.stderr.decode()
    assert len(keys_in(server, f"{name}.t", "read_uncommitted")) == 1000
    writer = writer_of(server, name)
    opened = writer.open(begun)
    assert len(opened.sent.get("t", ())) == (1000 if moment == "behind" else 0)
    writer.publish({"t": rows(*range(1001))})
    assert keys_in(server, f"{name}.t") == list(range(1001))


def test_a_second_run_of_a_job_fences_the_first_for_good(server: Broker) -> None:
    name = name_of()
    first, second = writer_of(server, name), writer_of(server, name)
    position = first.open(None)
    second.open(position)
    for _ in range(2):
        with pytest.raises(KafkaFenced, match="another run of this job writes its topics now"):
            first.publish({"t": rows(1)})
    second.publish({"t": rows(1, 2)})
    assert keys_in(server, f"{name}.t") == [1, 2]


def test_jobs_and_sinks_of_different_names_do_not_fence_each_other(server: Broker) -> None:
    one, other = writer_of(server, name_of()), writer_of(server, name_of())
    one.open(None)
    other.open(None)
    one.publish({"t": rows(1)})
    other.publish({"t": rows(1)})
    one.publish({"t": rows(2)})


def test_a_transaction_that_was_left_open_is_taken_back(server: Broker) -> None:
    name = name_of()
    writer = writer_of(server, name)
    begun = writer.open(None)
    with suppress(ZeroDivisionError), transaction(server, writer._name) as producer:
        producer.produce(f"{name}.t", b"half", b'{"k":1}')
        producer.flush(30)
        raise ZeroDivisionError
    again = writer_of(server, name)
    assert again.open(begun).sent == {}
    again.publish({"t": rows(1)})
    assert keys_in(server, f"{name}.t") == [1]


def test_a_row_that_is_too_large_is_an_error_and_leaves_nothing(server: Broker) -> None:
    name = name_of()
    writer = writer_of(server, name)
    writer.open(None)
    large = pa.RecordBatch.from_pylist([{"k": 2, "v": "x" * (2 << 20), "final": True}], SCHEMA)
    with pytest.raises(SinkError, match=r"kafka 127\.0\.0\.1:\d+: .*(too large|Message size)"):
        writer.publish({"t": [*rows(1), large]})
    writer.publish({"t": rows(1)})
    assert keys_in(server, f"{name}.t") == [1]


def test_brokers_that_do_not_answer_or_refuse_us_are_errors(server: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.storage.kafka.brokers.ANSWER_SECONDS", 3.0)
    tables = {"t": Table("t", ("k",), SCHEMA)}
    with pytest.raises(SinkError, match=r"kafka 127\.0\.0\.1:1: "):
        KafkaWriter(KafkaTarget(brokers="127.0.0.1:1"), tables, job="j").check()
    security = {"protocol": "sasl_ssl", "mechanism": "PLAIN", "username": USER, "password_env": "P"}
    fields = {"brokers": server.secure_address, "security": {**security, "ca": str(server.ca)}}
    monkeypatch.setenv("P", PASSWORD)
    KafkaWriter(KafkaTarget.model_validate(fields), tables, job="j").check()
    monkeypatch.setenv("P", "guess")
    with pytest.raises(SinkError, match=r"(?i)authentication") as caught:
        KafkaWriter(KafkaTarget.model_validate(fields), tables, job="j").check()
    assert "guess" not in str(caught.value)


@pytest.mark.slow
def test_a_broker_killed_in_the_middle_costs_nothing() -> None:
    with broker() as server:
        writer = writer_of(server, "job")
        writer.open(None)
        stop, failures, done = threading.Event(), [], [0]

        def write() -> None:
            while not stop.is_set():
                try:
                    writer.publish({"t": rows(*range(done[0], done[0] + 500))})
                except SinkError as error:
                    failures.append(error)
                    stop.wait(0.2)
                else:
                    done[0] += 500

        writing = threading.Thread(target=write)
        writing.start()
        try:
            chance = Random(1)
            for _ in range(3):
                enough = done[0] + 1_000
                until(
                    lambda: done[0],
                    f"{enough:,} rows",
                    partial(le, enough),
                    seconds=90,
                    said=lambda: str(failures[-1:]),
                )
                time.sleep(chance.random() / 5)
                server.kill()
                time.sleep(chance.random() * 2)
                server.start()
        finally:
            stop.set()
            writing.join(150)
        assert Counter(keys_in(server, "job.t")) == Counter(range(done[0]))
        assert all(not isinstance(failure, KafkaFenced) for failure in failures)

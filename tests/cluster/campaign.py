"""Kills on a cluster, seeded: `python -m tests.cluster.campaign [--seeds 10] [--first 1] [--only pool,broker]`.

A topic is followed on Flink into Parquet, PostgreSQL and topics, while a producer writes. Once rows are stored,
something is killed with -9; or, in `history`, the job goes back and forth between savepoints, while commands are killed
and processes are stopped and go on. In the end everything that was sent is in the ledger, `verify` finds no difference,
and each final row is in its topic once. Prints a table.
"""

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg

from tests.cluster.broker import Broker, broker
from tests.cluster.cluster import Cluster
from tests.cluster.histories import Going
from tests.cluster.test_kafka_live import Topic
from tests.cluster.topics import messages
from tests.dataflow.jobs import Ended, changed, parquet_table, streamgauge, write_job
from tests.dataflow.live_job import JOB, newest, position
from tests.faults.database import Database
from tests.waiting import until
from transforms.storage.tables import LEDGER

PATIENCE: Final = 180.0


@dataclass
class Case:
    """One run of one scenario: what is there, and what is found in the end."""

    seed: int
    folder: Path
    cluster: Cluster
    server: Broker
    database: Database
    dice: random.Random
    recovered: float = 0.0
    sent: int = 0
    done: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _done: threading.Event = field(default_factory=threading.Event)

    def play(self, kill: Callable[["Case"], None]) -> None:
        """Submits, kills once rows are stored, and looks at what is there when all is read."""
        self.prefix = f"out-{self.folder.name}-"
        sinks = [
            {"parquet": {"path": "out"}},
            {"sql": {"url": self.database.url}},
            {"kafka": {"brokers": self.server.address, "topic": self.prefix + "{table}"}},
        ]
        topic = Topic(self.server, f"in-{self.folder.name}", self.folder, self.seed)
        # Tables of a case have names of their own: the database stays.
        aggregations = [{**entry, "name": f"{entry['name']}_{self.folder.name}"} for entry in JOB["aggregations"]]
        self.tables = [aggregation["name"] for aggregation in aggregations]
        execution = {"checkpoint": "1s", "shards": 4}
        job = changed(topic.job, sinks=sinks, aggregations=aggregations, execution=execution)
        self.job = write_job(self.folder, job)
        topic.write(60)
        producer = threading.Thread(target=self._produce, args=(topic,))
        producer.start()
        try:
            # The database stays from case to case, and with it the rows of dead letters and the ledger.
            where = (*self.cluster.flags, "--parallelism", str(self.dice.choice([1, 2])))
            self.flink("submit", "--begin-anew", *where)
            until(self.stored, "a final row", seconds=PATIENCE)
            time.sleep(self.dice.random() * 3)
            began = time.time()
            kill(self)
            until(self.taken, "a checkpoint behind the kill", lambda taken: taken > began, seconds=PATIENCE)
            self.recovered = self.taken() - began
        finally:
            self._done.set()
            producer.join()
        self.sent = topic.sent
        until(lambda: position(self.folder), "all records", lambda reached: reached == self.sent, seconds=PATIENCE)
        self.flink("cancel")
        self._look()

    def flink(self, command: str, *arguments: str) -> Ended:
        """A command that must succeed."""
        ended = streamgauge("flink", command, self.job, *arguments)
        if ended.code:
            raise AssertionError(f"flink {command}: {ended.err}")
        return ended

    def taken(self) -> float:
        """When the newest checkpoint was taken; 0: there is none."""
        with suppress(FileNotFoundError):
            return float(newest(self.folder)["taken"])
        return 0.0

    def stored(self) -> int:
        with suppress(psycopg.Error), closing(psycopg.connect(self.database.url)) as connection:
            found = connection.execute(f'SELECT count(*) FROM "{self.tables[0]}" WHERE final').fetchone()
            return int(found[0]) if found else 0
        return 0

    def _produce(self, topic: Topic) -> None:
        while not self._done.wait(0.2):
            topic.write(2)

    def _look(self) -> None:
        read = sum(parquet_table(self.folder / "out" / LEDGER)["read"].to_pylist())
        if read != self.sent:
            self.wrong.append(f"{self.sent} were sent, {read} are in the ledger")
        ended = streamgauge("verify", self.job)
        if ended.code:
            self.wrong.append(ended.err)
        for table in self.tables:
            sent = [key for _, _, key, _ in messages(self.server, self.prefix + table)]
            stored = parquet_table(self.folder / "out" / table).num_rows
            if len(sent) != len(set(sent)) or len(sent) != stored:
                self.wrong.append(
                    f"{table}: {stored} rows, {len(sent)} in the topic, {len(set(sent))} of them different"
                )


def kill_task_manager(case: Case) -> None:
    (job,) = case.cluster.running()
    name = case.dice.choice(case.cluster.used_by(job))
    case.cluster.kill(name)
    time.sleep(case.dice.random() * 2)
    case.cluster.start_task_manager(int(name[-1]))


def kill_job_manager(case: Case) -> None:
    """Without high availability the job is gone with it: it is submitted again from its own checkpoint."""
    case.cluster.kill("jobmanager")
    time.sleep(case.dice.random() * 2)
    case.cluster.start_job_manager()
    case.cluster.wait_for_slots(4)
    case.flink("resume", "--from-checkpoint")


def kill_workers(case: Case) -> None:
    case.cluster.kill_workers()


def kill_pool(case: Case) -> None:
    case.cluster.kill("pool")
    time.sleep(case.dice.random() * 2)
    case.cluster.start_pool()


def kill_broker(case: Case) -> None:
    case.server.kill()
    time.sleep(case.dice.random() * 2)
    case.server.start()


def kill_database(case: Case) -> None:
    case.database.kill(down=case.dice.random() * 2)


def go_back_and_forth(case: Case) -> None:
    state = f"{case.folder}/.streamgauge/live"
    case.done = Going(str(case.job), state, case.cluster, case.dice, case.flink).play()


SCENARIOS: Final[dict[str, Callable[[Case], None]]] = {
    "taskmanager": kill_task_manager,
    "jobmanager": kill_job_manager,
    "worker": kill_workers,
    "pool": kill_pool,
    "broker": kill_broker,
    "database": kill_database,
    "history": go_back_and_forth,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.campaign", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1, metavar="SEED")
    parser.add_argument("--only", default=",".join(SCENARIOS), metavar="A,B")
    asked = parser.parse_args()
    found: dict[str, list[Case]] = {name: [] for name in asked.only.split(",")}
    with tempfile.TemporaryDirectory(prefix="campaign-") as scratch, broker() as server:
        database = Database(random.Random(asked.first))
        try:
            with Cluster(Path(scratch, "flink"), task_managers=2) as cluster:
                for name, cases in found.items():
                    for seed in range(asked.first, asked.first + asked.seeds):
                        folder = Path(scratch, f"{name}{seed}")
                        folder.mkdir()
                        case = Case(seed, folder, cluster, server, database, random.Random(f"{name} {seed}"))
                        cases.append(case)
                        began = time.monotonic()
                        try:
                            case.play(SCENARIOS[name])
                        except AssertionError as error:
                            case.wrong.append(str(error))
                        cluster.wait_for_slots(4)
                        for job in cluster.running():
                            streamgauge("flink", "cancel", case.job)
                            case.wrong.append(f"{job} was left running")
                        took = time.monotonic() - began
                        words = "; ".join(case.wrong) or f"recovered in {case.recovered:.1f} s"
                        words = " → ".join([*case.done, words])
                        print(f"{name}, seed {seed}: {took:.0f} s, {case.sent:,} records, {words}", flush=True)
        finally:
            database.close()
    print("\n| killed | seeds | records | wrong | behind a checkpoint again: median, worst (s) |")
    print("| :-- | --: | --: | --: | --: |")
    for name, cases in found.items():
        times = sorted(case.recovered for case in cases if case.recovered) or [float("nan")]
        wrong, records = sum(bool(case.wrong) for case in cases), sum(case.sent for case in cases)
        print(f"| {name} | {len(cases)} | {records:,} | {wrong} | {statistics.median(times):.1f}, {times[-1]:.1f} |")
    return int(any(case.wrong for cases in found.values() for case in cases))


if __name__ == "__main__":
    sys.exit(main())

"""What is done to a collector, a live job and senders, scenario by scenario."""

import signal
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from tests.faults.data import JOB
from tests.faults.database import Database
from tests.faults.plain_client import PlainClient
from tests.faults.proxy import Proxy
from tests.faults.small_disk import SmallDisk
from tests.faults.stage import Stage, free_port
from tests.faults.verdict import Expected
from tests.waiting import until
from transforms.collection.log.file import log_file

DAY: Final = 86_400.0
STOPPED_SECONDS: Final = 5.0
LOCKED_SECONDS: Final = 3.0


def kill_collector(stage: Stage) -> None:
    """kill -9 of the collector, while clients send."""
    for _ in range(stage.dice.randint(3, 5)):
        stage.rest(0.1, 1.0)
        stage.kill("collector")


def kill_job(stage: Stage) -> None:
    """kill -9 of the job: within a checkpoint, right behind one, any time later, or before its first."""
    for _ in range(stage.dice.randint(2, 3)):
        _await_moment(stage)
        stage.kill("job")


def kill_job_early(stage: Stage) -> None:
    """kill -9 of the job as soon as its first checkpoint has its manifest, and a later one its first file."""
    for moment in (stage.await_checkpoint, stage.await_part):
        moment()
        stage.rest(0, 0.05)
        stage.kill("job")


def kill_both(stage: Stage) -> None:
    """kill -9 of the collector and the job at the same time."""
    for _ in range(2):
        _await_moment(stage)
        stage.kill("collector", "job")


def kill_sender(stage: Stage) -> None:
    """kill -9 of a sender; the same command goes on."""
    for _ in range(stage.dice.randint(5, 8)):
        stage.rest(0.1, 0.6)
        stage.kill(stage.dice.choice(list(stage.sent)))


def silence_sender(stage: Stage) -> None:
    """kill -9 of a sender, which stays away until the job goes on without it; the job is killed, too."""
    stage.is_exact = False  # what comes back is late
    for _ in range(2):
        stage.rest(0.2, 0.8)
        name = stage.dice.choice(list(stage.sent))
        stage.end(name)
        stage.rest(1.2, 2.2)
        if stage.dice.random() < 0.7:
            stage.kill("job")
        stage.start(name)


def kill_job_forgetting(stage: Stage) -> None:
    """kill -9 of the job while the log forgets what it has passed; it is verified from where the log begins."""
    for _ in range(2):
        stage.rest(3.0, 6.0)
        stage.kill("job")
    until(lambda: stage.begin_of_log() > 0, "the log to forget something")


def stop_collector(stage: Stage) -> None:
    """SIGSTOP of the collector for 5 s."""
    stage.rest(0.5, 3.0)
    stage.pause("collector", STOPPED_SECONDS)


def stop_job(stage: Stage) -> None:
    """SIGSTOP of the job for 5 s."""
    stage.rest(0.5, 3.0)
    stage.pause("job", STOPPED_SECONDS)


def cut_connections(stage: Stage) -> None:
    """Connections that end within the HELLO, within a line, within an answer."""
    stage.send_to = free_port(stage.dice)
    proxy = Proxy(stage.send_to, stage.port, stage.dice, cuts=stage.dice.randint(6, 12))
    stage.after.callback(proxy.close)
    stage.send()
    stage.await_senders()
    stage.faults += proxy.cuts


def send_again(stage: Stage) -> None:
    """A client in plain mode that shuffles and repeats its lines, and a collector that is killed meanwhile."""
    plain = stage.sent.pop("a")
    client = PlainClient(stage.port, plain.lines, plain.rate, stage.dice)
    client.start()
    stage.send()
    for _ in range(2):
        stage.rest(0.5, 1.5)
        stage.kill("collector")
    until(lambda: not client.is_alive(), "the plain client")
    stage.expected["plain"] = Expected(least=client.answered, most=client.sent)
    stage.faults += client.sent.total() - len(client.sent)
    stage.is_exact = False


def set_clock_back(stage: Stage) -> None:
    """The collector's wall clock goes back: by minutes to days, or to years before the records were made."""
    (stage.folder / "clock").write_text("0")
    stage.is_exact = stage.dice.random() < 0.7  # years back, records are of the future, and dead
    for _ in range(3):
        stage.rest(0.3, 1.2)
        back = -stage.dice.uniform(60, 2 * DAY) if stage.is_exact else -stage.dice.uniform(1200, 2000) * DAY
        (stage.folder / "clock.new").write_text(str(back))
        (stage.folder / "clock.new").replace(stage.folder / "clock")
        stage.faults += 1


def fill_log_disk(stage: Stage) -> None:
    """The disk of the log is full for a while; the job goes on and keeps checkpoints, or somebody is killed."""
    disk, collector = stage.disk, stage.running["collector"]
    assert disk
    stage.rest(0.2, 1.5)
    disk.fill()
    stage.faults += 1
    until(lambda: "cannot be written" in collector.err.read_text(), "a word about the full disk")
    killed = stage.dice.choice(("", "collector", "job"))
    if killed:
        stage.kill(killed)
    stage.rest(0.2, 4.0)
    disk.free()


def fill_job_disk(stage: Stage) -> None:
    """The disk of the job's state and tables is full for a while; the job waits, is asked to end, or is killed."""
    disk, job = stage.disk, stage.running["job"]
    assert disk
    stage.await_checkpoint()
    stage.rest(0.2, 1.0)
    disk.fill()
    stage.faults += 1
    until(lambda: "waiting: " in job.out.read_text() or job.code is not None, "a word about the full disk")
    meanwhile = stage.dice.choice(("wait", "stop", "kill"))
    if meanwhile == "stop":
        job.send(signal.SIGTERM)
    stage.rest(0.2, 1.5)
    if meanwhile == "kill":
        stage.end("job")
    disk.free()
    if meanwhile != "wait":
        job.ended()
        stage.start("job")


def lock_log(stage: Stage) -> None:
    """Another program locks the log's file for 3 s, twice; once somebody is killed and starts meanwhile."""
    killed = stage.dice.choice(("collector", "job"))
    for _ in range(2):
        stage.rest(0.2, 1.0)
        with closing(sqlite3.connect(log_file(stage.log), timeout=10, isolation_level=None)) as database:
            database.execute("BEGIN EXCLUSIVE")
            stage.faults += 1
            if killed:
                stage.kill(killed)
            time.sleep(LOCKED_SECONDS)
            database.execute("ROLLBACK")
        killed = ""


def restart_database(stage: Stage) -> None:
    """The sink's PostgreSQL is restarted, and killed with kill -9."""
    database = stage.database
    assert database
    stage.await_checkpoint()
    for fault in (database.restart, database.kill):
        stage.rest(0.1, 1.0)
        fault(stage.dice.uniform(0.2, 1.5))
        stage.faults += 1


def _await_moment(stage: Stage) -> None:
    moment = stage.dice.randrange(5)
    if moment == 0:
        stage.rest(0.2, 2.0)
    elif moment == 1:
        stage.await_part()
        stage.rest(0, 0.05)
    else:
        stage.await_checkpoint()
        stage.rest(0, 0.05 if moment == 2 else 1.0)


@dataclass(frozen=True)
class Scenario:
    """What is done, and what the stage needs for it.

    Args:
        sends: whether the senders are there before the faults; else the scenario starts them.
        seconds: how long they send at least.
    """

    disturb: Callable[[Stage], None]
    set_up: Callable[[Stage], None] = lambda stage: None
    sends: bool = True
    seconds: float = 0.0


def _small_disk(name: str, mebibytes: int) -> Callable[[Stage], None]:
    def mount(stage: Stage) -> None:
        stage.disk = SmallDisk(stage.folder / name, mebibytes)
        stage.after.callback(stage.disk.close)

    return mount


def _database(stage: Stage) -> None:
    stage.database = Database(stage.dice)
    stage.after.callback(stage.database.close)
    stage.environment["FAULTS_DATABASE"] = stage.database.url
    stage.extra_sinks.append({"sql": {"url": "${FAULTS_DATABASE}"}})


def _idle(stage: Stage) -> None:
    stage.job_fields["watermark"] = {**JOB["watermark"], "idle_after": "1s"}


def _forget(stage: Stage) -> None:
    stage.collector_flags = ("--keep", "1s")
    stage.job_fields["source"] = {"log": {**JOB["source"]["log"], "retain": "2s"}}


def _clock(stage: Stage) -> None:
    stage.patches = {**stage.patches, "collector": "tests.faults.clock:install"}


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "kill_collector": Scenario(kill_collector),
    "kill_job": Scenario(kill_job),
    "kill_job_forgetting": Scenario(kill_job_forgetting, _forget, seconds=11.0),
    "kill_both": Scenario(kill_both),
    "kill_sender": Scenario(kill_sender),
    "silence_sender": Scenario(silence_sender, _idle),
    "stop_collector": Scenario(stop_collector),
    "stop_job": Scenario(stop_job),
    "cut_connections": Scenario(cut_connections, sends=False),
    "send_again": Scenario(send_again, sends=False),
    "set_clock_back": Scenario(set_clock_back, _clock),
    "fill_log_disk": Scenario(fill_log_disk, _small_disk("log", 24)),
    "fill_job_disk": Scenario(fill_job_disk, _small_disk("disk", 48)),
    "lock_log": Scenario(lock_log),
    "restart_database": Scenario(restart_database, _database),
}
NEED_ROOT: Final = frozenset({"fill_log_disk", "fill_job_disk"})
EARLY: Final = Scenario(kill_job_early)
"""For faults that were planted in the job: it dies where they show."""

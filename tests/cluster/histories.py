"""A job that goes back and forth: savepoints, stops, resumes from any of them, killed commands, stopped processes."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from dataflow.execution.submission import Savepoint, Submission
from tests.cluster.cluster import Cluster
from tests.dataflow.jobs import Ended, start, streamgauge
from transforms.storage.checkpoint.folder import CheckpointFolder

STEPS: Final = 5
STOPPED_SECONDS: Final = 13.0
"""Longer than the cluster waits for a heartbeat."""


@dataclass
class Going:
    """One random sequence over a job that runs on a cluster."""

    job: str
    state: str
    cluster: Cluster
    dice: random.Random
    flink: Callable[..., Ended]

    def play(self) -> list[str]:
        """Goes back and forth; what was done."""
        done = []
        for _ in range(STEPS):
            step = self.dice.choice([self.savepoint, self.go_back, self.kill_command, self.stop_processes])
            done.append(step())
            time.sleep(self.dice.random() * 3)
        if not self.runs():
            self.resume()
        return done

    def savepoint(self) -> str:
        self.flink("savepoint")
        return "savepoint"

    def go_back(self) -> str:
        """Stops, and resumes from any savepoint; one that the job has left is refused."""
        self.flink("stop")
        time.sleep(self.dice.random() * 2)
        for left in self.known(abandoned=True):
            ended = streamgauge("flink", "resume", self.job, "--from", left.path)
            assert (ended.code, "has abandoned this savepoint" in ended.message) == (2, True), ended
        chosen = self.dice.choice(self.known(abandoned=False))
        self.flink("resume", "--from", chosen.path)
        return f"back to {os.path.basename(chosen.path)[-6:]}"

    def kill_command(self) -> str:
        """kill -9 of a command in the middle; the next one finds what it has left."""
        words = self.dice.choice([["savepoint"], ["stop"], ["rescale", str(self.dice.choice([1, 2]))]])
        process = start("flink", words[0], self.job, *words[1:])
        time.sleep(self.dice.random() * 9)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        self.settle()
        if not self.runs():
            self.resume()
        return f"killed {words[0]}"

    def stop_processes(self) -> str:
        """SIGSTOP of the TaskManager and the workers, until others have taken their place, and SIGCONT."""
        (job,) = self.cluster.running()
        name = self.dice.choice(self.cluster.used_by(job))
        pids = [self.cluster.pid(name), *self.cluster.workers()]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(STOPPED_SECONDS)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue
        self.cluster.wait_for_slots(4)
        self.settle()
        return f"stopped {name}"

    def resume(self) -> None:
        """Resumes from the latest savepoint, or from the job's own checkpoint."""
        self.flink("resume", *self.dice.choice([["--from", "latest"], ["--from-checkpoint"]]))

    def runs(self) -> bool:
        return bool(self.cluster.running())

    def settle(self) -> None:
        """Waits until the cluster is at rest: a job runs in all of its parts, or none does."""

        def at_rest() -> bool:
            states: list[Any] = [self.cluster.get(f"jobs/{job}") for job in self.cluster.running()]
            return all(
                found is not None and {vertex["status"] for vertex in found["vertices"]} <= {"RUNNING"}
                for found in states
            )

        still = 0.0
        deadline = time.monotonic() + 120
        while still < 3.0:
            assert time.monotonic() < deadline, "the cluster does not come to rest"
            still = still + 0.5 if at_rest() else 0.0
            time.sleep(0.5)

    def known(self, *, abandoned: bool) -> list[Savepoint]:
        record, root = Submission.read(self.state), CheckpointFolder(self.state).root()
        assert record is not None and root is not None
        return [entry for entry in record.savepoints if entry.is_abandoned(root.line) == abandoned]

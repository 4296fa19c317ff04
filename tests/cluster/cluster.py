"""A real Flink cluster on this machine: a JobManager, TaskManagers, and pools of workers for Python.

All of it listens on the loopback only, lives in one folder, and ends with the test that started it.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.cluster import equipment
from tests.waiting import until

ROOT: Final = Path(__file__).resolve().parents[2]
START_SECONDS: Final = 60.0
_WATCHED: Final = ("setpriv", "--pdeathsig", "KILL")
"""util-linux: what follows ends when the process that started it ends, however that ends."""

_OPENED: Final = (
    *("java.lang", "java.net", "java.io", "java.nio", "sun.nio.ch", "java.lang.reflect", "java.text", "java.time"),
    *("java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks"),
)
"""Packages that Flink 1.19 reaches into, which Java 17 asks to be opened."""

_JOB_MANAGER_MEMORY: Final = {
    "jobmanager.memory.heap.size": "768m",
    "jobmanager.memory.off-heap.size": "128m",
    "jobmanager.memory.jvm-metaspace.size": "256m",
    "jobmanager.memory.jvm-overhead.min": "192m",
    "jobmanager.memory.jvm-overhead.max": "192m",
}
_TASK_MANAGER_MEMORY: Final = {
    "taskmanager.cpu.cores": "2.0",
    "taskmanager.memory.task.heap.size": "1024m",
    "taskmanager.memory.task.off-heap.size": "128m",
    "taskmanager.memory.network.min": "384m",
    "taskmanager.memory.network.max": "384m",
    "taskmanager.memory.managed.size": "256m",
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.jvm-metaspace.size": "512m",
    "taskmanager.memory.jvm-overhead.min": "192m",
    "taskmanager.memory.jvm-overhead.max": "192m",
}
_APART: Final = 'mount -t tmpfs tmpfs "$0" && exec "$@"'
_LOG4J: Final = """\
rootLogger.level = INFO
rootLogger.appenderRef.file.ref = file
appender.file.name = file
appender.file.type = FILE
appender.file.fileName = ${sys:log.file}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %-5p %c %m%n
"""


def free_port() -> int:
    """A port on which no process listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Cluster:
    """One cluster; a context manager that ends every process it started."""

    def __init__(
        self, folder: Path, *, task_managers: int = 1, slots: int = 2, settings: Mapping[str, str] | None = None
    ):
        self.folder = folder
        self.slots = slots
        self.rest_port, self._rpc_port = free_port(), free_port()
        self.pool_port = free_port()
        self._settings = dict(settings or {})
        self._wanted = task_managers
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def address(self) -> str:
        """What `--flink` takes."""
        return f"localhost:{self.rest_port}"

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of a submission to this cluster."""
        workers = ("--environment_type=EXTERNAL", f"--environment_config=localhost:{self.pool_port}")
        return ("--flink", self.address, *workers, f"--flink_job_server_jar={equipment.job_server()}")

    def __enter__(self) -> "Cluster":
        self._write_settings()
        try:
            self.start_pool()
            self.start_job_manager()
            for number in range(1, self._wanted + 1):
                self.start_task_manager(number)
            self.wait_for_slots(self._wanted * self.slots)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()

    def start_job_manager(self) -> None:
        """Starts the JobManager and waits until it answers."""
        main = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
        self._start_java("jobmanager", main, _JOB_MANAGER_MEMORY, heap="768m")
        until(lambda: self.get("config"), "the JobManager", seconds=START_SECONDS, unless=self._last_words)

    def start_task_manager(self, number: int) -> None:
        """Starts a TaskManager; `wait_for_slots` waits for it."""
        main, name = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner", f"taskmanager-{number}"
        memory = {**_TASK_MANAGER_MEMORY, "taskmanager.numberOfTaskSlots": str(self.slots)}
        self._start_java(name, main, {**memory, "taskmanager.resource-id": f"{name}-{free_port()}"}, heap="1152m")

    def start_pool(self) -> None:
        """Starts the pool that starts workers for Python, of this environment and this checkout."""
        self._start_pool("pool", self.pool_port)

    @contextmanager
    def pool_apart(self, folder: Path) -> Iterator[str]:
        """Another pool, whose workers have an empty folder in the place of this one, as on another machine.

        Yields the flag that asks for it; only root may do this.
        """
        port = free_port()
        self._start_pool("pool-apart", port, "unshare", "--mount", "sh", "-c", _APART, str(folder))
        try:
            yield f"--environment_config=localhost:{port}"
        finally:
            self.kill("pool-apart")

    def kill(self, name: str) -> None:
        """kill -9 of `jobmanager`, `taskmanager-N` or `pool`."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def pid(self, name: str) -> int:
        """The process id of one of the cluster's programs."""
        return self._processes[name].pid

    def workers(self) -> list[int]:
        """The process ids of the workers for Python that run."""
        children = Path(f"/proc/{self.pid('pool')}/task").glob("*/children")
        return [int(pid) for path in children for pid in path.read_text().split()]

    def kill_workers(self) -> int:
        """kill -9 of every worker; how many there were."""
        found = self.workers()
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return len(found)

    def wait_for_slots(self, count: int) -> None:
        """Waits until so many slots are there."""

        def there() -> bool:
            overview = self.get("overview")
            return overview is not None and overview["slots-total"] >= count

        until(there, f"{count} slots", seconds=START_SECONDS, unless=self._last_words)

    def get(self, path: str) -> Any:
        """What the REST API answers; None: nothing."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.rest_port}/v1/{path}", timeout=5) as answer:
                return json.load(answer)
        except OSError:
            return None

    def running(self) -> list[str]:
        """The ids of jobs that have not ended."""
        ended = ("FINISHED", "CANCELED", "FAILED")
        return [job["jid"] for job in self.get("jobs/overview")["jobs"] if job["state"] not in ended]

    def used_by(self, job: str) -> list[str]:
        """The names of the TaskManagers that a job runs on."""
        found = set()
        for vertex in self.get(f"jobs/{job}")["vertices"]:
            for task in self.get(f"jobs/{job}/vertices/{vertex['id']}")["subtasks"]:
                found.add("-".join(task["taskmanager-id"].split("-")[:2]))
        return sorted(found)

    def log(self, name: str) -> str:
        """What a program has logged."""
        path = self.folder / "logs" / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _write_settings(self) -> None:
        for name in ("conf", "logs", "checkpoints", "savepoints", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        settings = {
            "jobmanager.rpc.address": "127.0.0.1",
            "jobmanager.rpc.port": self._rpc_port,
            "jobmanager.bind-host": "127.0.0.1",
            "taskmanager.host": "127.0.0.1",
            "taskmanager.bind-host": "127.0.0.1",
            "rest.address": "127.0.0.1",
            "rest.bind-address": "127.0.0.1",
            "rest.port": self.rest_port,
            "io.tmp.dirs": self.folder / "tmp",
            "web.tmpdir": self.folder / "tmp",
            "parallelism.default": 1,
            "state.checkpoints.dir": f"file://{self.folder}/checkpoints",
            "state.savepoints.dir": f"file://{self.folder}/savepoints",
            "heartbeat.interval": 2000,
            "heartbeat.timeout": 10000,
            **self._settings,
        }
        lines = "".join(f"{name}: {value}\n" for name, value in settings.items())
        (self.folder / "conf" / "config.yaml").write_text(lines)
        (self.folder / "conf" / "log4j.properties").write_text(_LOG4J)

    def _start_pool(self, name: str, port: int, *around: str) -> None:
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        command = [*around, sys.executable, "-m", "runners.pool", "--listen", f"127.0.0.1:{port}"]
        self._start(name, command, {"PATH": path, "PYTHONPATH": str(ROOT)})

    def _start_java(self, name: str, main: str, memory: Mapping[str, str], heap: str) -> None:
        home, conf = equipment.flink(), self.folder / "conf"
        opened = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]
        logging = [f"-Dlog.file={self.folder}/logs/{name}.log", f"-Dlog4j.configurationFile={conf}/log4j.properties"]
        settings = [part for key, value in memory.items() for part in ("-D", f"{key}={value}")]
        program = [equipment.java(), f"-Xmx{heap}", "-XX:MaxDirectMemorySize=1g", *opened, *logging]
        command = [*program, "-cp", f"{home}/lib/*", main, "--configDir", str(conf), *settings]
        self._start(name, command, {"FLINK_PLUGINS_DIR": f"{home}/plugins", "FLINK_LIB_DIR": f"{home}/lib"})

    def _start(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        out = open(self.folder / "logs" / f"{name}.out", "ab")  # noqa: SIM115  # the process has it
        with out:
            self._processes[name] = subprocess.Popen(
                [*_WATCHED, *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **environment},
                cwd=self.folder,
                start_new_session=True,
            )

    def _last_words(self) -> str:
        """The last output of programs that have ended by themselves; empty: all run."""
        gone = [name for name, process in self._processes.items() if process.poll() is not None]
        return "; ".join(f"{name}: {(self.folder / 'logs' / f'{name}.out').read_text()[-500:]}" for name in gone)


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[Cluster]:
    """A cluster for the length of a block."""
    with Cluster(folder, **options) as cluster:
        yield cluster


if __name__ == "__main__":
    with Cluster(Path(sys.argv[1]), task_managers=int(sys.argv[2]) if len(sys.argv) > 2 else 1) as started:
        print(" ".join(started.flags), flush=True)
        signal.pause()

"""A PostgreSQL server that is restarted, politely and not, on one port."""

import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

from tests.faults.stage import free_port
from tests.servers import POSTGRES_PASSWORD, POSTGRES_USER, postgres_programs, run, unprivileged_owner


class Database:
    """A cluster of its own, in a folder of its own."""

    def __init__(self, dice: random.Random):
        self._programs = postgres_programs()
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._owner = unprivileged_owner(self._folder)
        self._port = free_port(dice)
        password = self._folder / "password"
        password.write_text(POSTGRES_PASSWORD)
        command: list[str | Path] = [self._programs / "initdb", "-D", self._folder / "data", "-U", POSTGRES_USER]
        run([*command, "-E", "UTF8", "-N", "-A", "scram-sha-256", f"--pwfile={password}"], self._folder, self._owner)
        self._start()
        secret = quote(POSTGRES_PASSWORD, safe="")
        self.url = f"postgresql://{POSTGRES_USER}:{secret}@127.0.0.1:{self._port}/postgres"

    def _control(self, *arguments: str | Path) -> None:
        run([self._programs / "pg_ctl", "-D", self._folder / "data", "-w", *arguments], self._folder, self._owner)

    def _start(self) -> None:
        # full_page_writes stays on: a server that is killed has to come back whole.
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -k {self._folder} -c fsync=off"
        self._control("-o", options, "-l", self._folder / "log", "start")

    def restart(self, down: float) -> None:
        """Ends it as an operator does, and starts it again after `down` seconds."""
        self._control("-m", "fast", "stop")
        time.sleep(down)
        self._start()

    def kill(self, down: float) -> None:
        """kill -9 of its first process, and a start after `down` seconds."""
        os.kill(int((self._folder / "data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        time.sleep(down)
        for _ in range(50):  # what is left of it goes by itself, and a start is refused meanwhile
            try:
                self._start()
            except RuntimeError:
                time.sleep(0.1)
            else:
                return
        self._start()

    def close(self) -> None:
        """Ends it for good."""
        self._control("-m", "immediate", "stop")
        shutil.rmtree(self._folder)

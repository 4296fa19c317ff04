"""Real servers for tests, started for the occasion and gone afterwards. They listen on the loopback only."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

POSTGRES_USER: Final = "app"
POSTGRES_PASSWORD: Final = "pass/w@rd:with %23"  # every character that a url has to encode
PORT_TRIES: Final = 5


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL cluster of its own, empty; yields the SQLAlchemy url of its superuser, password included.

    It runs in a temporary folder with fsync off, as the user `postgres` or `nobody` when we are root, because
    PostgreSQL refuses to run as root.

    Raises:
        RuntimeError: when PostgreSQL is not installed or does not start; the message says what to do.
    """
    programs = postgres_programs()
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder = Path(name)
        owner = unprivileged_owner(folder)
        password = folder / "password"
        password.write_text(POSTGRES_PASSWORD)
        command: list[str | Path] = [
            programs / "initdb",
            "-D",
            folder / "data",
            "-U",
            POSTGRES_USER,
            "-E",
            "UTF8",
            "--no-sync",
        ]
        run([*command, "--auth=scram-sha-256", f"--pwfile={password}"], folder, owner)
        port = start_postgres(programs, folder, owner)
        try:
            secret = quote(POSTGRES_PASSWORD, safe="")
            yield f"postgresql://{POSTGRES_USER}:{secret}@127.0.0.1:{port}/postgres"
        finally:
            run([programs / "pg_ctl", "-D", folder / "data", "-w", "-m", "immediate", "stop"], folder, owner)


def postgres_programs() -> Path:
    """The folder of initdb and pg_ctl: from PATH, else the newest that Debian's package has installed."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not versions:
        raise RuntimeError("PostgreSQL is not installed, and these tests need it: apt-get install postgresql")
    return versions[-1].parent


def unprivileged_owner(folder: Path) -> list[str]:
    """What a command begins with to run as a user who may own a cluster; gives the folder to that user."""
    if os.geteuid() != 0:
        return []
    names = {entry.pw_name for entry in pwd.getpwall()}
    entry = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return as_user(entry.pw_uid, entry.pw_gid)


def as_user(user: int, group: int) -> list[str]:
    """What a command of root begins with to run as another user.

    subprocess's own `user` makes it fork, and what gRPC does at a fork may end the child.
    """
    return ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]


def start_postgres(programs: Path, folder: Path, owner: list[str]) -> int:
    """Starts the cluster and waits until it answers; returns its port."""
    log = folder / "log"
    for _ in range(PORT_TRIES):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off -c full_page_writes=off"
        try:
            run([programs / "pg_ctl", "-D", folder / "data", "-w", "-o", options, "-l", log, "start"], folder, owner)
        except RuntimeError:
            # Somebody may have taken the port since we asked for a free one.
            if "Address already in use" not in log.read_text():
                raise
        else:
            return port
    raise RuntimeError(f"no free port for PostgreSQL in {PORT_TRIES} tries")


def run(command: list[str | Path], folder: Path, owner: list[str]) -> None:
    """Runs a command in `folder`; raises RuntimeError with all that it and the server said when it fails."""
    # Output goes to a file: the server inherits it, and a pipe would stay open as long as it runs.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            [*owner, *command], cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
        )
        if done.returncode != 0:
            output.seek(0)
            log = folder / "log"
            said = output.read().decode(errors="replace") + (log.read_text() if log.exists() else "")
            raise RuntimeError(f"{Path(command[0]).name} failed:\n{said}")

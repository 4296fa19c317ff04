"""A container engine for tests: the one of this machine, or a dockerd started for the occasion and gone afterwards."""

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.waiting import Stuck, until

HERE: Final = Path(__file__).parent
START_SECONDS: Final = 60
BASE: Final = "streamgauge-tests/base:debian"
_WATCHED: Final = ("setpriv", "--pdeathsig", "TERM")
"""How they end with us: a function of ours between fork and exec may crash in a process of gRPC's."""
PACKAGES: Final = {
    "docker": "docker.io",
    "dockerd": "docker.io",
    "iptables": "iptables",
    "debootstrap": "debootstrap",
    "docker-registry": "docker-registry",
    "docker-compose": "docker-compose",
    "promtool": "prometheus",
}


PLANTED: Final = "planted-7c1e5d0f-secret"
"""What the machine that builds knows, and the image must not."""


class NoEngine(RuntimeError):
    """No container engine can be had here; says what to do."""


class Engine:
    """An engine that answers at `environment`; every command line takes it from there."""

    def __init__(self, environment: Mapping[str, str], how: str):
        self.environment = {**os.environ, **environment}
        self.how = how

    def docker(self, *arguments: str, fails: bool = False) -> str:
        """What a docker command prints; raises when it fails, or with `fails` when it does not."""
        ran = subprocess.run(["docker", *arguments], env=self.environment, capture_output=True, text=True, check=False)
        if bool(ran.returncode) != fails:
            raise AssertionError(f"docker {' '.join(arguments)}: exit code {ran.returncode}\n{ran.stdout}{ran.stderr}")
        return (ran.stdout + (ran.stderr if fails else "")).strip()

    @contextmanager
    def container(self, image: str, *command: str, flags: tuple[str, ...] = ()) -> Iterator[str]:
        """A container in the background, removed afterwards; yields its id."""
        identity = self.docker("run", "--detach", *flags, image, *command)
        try:
            yield identity
        finally:
            self.docker("rm", "--force", "--volumes", identity)

    def health(self, container: str) -> str:
        """What the engine says of a container's health."""
        return self.docker("inspect", "--format", "{{.State.Health.Status}}", container)

    def port(self, container: str, inside: int) -> int:
        """Where a published port of a container is reached on the loopback."""
        return int(self.docker("port", container, f"{inside}/tcp").splitlines()[0].rpartition(":")[2])


def streamgauge(on: Engine, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A command of ours, run from the checkout against an engine."""
    return subprocess.run(
        [sys.executable, "-m", "dataflow.main", *arguments],
        cwd=HERE.parent.parent,
        env={**on.environment, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def install() -> None:
    """Installs what is missing, as root on Debian.

    Raises:
        NoEngine: if that cannot be done; names the packages.
    """
    missing = sorted({package for program, package in PACKAGES.items() if shutil.which(program) is None})
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NoEngine(f"these tests need {' '.join(missing)} (on Debian: apt-get install {' '.join(missing)})")
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    # Debian starts the services of what it installs; here nothing may run that no test has started.
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        subprocess.run(["apt-get", "update", "-q"], check=True, **quiet)  # type: ignore[call-overload]
        command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
        subprocess.run(command, check=True, **quiet)  # type: ignore[call-overload]
    except subprocess.CalledProcessError as error:
        raise NoEngine(f"apt-get does not install {' '.join(missing)}: {error}") from None
    finally:
        if ours:
            policy.unlink()


@contextmanager
def engine() -> Iterator[Engine]:
    """The machine's own engine if it answers, else a dockerd of ours, with all it keeps in a temporary folder.

    Raises:
        NoEngine: if there is none and this user cannot start one.
    """
    if (
        shutil.which("docker")
        and not subprocess.run(["docker", "version"], capture_output=True, check=False).returncode
    ):
        install()
        yield Engine({}, "the machine's own engine")
        return
    if os.geteuid() != 0:
        raise NoEngine("no container engine answers, and only root can start one: start Docker, or run this as root")
    install()
    with tempfile.TemporaryDirectory(prefix="dockerd-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        address = f"unix://{folder}/docker.sock"
        places = [f"--{kind}-root={folder}/{kind}" for kind in ("data", "exec")]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*_WATCHED, "dockerd", *places, f"--host={address}", f"--pidfile={folder}/pid"],
                stdout=log,
                stderr=log,
            )
        try:
            found = Engine({"DOCKER_HOST": address}, "a dockerd of its own")
            _wait(process, found, folder / "log")
            yield found
            for container in found.docker("ps", "--all", "--quiet").split():
                found.docker("rm", "--force", "--volumes", container)
        finally:
            process.terminate()  # it ends its containerd, and unmounts what it has mounted
            process.wait(60)
            # What it leaves mounted could not be removed with the folder.
            subprocess.run(["umount", folder / "exec" / "netns" / "default"], capture_output=True, check=False)


def _wait(process: "subprocess.Popen[bytes]", found: Engine, log: Path) -> None:
    def answers() -> bool:
        asked = subprocess.run(["docker", "version"], env=found.environment, capture_output=True, check=False)
        return not asked.returncode

    try:
        until(answers, "dockerd", seconds=START_SECONDS, unless=lambda: process.poll() is not None)
    except Stuck as stuck:
        raise NoEngine(f"{stuck}\n{log.read_text(errors='replace')[-2000:]}") from None


def cache() -> Path:
    """The folder of what is made once."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "streamgauge")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def base_image(on: Engine) -> str:
    """This machine's Debian with its Python as an image; made once, and kept in the cache.

    Raises:
        NoEngine: if it cannot be made.
    """
    if on.docker("images", "--quiet", BASE):
        return BASE
    archive = cache() / "base-debian.tar"
    with (cache() / "base-debian.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            ran = subprocess.run([HERE / "base.sh", archive], capture_output=True, text=True, check=False)
            if ran.returncode:
                raise NoEngine(f"the base image cannot be made: {ran.stderr}")
    on.docker("import", str(archive), BASE)
    return BASE


@contextmanager
def registry() -> Iterator[str]:
    """A registry of its own, empty, on the loopback; yields HOST:PORT, which Docker reaches without TLS."""
    with tempfile.TemporaryDirectory(prefix="registry-") as name:
        folder = Path(name)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        settings = (
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\nhttp: {{addr: '{address}'}}\n"
        )
        (folder / "config.yml").write_text(settings)
        with (folder / "log").open("wb") as log:
            command = ["docker-registry", "serve", str(folder / "config.yml")]
            process = subprocess.Popen([*_WATCHED, *command], stdout=log, stderr=log)
        try:
            until(
                lambda: _answers(f"http://{address}/v2/"),
                "docker-registry",
                seconds=START_SECONDS,
                unless=lambda: process.poll() is not None,
                said=(folder / "log").read_text,
            )
            yield address
        finally:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except (urllib.error.URLError, OSError):
        return False
    return True

"""What the cluster's tests need besides this environment: Flink's programs, and Beam's job server for it as one jar.

`python -m tests.cluster.equipment` puts both into the cache, once: Flink from its Python package of libraries, the
jar from Maven's parts by the pom.xml beside this file.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
FLINK: Final = "1.19.3"
PATIENCE_SECONDS: Final = 900


class NotEquipped(RuntimeError):
    """Something that the cluster needs cannot be had; says what to do."""


def cache() -> Path:
    """The folder of things that are built once."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "streamgauge")


def flink() -> Path:
    """The folder of Flink's `lib` and `plugins`; installs it unless it is there.

    Raises:
        NotEquipped: if pip cannot install it.
    """
    target = cache() / f"flink-{FLINK}"
    if not target.exists():
        with tempfile.TemporaryDirectory(prefix="flink-", dir=_made(cache())) as folder:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            _run([*pip, "--target", folder, f"apache-flink-libraries=={FLINK}"], HERE)
            os.rename(f"{folder}/pyflink", target)
    return target


def job_server() -> Path:
    """The job server's jar; builds it unless it is there.

    Raises:
        NotEquipped: if Maven is missing or cannot build it.
    """
    pom = HERE / "pom.xml"
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()[:8]
    target = cache() / f"flink-job-server-{digest}.jar"
    if not target.exists():
        if shutil.which("mvn") is None:
            raise NotEquipped("Maven is missing, which builds the job server: apt-get install maven openjdk-17-jdk")
        with tempfile.TemporaryDirectory(prefix="job-server-", dir=_made(cache())) as folder:
            shutil.copy(pom, folder)
            _run(["mvn", "--batch-mode", "--quiet", "package"], Path(folder))
            os.rename(f"{folder}/target/job-server.jar", target)
    return target


def java() -> str:
    """The program that runs Flink.

    Raises:
        NotEquipped: if there is none.
    """
    found = shutil.which("java")
    if found is None:
        raise NotEquipped("Java is missing, which runs Flink: apt-get install openjdk-17-jre-headless")
    return found


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _run(command: Sequence[str], folder: Path) -> None:
    ran = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if ran.returncode:
        said = (ran.stderr.strip() or ran.stdout.strip() or "it says nothing").splitlines()
        raise NotEquipped(f"{' '.join(command[:4])} failed: {said[-1]}")


def main() -> int:
    """Makes everything ready and says where it is."""
    began = time.monotonic()
    try:
        print(f"java        {java()}")
        print(f"flink       {flink()}")
        print(f"job server  {job_server()}")
    except NotEquipped as error:
        print(error, file=sys.stderr)
        return 1
    print(f"ready in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Images that do what those of Flink, Kafka, PostgreSQL and Prometheus do, where no public registry can be reached.

The programs are the real ones: Debian's packages, and the jars that the other tests of the cluster use. What they do
not show is whether the public images take the settings of containers/compose.yaml just so.
"""

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.cluster import broker, equipment
from tests.cluster.engine import Engine, NoEngine, cache

HERE: Final = Path(__file__).parent
PACKAGES: Final = ("openjdk-17-jre-headless", "postgresql", "prometheus")
SERVERS: Final = "streamgauge-tests/servers:debian"
NAMES: Final = ("flink", "kafka", "postgres", "prometheus")


def images(on: Engine) -> dict[str, str]:
    """The variables of the compose file that name them, made on this engine.

    Raises:
        NoEngine: if Debian's packages cannot be had.
    """
    archive = cache() / "servers-debian.tar"
    with (cache() / "servers-debian.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            ran = subprocess.run([HERE.parent / "base.sh", archive, *PACKAGES], capture_output=True, text=True)
            if ran.returncode:
                raise NoEngine(f"the servers' image cannot be made: {ran.stderr}")
    if not on.docker("images", "--quiet", SERVERS):
        on.docker("import", str(archive), SERVERS)
    for name in NAMES:
        _build(on, name)
    return {f"{name.upper()}_IMAGE": f"streamgauge-tests/{name}" for name in NAMES}


def _build(on: Engine, name: str) -> None:
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        here = Path(folder)
        shutil.copy(HERE / f"{name}.sh", here / "entry.sh")
        (here / "opt").mkdir()
        if name == "flink":
            for part in ("lib", "plugins"):
                shutil.copytree(equipment.flink() / part, here / "opt" / "flink" / part)
        elif name == "kafka":
            shutil.copytree(broker.jars(), here / "opt" / "kafka")
        steps = [f"FROM {SERVERS}", "COPY opt /opt", "COPY entry.sh /entry.sh"]
        steps += ["RUN mkdir -p /prometheus && chown 65534:65534 /prometheus"] if name == "prometheus" else []
        (here / "Dockerfile").write_text("\n".join([*steps, 'ENTRYPOINT ["/entry.sh"]', ""]))
        on.docker("build", "--network=none", f"--tag=streamgauge-tests/{name}", folder)

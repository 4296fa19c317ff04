"""Flink's own SQL on the cluster and the topic that we are measured with, from an environment of its own."""

import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from tests.cluster import equipment

ROOT: Final = Path(__file__).resolve().parents[2]
CONNECTOR: Final = f"flink-sql-connector-kafka-3.2.0-{equipment.FLINK.rpartition('.')[0]}.jar"
PATIENCE: Final = 900.0


def environment() -> Path:
    """The folder of an environment with PyFlink and the connector for Kafka; made unless it is there."""
    folder = ROOT / "build" / "bench" / f"pyflink-{equipment.FLINK}"
    if not (folder / CONNECTOR).exists():
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        # PyFlink's old Beam is built from source, by tools of its day.
        _run([*pip, "setuptools<70", "wheel"])
        _run([*pip, f"apache-flink=={equipment.FLINK}"])
        version = CONNECTOR.removeprefix("flink-sql-connector-kafka-").removesuffix(".jar")
        artifact = f"-Dartifact=org.apache.flink:flink-sql-connector-kafka:{version}"
        _run(["mvn", "--batch-mode", "--quiet", "dependency:copy", artifact, f"-DoutputDirectory={folder}"])
    return folder


def seconds(rest_port: int, brokers: str, topic: str, ends: list[int]) -> float:
    """How long the job takes over the partitions of a topic, from their beginnings to these offsets."""
    folder = environment()
    script = ROOT / "benchmarks" / "peers" / "flink_sql.py"
    offsets = ",".join(map(str, ends))
    said = _run(
        [str(folder / "bin" / "python"), str(script), str(rest_port), str(folder / CONNECTOR), brokers, topic, offsets]
    )
    return float(said.splitlines()[-1])


def _run(command: list[str]) -> str:
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL
    )
    if ran.returncode:
        print(ran.stderr[-2000:], file=sys.stderr)
        raise RuntimeError(f"{' '.join(command[:4])} failed")
    return ran.stdout

"""What the figures were taken on: without it they mean nothing."""

import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contenders import Peer, installed_versions

OWN = ("streamgauge", "apache-beam", "duckdb", "pyarrow", "numpy")


def cores_in_use() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_to_cores(cores: int) -> None:
    """Confines this process and all it starts to `cores` CPUs, where the system can; engines then see just these."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def processor() -> str:
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def describe(peers: Sequence[Peer]) -> dict[str, str]:
    """Returns the machine, the cores in use, what else ran at the start, and the versions of everything measured."""
    versions = installed_versions(Path(sys.executable), OWN)
    for peer in peers:
        versions |= installed_versions(peer.python, [peer.distribution])
    return {
        "Processor": f"{processor()}, {cores_in_use()} of {os.cpu_count()} cores in use",
        "Memory": f"{memory_bytes() / 2**30:.0f} GiB",
        "System": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "Load before the first run": f"{os.getloadavg()[0]:.1f}",
        "Versions": ", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
    }

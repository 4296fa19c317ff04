"""Trouble for tests: a disk that is full, a folder that cannot be written to; by real means, with or without root."""

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """A disk of `size` bytes at `folder`; what it yields says when it has to be full.

    Where nothing may be mounted, files of this process cannot grow beyond a tenth of the size at those times.
    """
    if mounted(folder, f"size={size}"):
        try:
            yield nullcontext
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
    else:
        yield lambda: longest_file(size // 10)


@contextmanager
def longest_file(size: int) -> Iterator[None]:
    """Lets no file of this process grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Makes an empty folder one that nobody can write to, not even root."""
    if mounted(folder, "ro"):
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
        return
    if os.geteuid() == 0:
        raise RuntimeError("root may mount nothing here, and so there is no folder that it cannot write to")
    folder.chmod(0o500)
    try:
        yield
    finally:
        folder.chmod(0o700)


def mounted(folder: Path, options: str) -> bool:
    """Mounts a disk in memory, if that is permitted."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False

"""Files that are written whole or not at all, and that a power cut does not take back."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO


@contextmanager
def aside(path: str) -> Iterator[BinaryIO]:
    """A file beside `path` to write to, which `put_in_place` makes the file `path`.

    Raises:
        OSError: if the disk refuses; nothing is left beside.
    """
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    try:
        with open(f"{path}.new", "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        discard(path)
        raise


def put_in_place(path: str) -> None:
    """Makes what was written aside the file `path`, in one step.

    Raises:
        OSError: if the disk refuses: the file is as it was, or the new one, which a power cut might still take back.
    """
    try:
        os.replace(f"{path}.new", path)
    except OSError:
        discard(path)
        raise
    keep_entries(os.path.dirname(path) or ".")


def discard(path: str) -> None:
    """Forgets what was written aside."""
    with suppress(OSError):
        os.remove(f"{path}.new")


@contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of `path` once all of it was written.

    Raises:
        OSError: as `aside` and `put_in_place` do; no part of the content is ever seen without the rest.
    """
    with aside(path) as file:
        yield file
    put_in_place(path)


def write_text(path: str, text: str) -> None:
    """Makes a text the content of a file, whatever interrupts it.

    Raises:
        OSError: as `replacing` does.
    """
    with replacing(path) as file:
        file.write(text.encode())


def keep_entries(folder: str) -> None:
    """Makes files that are new in a folder, or were renamed there, outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_folder(path: str) -> None:
    """Raises OSError unless the folder, or the nearest one above it that is there, is one and can be written to."""
    there = path
    while not os.path.lexists(there) and os.path.dirname(there) != there:
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        raise NotADirectoryError(errno.ENOTDIR, f"{there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"{there} cannot be written to")

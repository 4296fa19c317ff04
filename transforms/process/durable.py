"""Files that are written completely or not at all, and that survive a power cut."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO


@contextmanager
def aside(path: str) -> Iterator[BinaryIO]:
    """A new file next to `path`; `put_in_place` then renames it to `path`.

    Raises:
        OSError: if the disk refuses; the new file is removed.
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
    """Renames the file that `aside` wrote to `path`, in one step.

    Raises:
        OSError: if the disk refuses: `path` is the old file, or the new one, which a power cut may still undo.
    """
    try:
        os.replace(f"{path}.new", path)
    except OSError:
        discard(path)
        raise
    keep_entries(os.path.dirname(path) or ".")


def discard(path: str) -> None:
    """Removes the file that `aside` wrote."""
    with suppress(OSError):
        os.remove(f"{path}.new")


@contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """A new file that replaces `path` once it is completely written.

    Raises:
        OSError: like `aside` and `put_in_place`; a reader never sees a part of the content.
    """
    with aside(path) as file:
        yield file
    put_in_place(path)


def write_text(path: str, text: str) -> None:
    """Writes a text as the content of a file, completely or not at all.

    Raises:
        OSError: like `replacing`.
    """
    with replacing(path) as file:
        file.write(text.encode())


def keep_entries(folder: str) -> None:
    """Makes new and renamed files in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_folder(path: str) -> None:
    """Raises OSError unless `path`, or its nearest ancestor that exists, is a writable folder."""
    there = path
    while not os.path.lexists(there) and os.path.dirname(there) != there:
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        raise NotADirectoryError(errno.ENOTDIR, f"{there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"{there} cannot be written to")

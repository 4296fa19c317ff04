"""Stamps: the facts that later show whether a file is still the one that was listed."""

import hashlib
import os
import platform
from dataclasses import dataclass, replace
from typing import IO, Any, Final

import fsspec
import numpy as np

from transforms.collection.files.opening import is_url, open_raw
from transforms.errors import SourceError

_VERSIONS: Final = ("etag", "generation", "version_id", "versionid", "md5hash", "content_md5")
"""The lower-case names under which stores identify an object; each write changes the value."""
_TIMES: Final = ("mtime", "lastmodified", "last_modified", "updated", "modified", "modificationtime", "created")
_TAIL_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Stamp:
    """The facts about a file at one moment.

    Args:
        identity: the inode, or a store's identifier of a version; empty where there is neither.
        node: the machine on which the inode is valid; empty for a URL.
        size: in bytes; None where the store does not report it.
        modified: the modification time as the system reports it.
        tail: a digest of the last bytes, for a file that may grow: appending leaves these bytes unchanged.
    """

    identity: tuple[tuple[str, str], ...]
    node: str
    size: int | None
    modified: str
    tail: bytes | None = None

    def difference(self, now: "Stamp") -> str | None:
        """How the file now differs from this stamp; None if it does not, or it only grew and may grow."""
        before, after = dict(self.identity), dict(now.identity)
        known = before.keys() & after.keys()  # a store may report more about one object than in a listing
        if self.node == now.node and any(before[name] != after[name] for name in known):
            return f"it had {_bytes(self.size)} when it was listed, and another file of {_bytes(now.size)} is there now"
        if self.size == now.size:
            is_same = self.modified == now.modified or (known and not self.node)
            return (
                None
                if is_same
                else f"it was listed as written at {self.modified}, and was written to at {now.modified}"
            )
        if self.size is None or now.size is None or (now.size > self.size and self.tail is not None):
            return None
        return f"it had {_bytes(self.size)} when it was listed, and has {_bytes(now.size)} now"


def stamp_of(path: str, *, may_grow: bool = False) -> Stamp:
    """The stamp of a file as it is now; with its tail, if the file may grow.

    Raises:
        OSError: if the file cannot be examined.
    """
    now = _url_stamp(path) if is_url(path) else _stamp(os.stat(path))
    if may_grow and now.size is not None and (now.node or not now.identity):
        return replace(now, tail=_tail(path, now.size))
    return now


def check_opened(path: str, source: str, listed: Stamp, raw: IO[bytes]) -> None:
    """Checks a local file after reading, by its open handle: `path` may name another file by now.

    Raises:
        SourceError: if it is not the file that was listed.
    """
    _compare(path, source, listed, _stamp(os.fstat(raw.fileno())))


def check_named(path: str, source: str, listed: Stamp) -> None:
    """Checks the file that a path or URL names now.

    Raises:
        OSError: if it cannot be examined.
        SourceError: if it is not the file that was listed.
    """
    _compare(path, source, listed, _url_stamp(path, again=True) if is_url(path) else _stamp(os.stat(path)))


def _compare(path: str, source: str, listed: Stamp, now: Stamp) -> None:
    difference = listed.difference(now)
    if difference is None and listed.tail is not None and listed.size is not None and listed.size != now.size:
        appended = _tail(path, listed.size) == listed.tail
        difference = None if appended else f"its first {_bytes(listed.size)} have changed since it was listed"
    if difference is not None:
        raise SourceError(f"{source} changed while it was read: {difference}")


def _stamp(found: os.stat_result) -> Stamp:
    modified = str(np.datetime64(found.st_mtime_ns, "ns"))
    return Stamp((("inode", str(found.st_ino)),), platform.node(), found.st_size, modified)


def _url_stamp(path: str, *, again: bool = False) -> Stamp:
    filesystem, inside = fsspec.core.url_to_fs(path)
    if again:
        filesystem.invalidate_cache(inside)  # it caches listings
    facts: dict[str, Any] = {name.lower(): value for name, value in filesystem.info(inside).items()}
    identity = tuple((name, str(facts[name]).strip('"')) for name in _VERSIONS if facts.get(name))
    modified = next((str(facts[name]) for name in _TIMES if facts.get(name)), "an unknown time")
    size = facts.get("size")
    return Stamp(identity, "", None if size is None else int(size), modified)


def _tail(path: str, size: int) -> bytes:
    with open_raw(path) as raw:
        raw.seek(max(0, size - _TAIL_BYTES))
        return hashlib.blake2b(raw.read(min(size, _TAIL_BYTES)), digest_size=16).digest()


def _bytes(size: int | None) -> str:
    return "an unknown number of bytes" if size is None else f"{size:,} byte{'' if size == 1 else 's'}"

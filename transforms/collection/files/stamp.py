"""Stamps: what tells later whether a file is still the one that was listed."""

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
"""Under which names, in lower case, stores say which object it is; each write makes another one."""
_TIMES: Final = ("mtime", "lastmodified", "last_modified", "updated", "modified", "modificationtime", "created")
_TAIL_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Stamp:
    """A file at one moment.

    Args:
        identity: the inode, or what a store gives to tell versions apart; empty where there is neither.
        node: the machine to which the inode means something; empty of what a URL names.
        size: in bytes; None where the store does not say.
        modified: when, in the words of the system.
        tail: a digest of the last bytes, of a file that may grow: whoever appends leaves them as they are.
    """

    identity: tuple[tuple[str, str], ...]
    node: str
    size: int | None
    modified: str
    tail: bytes | None = None

    def difference(self, now: "Stamp") -> str | None:
        """How the file differs from what it was; None: not at all, or it only grew and may."""
        before, after = dict(self.identity), dict(now.identity)
        known = before.keys() & after.keys()  # a store may say more of one object than of each in a list
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
    """The stamp of a file as it is now; of one that may grow, with its tail.

    Raises:
        OSError: if it cannot be looked at.
    """
    now = _url_stamp(path) if is_url(path) else _stamp(os.stat(path))
    if may_grow and now.size is not None and (now.node or not now.identity):
        return replace(now, tail=_tail(path, now.size))
    return now


def check_opened(path: str, source: str, listed: Stamp, raw: IO[bytes]) -> None:
    """Looks again at a local file that was read, as it was opened: `path` may name another one meanwhile.

    Raises:
        SourceError: if it is not what was listed.
    """
    _compare(path, source, listed, _stamp(os.fstat(raw.fileno())))


def check_named(path: str, source: str, listed: Stamp) -> None:
    """Looks again at what a path or URL names.

    Raises:
        OSError: if it cannot be looked at.
        SourceError: if it is not what was listed.
    """
    _compare(path, source, listed, _url_stamp(path, again=True) if is_url(path) else _stamp(os.stat(path)))


def _compare(path: str, source: str, listed: Stamp, now: Stamp) -> None:
    difference = listed.difference(now)
    if difference is None and listed.tail is not None and listed.size is not None and listed.size != now.size:
        appended = _tail(path, listed.size) == listed.tail
        difference = None if appended else f"its first {_bytes(listed.size)} are not those that were listed"
    if difference is not None:
        raise SourceError(f"{source} changed while it was read: {difference}")


def _stamp(found: os.stat_result) -> Stamp:
    modified = str(np.datetime64(found.st_mtime_ns, "ns"))
    return Stamp((("inode", str(found.st_ino)),), platform.node(), found.st_size, modified)


def _url_stamp(path: str, *, again: bool = False) -> Stamp:
    filesystem, inside = fsspec.core.url_to_fs(path)
    if again:
        filesystem.invalidate_cache(inside)  # what was listed is remembered there
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

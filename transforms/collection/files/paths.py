"""Resolves the paths of a job to files, each of them once under all its spellings.

A local glob is expanded here. `**` enters every folder once, linked folders too; a file is identified by its device
and inode, whatever links or hard links lead to it. As in Hive, Spark and Arrow, a glob skips names that begin with `_`
or `.`, unless the pattern begins with that character too; `_day=1` names a partition and is not skipped.
"""

import errno
import os
import stat
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase

import fsspec

from transforms.collection.files.opening import is_url
from transforms.collection.files.spec import FilesSpec
from transforms.collection.source_error import reason
from transforms.errors import SourceError

_LOCAL_URLS = ("file://", "local://")


@dataclass(frozen=True, slots=True)
class _Match:
    """A file: the path that opens it, the name that the job uses, and an identity that all its spellings share."""

    path: str
    source: str
    identity: Hashable


def list_files(spec: FilesSpec, base: str) -> list[tuple[str, str]]:
    """(path, source) of every file, in the order in which they arrived: that of `paths`, and of names within a glob.

    Raises:
        SourceError: if a file or a glob's match does not exist, or its folder cannot be reached.
    """
    found: dict[Hashable, _Match] = {}
    for path in spec.paths:
        try:
            matches = _expand(path, base)
        except (OSError, ValueError, ImportError) as error:
            where = f" {error.filename}:" if isinstance(error, OSError) and error.filename else ""
            raise SourceError(f"source.files.paths: {path} cannot be searched for:{where} {reason(error)}") from error
        if not matches:
            what = "no file matches" if _is_glob(path) else "there is no file"
            raise SourceError(f"source.files.paths: {what} {path}" + ("" if is_url(path) else f" (looked in {base})"))
        for match in matches:
            _refuse_unwritable(match.source)
            found.setdefault(match.identity, match)
    return [(match.path, match.source) for match in found.values()]


def local_matches(pattern: str) -> list[str]:
    """The files that a local pattern names, sorted, each once: of a file that links reach twice, the name without them.

    Raises:
        OSError: if a folder cannot be listed.
    """
    parts = pattern.split(os.sep)
    depth = next((index for index, part in enumerate(parts) if _is_glob(part)), len(parts) - 1)
    top = os.sep.join(parts[:depth]) + (os.sep if depth else "")
    straight = os.path.realpath(top or ".")
    found: dict[Hashable, str] = {}
    for path in _walk(top, [part for part in parts[depth:] if part]):
        identity = _identity(path)
        other = found.setdefault(identity, path)
        if other != path and _is_linked(other, top, straight) and not _is_linked(path, top, straight):
            found[identity] = path
    return sorted(found.values())


def _expand(path: str, base: str) -> list[_Match]:
    if path.startswith(_LOCAL_URLS):
        absolute = os.path.abspath(path.partition("://")[2])
        return [_Match(name, f"file://{name}", _identity(name)) for name in _local_files(absolute)]
    if is_url(path):
        return [_Match(name, name, name) for name in _remote_files(path)]
    names = _local_files(os.path.join(base, path))
    return [_Match(name, os.path.relpath(name, base), _identity(name)) for name in names]


def _local_files(path: str) -> list[str]:
    if _is(path, stat.S_ISREG):
        return [path]
    return local_matches(path) if _is_glob(path) else []


def _remote_files(path: str) -> list[str]:
    filesystem, inside = fsspec.core.url_to_fs(path)
    if not _is_glob(path):
        return [filesystem.unstrip_protocol(inside)] if filesystem.exists(inside) else []
    found = filesystem.glob(inside, detail=True)
    names = sorted(name for name, facts in found.items() if facts.get("type") != "directory")
    return [filesystem.unstrip_protocol(name) for name in names if _is_seen(name, inside)]


def _walk(folder: str, parts: Sequence[str]) -> Iterator[str]:
    """The files under a folder (empty, or ending in a separator) that the parts of a pattern lead to."""
    first, rest = parts[0] if parts else "", parts[1:]
    if first == "**":
        for below in _folders(folder):
            yield from _walk(below, rest or ["*"])
        return
    names = [first]
    if _is_glob(first):
        names = sorted(name for name in _listed(folder) if fnmatchcase(name, first) and not _is_hidden(name, first))
    for name in names:
        path = folder + name
        if not rest and _is(path, stat.S_ISREG):
            yield path
        elif rest and _is(path, stat.S_ISDIR):
            yield from _walk(path + os.sep, rest)


def _folders(top: str) -> Iterator[str]:
    """A folder and all folders in it, each once; those reached only by links come last."""
    seen: set[Hashable] = set()
    folders: list[str] = [top]
    linked: list[str] = []
    while folders or linked:
        folder = folders.pop() if folders else linked.pop(0)
        with suppress(FileNotFoundError):  # removed since it was listed
            identity = _identity(folder or ".")
            if identity in seen:
                continue
            seen.add(identity)
            yield folder
            for name in sorted(_listed(folder), reverse=True):
                path = folder + name
                if not _is_hidden(name, "**") and _is(path, stat.S_ISDIR):
                    (linked if os.path.islink(path) else folders).append(path + os.sep)


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder or ".")
    except FileNotFoundError:
        return []


def _is(path: str, kind: Callable[[int], bool]) -> bool:
    """Whether a path leads to something of a kind; a path that cannot be examined is an error, not a false."""
    try:
        return kind(os.stat(path).st_mode)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise


def _identity(path: str) -> Hashable:
    found = os.stat(path)
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(path)


def _is_linked(path: str, top: str, straight: str) -> bool:
    """Whether the way from `top`, whose real path is `straight`, includes a link."""
    return os.path.realpath(path) != os.path.normpath(os.path.join(straight, path[len(top) :]))


def _is_hidden(name: str, part: str) -> bool:
    """Whether the part of a pattern that matches a name skips the name."""
    hidden = name.startswith(".") or (name.startswith("_") and "=" not in name)
    return hidden and part[:1] != name[0] and not (part.startswith("[") and part[1:2] != "!")


def _is_seen(name: str, pattern: str) -> bool:
    """Whether the pattern, from its first glob, skips no part of a remote name."""
    parts = pattern.split("/")
    depth = next((index for index, part in enumerate(parts) if _is_glob(part)), len(parts))
    globs = parts[depth:]
    return all(
        any(fnmatchcase(part, wanted) and not _is_hidden(part, wanted) for wanted in globs)
        for part in name.split("/")[depth:]
        if _is_hidden(part, "**")
    )


def _is_glob(path: str) -> bool:
    return any(character in path for character in "*?[")


def _refuse_unwritable(source: str) -> None:
    try:
        source.encode("utf-8")
    except UnicodeEncodeError:
        shown = os.fsencode(source).decode("utf-8", "backslashreplace")
        raise SourceError(f"source.files.paths: the name of {shown} is not UTF-8, and tables must name it") from None

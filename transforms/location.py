"""A location as a job file writes it: a local path, or a URL.

A text that would silently mean another place than its author intended is refused: `~` and `$HOME` are for shells, and
`s3:/bucket` would be a folder named `s3:`.
"""

import os
import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

import fsspec

LONGEST_NAME: Final = 240
"""Bytes; file systems allow 255 for a name, and temporary files next to a file have slightly longer names."""

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_ONE_SLASH: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)")
_VARIABLE: Final = re.compile(r"\$\{[^}]*\}?")
_SHELL_VARIABLE: Final = re.compile(r"\$([A-Za-z_]\w*)(?=/|$)")
_LOCAL: Final = ("file", "local")
_ALIASES: Final = {"s3a": "s3", "gcs": "gs"}
_READ_ONLY: Final = frozenset(
    {
        *("http", "https", "zip", "tar", "libarchive", "git", "github", "gist", "data", "reference", "generic"),
        *("cached", "blockcache", "filecache", "simplecache", "asynclocal", "jlab", "jupyter", "root", "dir"),
    }
)
"""Schemes that fsspec reads and cannot write, or writes to another place than the URL says."""


_SAFE: Final = " !#$&'()+,;=@[]^_`{}~\"<>|-.:?*"
"""Characters of a table's name that its folder keeps; `/`, `%`, control characters and the like become %XX."""


@dataclass(frozen=True, slots=True)
class NamedPath:
    """A path or URL of a job file and its field.

    Args:
        field: where it stands.
        stays: whether this version can only use it on a machine's own file system.
        written: whether tables are written there.
        shared: whether every worker of a cluster needs it.
    """

    field: tuple[str | int, ...]
    text: str
    stays: bool = False
    written: bool = False
    shared: bool = True


def folder_name(table: str) -> str:
    """The folder of a table: its name, with what a path cannot hold or would act on percent-encoded.

    >>> folder_name("by carrier"), folder_name("../x")
    ('by carrier', '%2E.%2Fx')
    """
    quoted = "".join(c if c.isalnum() else quote(c, safe=_SAFE) for c in table)
    return "%2E" + quoted[1:] if quoted.startswith(".") else quoted


def scheme(text: str) -> str | None:
    """The scheme of a URL, in lower case; None: a path.

    >>> scheme("S3://bucket/x"), scheme("out/flights")
    ('s3', None)
    """
    match = _URL.match(text)
    return match[1].lower() if match else None


def is_local(text: str) -> bool:
    """Whether a location is on this machine: a path or a `file://` URL."""
    return scheme(text) in (None, *_LOCAL)


def mistake(text: str) -> str | None:
    """Why a text does not clearly name a location; None if it does.

    >>> mistake("~/out")
    '`~` is for shells, and would name a folder here: write the whole path, or ${HOME}'
    >>> mistake("out/flights") is None
    True
    """
    if not text.strip():
        return "must not be empty"
    if "\0" in text:
        return "must not hold U+0000, which no path can hold"
    if match := _VARIABLE.search(text):
        return f"{match[0]} is not replaced: only ${{NAME}} is, from the environment"
    if text.startswith("~"):
        return "`~` is for shells, and would name a folder here: write the whole path, or ${HOME}"
    if match := _SHELL_VARIABLE.match(text):
        return f"{match[0]} is not replaced: write ${{{match[1]}}}"
    if scheme(text) in _LOCAL:
        host, slash, _ = text.partition("://")[2].partition("/")
        if not slash or host not in ("", "localhost"):
            return "a file URL has three slashes: file:///folder/name"
    elif scheme(text) is not None and not text.partition("://")[2].strip("/"):
        return f"names no place after {scheme(text)}://"
    elif scheme(text) is None and (match := _ONE_SLASH.match(text)) and match[1] != "file":
        return f"a URL has two slashes: {match[1]}://"
    names = (text if is_local(text) else "").split("/")
    longest = max(len(name.encode(errors="surrogatepass")) for name in names)
    return f"has a name of {longest} bytes; file systems keep {LONGEST_NAME}" if longest > LONGEST_NAME else None


def resolved(text: str, folder: str) -> str:
    """The absolute path of a local location, which may be relative to `folder`; any other URL unchanged.

    >>> resolved("out/../x", "/job"), resolved("file:///data/a%20b", "/job"), resolved("s3a://bucket/x/", "/job")
    ('/job/x', '/data/a b', 's3://bucket/x')
    """
    named = scheme(text)
    if named is not None and named not in _LOCAL:
        return f"{_ALIASES.get(named, named)}://{text.partition('://')[2].rstrip('/')}"
    if named in _LOCAL:
        text = unquote(text.partition("://")[2].removeprefix("localhost"))
    elif text.startswith("file:/"):
        text = unquote(text.removeprefix("file:"))
    return os.path.normpath(os.path.join(folder, text))


def identity(location: str) -> Hashable:
    """A value that is equal for two names of one location: links are followed, and file systems identify the file."""
    if not is_local(location):
        return location
    try:
        there, rest = os.path.realpath(location), ""
        while not os.path.exists(there):
            there, name = os.path.split(there)
            rest = f"{name}/{rest}"
        found = os.stat(there)
    except (OSError, ValueError):
        return location
    return found.st_dev, found.st_ino, rest


def unwritable(location: str) -> str | None:
    """Why nothing can be written at a location, as far as its text shows; None: it may be possible."""
    named = scheme(location)
    if "::" in location:
        return f"must not hold `::`, which stands for an archive or a copy of another place, is {location}"
    if named is None:
        return None
    if named == "memory":
        return f"{location} would be lost when the run ends"
    if named in _READ_ONLY:
        return f"{location} can be read but not written"
    try:
        fsspec.get_filesystem_class(named)
    except (ImportError, ValueError) as error:
        return f"{location} cannot be written: {str(error).splitlines()[0]}"
    return None

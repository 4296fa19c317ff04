"""Functions that Numba compiles to machine code when they are first called: the loops over every byte.

They take only numpy arrays and numbers, and hold no interpreter lock. Compiled code is kept in the user's cache
folder, under a digest of this folder's files, because Numba itself notices changes of one file only.
"""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import numba

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")

# The caller owns the arrays: compiled code neither makes nor keeps any, and counting references to them would take ten
# times as long as all the rest.
_OPTIONS: Final = {"nogil": True, "_nrt": False}


def _cache_folder() -> str:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(caches, "streamgauge", f"compiled-{digest}")


_CACHE = _cache_folder()


def compiled(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """The function as machine code. If no folder is writable, every process compiles it again, for some seconds."""
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, _CACHE  # Numba reads it here, not at the call
    try:
        dispatcher = numba.njit(function, cache=True, **_OPTIONS)
        dispatcher._cache.save_overload = _unless_it_fails(dispatcher._cache.save_overload)
        return dispatcher
    except RuntimeError:
        return numba.njit(function, **_OPTIONS)
    finally:
        numba.config.CACHE_DIR = before


def _unless_it_fails(save: Callable[..., None]) -> Callable[..., None]:
    """Ignores a failure to save compiled code, as on a full disk: it only costs the next process some seconds."""

    def saved(*given: Any) -> None:
        with suppress(OSError):
            save(*given)

    return saved


def inlined(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """A part of one compiled function: passing all those arrays would cost more than its work."""
    return numba.njit(function, inline="always", **_OPTIONS)

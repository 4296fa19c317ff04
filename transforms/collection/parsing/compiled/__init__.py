"""Functions that are compiled to machine code, by Numba, when they are first called: the loops over every byte.

They take numpy arrays and numbers, look at nothing else, and hold no interpreter lock. What was compiled is kept in
the user's cache folder, under a digest of this folder's files, for Numba itself sees changes of one file only.
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

# Arrays are the caller's: they are neither made nor kept, and counting references to them would take ten times as long
# as all the rest.
_OPTIONS: Final = {"nogil": True, "_nrt": False}


def _cache_folder() -> str:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(caches, "streamgauge", f"compiled-{digest}")


_CACHE = _cache_folder()


def compiled(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """The function as machine code. Where no folder can be written, every process compiles it again: some seconds."""
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, _CACHE  # it is looked at now, not at the call
    try:
        dispatcher = numba.njit(function, cache=True, **_OPTIONS)
        dispatcher._cache.save_overload = _unless_it_fails(dispatcher._cache.save_overload)
        return dispatcher
    except RuntimeError:
        return numba.njit(function, **_OPTIONS)
    finally:
        numba.config.CACHE_DIR = before


def _unless_it_fails(save: Callable[..., None]) -> Callable[..., None]:
    """A disk may be full when something is to be kept, which is a matter of seconds and of nothing else."""

    def saved(*given: Any) -> None:
        with suppress(OSError):
            save(*given)

    return saved


def inlined(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """A part of one compiled function: handing all those arrays over would cost more than what it does."""
    return numba.njit(function, inline="always", **_OPTIONS)

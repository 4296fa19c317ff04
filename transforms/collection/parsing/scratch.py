"""Room for what a block of text needs while it is read: large, mostly untouched, and the same for the next block."""

import threading
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_KEPT: Final = 256 << 20
"""Octets; what a giant block needs is not kept."""

_local = threading.local()


def room(use: str, shape: tuple[int, ...], kind: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array of any content for one use, which is this thread's until it asks again for the same use.

    Asking the system anew for every block would keep several blocks' worth of memory in its heap, and cost a page
    fault for every page.
    """
    kept: dict[str, npt.NDArray[np.uint8]] = _local.__dict__.setdefault("kept", {})
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    octets = kept.get(use)
    if octets is None or len(octets) < size:
        octets = np.empty(size, np.uint8)
        if size <= _KEPT:
            kept[use] = octets
    return octets[:size].view(kind).reshape(shape)

"""Scratch memory for reading a block of text: large, mostly untouched, and reused for the next block."""

import threading
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_KEPT: Final = 256 << 20
"""Octets; larger memory, for a giant block, is not kept."""

_local = threading.local()


def room(use: str, shape: tuple[int, ...], kind: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array with arbitrary content; it belongs to this thread until the thread asks again for the same use.

    Allocating memory again for every block would keep several blocks' worth of it in the heap, and cost a page fault
    for every page.
    """
    kept: dict[str, npt.NDArray[np.uint8]] = _local.__dict__.setdefault("kept", {})
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    octets = kept.get(use)
    if octets is None or len(octets) < size:
        octets = np.empty(size, np.uint8)
        if size <= _KEPT:
            kept[use] = octets
    return octets[:size].view(kind).reshape(shape)

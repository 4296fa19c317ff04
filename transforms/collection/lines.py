"""Lines: a block of text as records, without copying a byte, and which of them cannot be records at all."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.collection.values import Refusals
from transforms.dead_letter import shown

Octets = npt.NDArray[np.uint8]

_NEWLINE: Final = 10
_PIECE: Final = 1 << 18


@dataclass(frozen=True)
class Lines:
    """Whole lines of a source: the first `size` bytes of `data`, each line ended by a newline, the last perhaps not.

    `position` is where `data` begins in the source's decompressed bytes.
    """

    data: bytes
    position: int
    size: int | None = None

    @cached_property
    def octets(self) -> Octets:
        return np.frombuffer(self.data, np.uint8, count=len(self.data) if self.size is None else self.size)

    @cached_property
    def offsets(self) -> npt.NDArray[np.int32]:
        """Where each line begins, and where the last one ends; newlines belong to the line they end."""
        found = [np.flatnonzero(piece == _NEWLINE) + start for start, piece in pieces(self.octets)]
        ends = np.concatenate(found) if found else np.empty(0, np.intp)
        size = len(self.octets)
        open_ended = size and not (len(ends) and ends[-1] == size - 1)
        offsets = np.zeros(1 + len(ends) + open_ended, np.int32)
        np.add(ends, 1, out=offsets[1 : 1 + len(ends)], casting="unsafe")
        if open_ended:
            offsets[-1] = size
        return offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def positions(self) -> npt.NDArray[np.int64]:
        """Where each line begins in the source."""
        return self.offsets[:-1].astype(np.int64) + self.position

    @cached_property
    def lengths(self) -> npt.NDArray[np.int32]:
        """The bytes of each line, the newline that ends it counted."""
        return np.diff(self.offsets)

    def payload(self, row: int) -> bytes:
        """The original bytes of a line, without its newline."""
        start, end = self.offsets.item(row), self.offsets.item(row + 1)
        return self.data[start:end].removesuffix(b"\n")

    @cached_property
    def text(self) -> pa.StringArray:
        """Every line as text, newline included; valid only for the rows that `unreadable` does not name."""
        offsets, data = pa.py_buffer(self.offsets), pa.py_buffer(self.data)
        return pa.StringArray.from_buffers(len(self), offsets, data)

    def payloads(self) -> pa.BinaryArray:
        """The original bytes of every line."""
        if not len(self.octets) or self.octets[-1] != _NEWLINE:
            return pa.array([self.payload(row) for row in range(len(self))], pa.binary())
        whole = pa.BinaryArray.from_buffers(pa.binary(), len(self), [None, *self.text.buffers()[1:]])
        return pc.binary_slice(whole, 0, -1)

    def unreadable(self, max_line: int) -> Refusals:
        """Lines that are too long, empty, or no UTF-8: no format can read these."""
        refused: Refusals = {}
        for row in np.flatnonzero(self.lengths > max_line).tolist():
            size = len(self.payload(row))
            if size > max_line:
                refused[row] = ("too_long", f"the line has {size:,} bytes; record.max_line is {max_line:,}")
        for row in np.flatnonzero(self.lengths <= 2).tolist():
            if not self.payload(row).strip():
                refused[row] = ("malformed", "the line is empty")
        if not self.data.isascii():
            try:
                self.text.validate(full=True)
            except pa.ArrowInvalid:
                self._find_invalid_utf8(refused)
        return refused

    def _find_invalid_utf8(self, refused: Refusals) -> None:
        high = [start + np.flatnonzero(piece >= 0x80) for start, piece in pieces(self.octets)]
        for row in np.unique(np.searchsorted(self.offsets, np.concatenate(high), side="right") - 1).tolist():
            if row in refused:
                continue
            try:
                self.payload(row).decode("utf-8")
            except UnicodeDecodeError as error:
                byte = shown(error.object[error.start : error.start + 1])
                refused[row] = ("invalid_utf8", f"byte {byte} at {error.start} of the line is not UTF-8")


def pieces(octets: Octets, overlap: int = 0) -> Iterator[tuple[int, Octets]]:
    """Where each piece begins, and the piece with `overlap` octets of the next.

    Pieces stay in the processor's cache while something is looked for in them, which a block does not.
    """
    for start in range(0, len(octets) - overlap, _PIECE):
        yield start, octets[start : start + _PIECE + overlap]

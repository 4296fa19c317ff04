"""Lines: a block of text as records, without copying a byte, and the lines that cannot be records at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.collection.parsing.scratch import room
from transforms.collection.parsing.values import Refusals
from transforms.record.arrays import Ints, Longs, Octets
from transforms.record.dead_letter import shown

_NEWLINE: Final = 10


@dataclass(frozen=True)
class Lines:
    """Whole lines of a source: the first `size` bytes of `data`; each line, except perhaps the last, has a newline.

    `position` is where `data` begins in the source's decompressed bytes.
    """

    data: bytes
    position: int
    size: int | None = None

    @cached_property
    def octets(self) -> Octets:
        return np.frombuffer(self.data, np.uint8, count=len(self.data) if self.size is None else self.size)

    @cached_property
    def _bounds(self) -> tuple[Ints, list[int]]:
        """The start of each line and the end of the last one, and the lines that are not UTF-8."""
        # Importing the compiler takes half a second and 125 MB, which jobs on Parquet need not spend.
        from transforms.collection.parsing.compiled.bounds import find_lines

        octets, size = self.octets, len(self.octets)
        starts = room("starts", (size + 2,), np.int32)
        unreadable = room("unreadable", (size // 2 + 1,), np.int32)
        found = find_lines(octets, np.frombuffer(self.data, np.uint64, count=size // 8), starts[1:], unreadable)
        rows = found.newlines + (size > 0 and not self.ends_in_newline)
        starts[0], starts[rows] = 0, size
        return starts[: rows + 1].copy(), unreadable[: found.unreadable].tolist()

    @property
    def offsets(self) -> Ints:
        """The start of each line, and the end of the last one; a newline belongs to the line that it ends."""
        offsets, _ = self._bounds
        return offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def positions(self) -> Longs:
        """The start of each line in the source."""
        return self.offsets[:-1].astype(np.int64) + self.position

    @cached_property
    def lengths(self) -> Ints:
        """The bytes of each line, including its newline."""
        return np.diff(self.offsets)

    @property
    def ends_in_newline(self) -> bool:
        """Whether the last line ends in a newline."""
        return len(self.octets) > 0 and bool(self.octets[-1] == _NEWLINE)

    def payload(self, row: int) -> bytes:
        """The original bytes of a line, without its newline."""
        start, end = self.offsets.item(row), self.offsets.item(row + 1)
        return self.data[start:end].removesuffix(b"\n")

    def payloads(self, rows: Sequence[int] | None = None) -> pa.BinaryArray:
        """The original bytes of some lines, or of every line."""
        if not self.ends_in_newline:
            return pa.array([self.payload(row) for row in (range(len(self)) if rows is None else rows)], pa.binary())
        buffers = [None, pa.py_buffer(self.offsets), pa.py_buffer(self.data)]
        whole = pa.BinaryArray.from_buffers(pa.binary(), len(self), buffers)
        return pc.binary_slice(whole if rows is None else whole.take(pa.array(rows, pa.int64())), 0, -1)

    def unreadable(self, max_line: int) -> Refusals:
        """Lines that are too long, empty, or not UTF-8: no format can read these."""
        refused: Refusals = {}
        for row in np.flatnonzero(self.lengths > max_line).tolist():
            size = len(self.payload(row))
            if size > max_line:
                refused[row] = ("too_long", f"the line has {size:,} bytes; record.max_line is {max_line:,}")
        for row in np.flatnonzero(self.lengths <= 2).tolist():
            if not self.payload(row).strip():
                refused[row] = ("malformed", "the line is empty")
        _, not_utf8 = self._bounds
        for row in not_utf8:
            if row not in refused:
                refused[row] = "invalid_utf8", _byte_that_is_not_utf8(self.payload(row))
        return refused


def _byte_that_is_not_utf8(payload: bytes) -> str:
    """Names the byte of a payload that is not UTF-8."""
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"byte {shown(error.object[error.start : error.start + 1])} at {error.start} of the line is not UTF-8"
    raise AssertionError("the line is UTF-8")

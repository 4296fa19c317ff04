"""The snapshots of a checkpoint as a file: written durably and in one step, and checked by a checksum."""

import zlib
from collections.abc import Iterable

import pyarrow as pa

from transforms.process import durable


def write_snapshots(path: str, snapshots: Iterable[pa.RecordBatch]) -> int:
    """Writes snapshots to a file, durably and in one step; returns the checksum of the file.

    Raises:
        OSError: if the disk refuses; the file is as it was.
    """
    with durable.replacing(path) as file:
        for snapshot in snapshots:
            with pa.ipc.new_stream(file, snapshot.schema) as writer:
                writer.write_batch(snapshot)
        file.flush()
        return checksum_of(file.name)


def read_snapshots(path: str) -> list[pa.RecordBatch]:
    """What `write_snapshots` wrote."""
    with pa.OSFile(path, "rb") as file:
        snapshots = []
        while file.tell() < file.size():
            with pa.ipc.open_stream(file) as stream:
                snapshots.append(stream.read_next_batch())
                for _ in stream:
                    raise AssertionError("a snapshot is one batch")
        return snapshots


def checksum_of(path: str) -> int:
    """The CRC-32 of a file."""
    checksum = 0
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            checksum = zlib.crc32(piece, checksum)
    return checksum

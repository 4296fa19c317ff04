"""Faults that are planted in the product, each called in a new process first: what the scenarios must find."""

import time
from collections.abc import Iterable
from typing import Any, Final
from unittest import mock

import pyarrow as pa

DELAY_SECONDS: Final = 0.4
"""How long the moment is at which a kill shows a fault."""


def acknowledge_before_commit() -> None:
    """The collector answers what is in no file yet: each chunk is written when the next one comes."""
    from transforms.collection.log import LogWriter

    true_append, true_next_of, true_close = LogWriter.append, LogWriter.next_of, LogWriter.close
    held: list[tuple[Any, ...]] = []

    def write(log: LogWriter) -> None:
        while held:
            parts, received, elapsed, sessions = held.pop()
            true_append(log, parts, received, max(elapsed, log.elapsed), sessions)

    def append(log: LogWriter, parts: Any, received: int, elapsed: int, sessions: Any = None) -> int:
        write(log)
        held.append((parts, received, elapsed, sessions))
        return log.extent.end_position

    def next_of(log: LogWriter, source: str) -> int:
        write(log)
        return true_next_of(log, source)

    def close(log: LogWriter) -> None:
        write(log)
        true_close(log)

    for function in (append, next_of, close):
        mock.patch.object(LogWriter, function.__name__, function).start()


def checkpoint_before_rows() -> None:
    """The job writes a checkpoint, and a while later what should be behind it."""
    from transforms.storage.checkpoint import Checkpoint
    from transforms.storage.live_plan import LivePlan
    from transforms.tick import SNAPSHOT, Tick, label_of

    true_keep = LivePlan.keep

    def keep(plan: LivePlan, tick: Tick, parcels: Iterable[pa.RecordBatch], before: Any, writing: Any) -> Any:
        parcels = list(parcels)
        snapshots = [batch for batch in parcels if label_of(batch)["kind"] == SNAPSHOT]
        plan.checkpoints.keep(Checkpoint(tick.name, tick.chunk, tick.watermark, tick.source, time.time()), snapshots)
        time.sleep(DELAY_SECONDS)
        return true_keep(plan, tick, parcels, before, writing)

    mock.patch.object(LivePlan, "keep", keep).start()


def no_rewind() -> None:
    """The job leaves what it wrote after its last checkpoint, and writes it again."""
    from transforms.storage.checkpoint import Checkpoint, CheckpointFolder, Manifest
    from transforms.storage.live_plan import LivePlan

    true_keep = CheckpointFolder.keep

    def keep(folder: CheckpointFolder, checkpoint: Checkpoint, snapshots: Iterable[pa.RecordBatch]) -> Manifest:
        time.sleep(DELAY_SECONDS)
        return true_keep(folder, checkpoint, snapshots)

    def rewind(plan: LivePlan, name: int) -> None:
        pass

    mock.patch.object(CheckpointFolder, "keep", keep).start()
    mock.patch.object(LivePlan, "rewind", rewind).start()

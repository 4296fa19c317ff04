"""Faults that are planted in the product, each called in a new process first: what the scenarios must find."""

import os
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final
from unittest import mock

import pyarrow as pa

DELAY_SECONDS: Final = 0.4
"""How long the moment is at which a kill shows a fault."""


def acknowledge_before_commit() -> None:
    """The collector answers what is in no file yet: each chunk is written when the next one comes."""
    from transforms.collection.log.writer import LogWriter

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
    """The job writes a checkpoint, and a while later what should be there before it."""
    from transforms.storage.checkpoint.history import Place
    from transforms.storage.checkpoint.manifest import Checkpoint
    from transforms.storage.live.keeper import Keeper
    from transforms.time.tick import SNAPSHOT, Tick, label_of

    true_keep = Keeper.keep

    def keep(keeper: Keeper, tick: Tick, parcels: Iterable[pa.RecordBatch], before: Place) -> Any:
        parcels, folder = list(parcels), keeper._plan.checkpoints
        snapshots = [batch for batch in parcels if label_of(batch)["kind"] == SNAPSHOT]
        manifest = keeper._held(before)
        early = Checkpoint(
            *(tick.name, tick.chunk, tick.watermark, tick.source, time.time()), history=manifest.line[-1].history
        )
        early = folder.put(early, snapshots, manifest.attempt)
        kept = folder.with_checkpoint(manifest.checkpoints, early)
        manifest = folder.commit(manifest, replace(manifest, checkpoints=kept, at=early.place))
        time.sleep(DELAY_SECONDS)
        with mock.patch.object(keeper, "_held", lambda _: manifest):
            return true_keep(keeper, tick, parcels, before)

    mock.patch.object(Keeper, "keep", keep).start()


def no_rewind() -> None:
    """The job shows files before their checkpoint, and a restart takes them for its own and writes them again."""
    from transforms.storage.checkpoint.folder import CheckpointFolder
    from transforms.storage.checkpoint.manifest import Manifest
    from transforms.storage.live.keeper import Keeper
    from transforms.storage.live.plan import LivePlan
    from transforms.storage.parquet import folder as parquet

    true_written, true_settle = Keeper._written, LivePlan.settle

    def written(keeper: Keeper, manifest: Manifest, *what: Any) -> Any:
        files = true_written(keeper, manifest, *what)
        keeper._show(replace(manifest, files=files))
        time.sleep(DELAY_SECONDS)
        return files

    def settle(plan: LivePlan, manifest: Manifest) -> Manifest:
        shown = {
            folder: [name for name in os.listdir(folder) if parquet.is_ours(name)]
            for sink in plan.sinks
            for folder in sink.folders
        }
        checkpoints: CheckpointFolder = plan.checkpoints
        return true_settle(plan, checkpoints.commit(manifest, replace(manifest, files=shown)))

    mock.patch.object(Keeper, "_written", written).start()
    mock.patch.object(LivePlan, "settle", settle).start()

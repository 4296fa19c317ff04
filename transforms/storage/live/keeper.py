"""Keeps the checkpoints of a live job: stores everything that waited; then one write of the manifest makes all of it
count.

The order makes a failure harmless at any point. Files are written next to the live ones, dead letters and the ledger go
into databases by their keys and into topics, and the snapshots into a file of their own. Then the manifest changes, by
compare-and-set; then the folders show what it names. If the manifest does not change, what was written before is not
visible, or is written again.

A keeper that its engine has replaced may continue all the same. It is refused: by the manifest, which names a later
launch or attempt, by the databases, and, if it has never kept a checkpoint, by the time for which it was stopped.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Protocol

import pyarrow as pa

from transforms.errors import TakenOver
from transforms.process.pulse import pulse as pulse_of_process
from transforms.record import ledger
from transforms.storage.checkpoint.expiry import Mark, expiring, with_mark
from transforms.storage.checkpoint.history import NOTHING, Place
from transforms.storage.checkpoint.manifest import Checkpoint, Manifest
from transforms.storage.live.plan import FOREVER, LivePlan
from transforms.storage.records import stamped
from transforms.storage.sink import Stored
from transforms.storage.tables import DEAD_LETTERS, LEDGER, POSITIONS
from transforms.time.retention import moments
from transforms.time.tick import ROWS, SNAPSHOT, Tick, content_of, label_of, parcel
from transforms.time.watermark import END


class Beating(Protocol):
    """What a lease asks of a pulse."""

    def clock(self) -> float:
        """Seconds, which never go back."""

    def stopped(self, since: float) -> float:
        """The longest stop, in s, that ended after `since`; 0 if there was none."""


class Lease:
    """The right to write. It ends if the process was stopped for so long that its engine may have replaced it.

    Args:
        seconds: how long the process may have been stopped; FOREVER: no engine replaces it.
        pulse: the pulse of the process.
    """

    def __init__(self, seconds: float, pulse: Beating | None = None):
        self._seconds = seconds
        self._pulse = pulse if pulse is not None or seconds == FOREVER else pulse_of_process()
        self.begin()

    def begin(self) -> None:
        """Notes that the engine asks for something now."""
        self._began = self._pulse.clock() if self._pulse is not None else 0.0

    def check(self) -> None:
        """Raises TakenOver if the process was stopped for too long since."""
        stopped = self._pulse.stopped(self._began) if self._pulse is not None else 0.0
        if stopped > self._seconds:
            raise TakenOver(f"this process was stopped for {stopped:.0f} s, and its engine may have replaced it")


class Keeper:
    """Keeps checkpoints, in one process.

    Args:
        plan: what is stored, and where.
        lease: the lease of this process.
    """

    def __init__(self, plan: LivePlan, lease: Lease | None = None):
        self._plan = plan
        self._writing = plan.writing()
        self._lease = lease or Lease(plan.lease)
        self._attempt: int | None = None
        self._kept: Place | None = None
        self._carried: list[pa.RecordBatch] = []
        self._expiring: Mapping[str, Mark] = {}

    def begin(self) -> None:
        """Notes that the engine asks for something now."""
        self._lease.begin()

    def turn(self, before: Place) -> None:
        """Prepares the next checkpoint, which follows `before`."""
        self._writing.turn(before)

    def close(self) -> None:
        """Closes the connections to brokers."""
        self._writing.close()

    def keep(self, tick: Tick, parcels: Iterable[pa.RecordBatch], before: Place) -> tuple[Place, list[pa.RecordBatch]]:
        """Stores everything that waited for a checkpoint, and then the checkpoint; it may be repeated.

        Args:
            before: the checkpoint before. This job may have stored more since, failed, and been restored to `before` by
                its engine; then all of that comes again.

        Returns:
            Where the job stands now, and the parcels that belong to the next checkpoint as well.

        Raises:
            TakenOver: if another launch or attempt may write by now.
            StateRefused: if the job has left the place `before`.
            SinkError: if a sink cannot be written.
        """
        plan, folder = self._plan, self._plan.checkpoints
        if self._kept is not None and self._kept.name != tick.name:
            self._kept = None  # this checkpoint has not been tried yet
        manifest = self._held(before)
        if self._kept is not None and self._has_kept(manifest):
            self._follow(manifest)  # the last try failed after the manifest had changed
            return self._kept, self._carried
        waited = self._waited(tick, parcels)
        contents = waited.contents
        book = ledger.merge(contents[LEDGER])
        done, growing = ledger.divide(book) if plan.has_open_range else (book, book.slice(0, 0))
        taken = time.time()
        mark = self._mark(tick, taken, growing)
        expired = self._expired(manifest, mark.time)
        files = self._written(manifest, tick, contents, done, growing, expired)
        contents[LEDGER] = [book] if book.num_rows else []
        plan.store_books(contents, self._number)
        place = Place(tick.name, self._writing.publish(contents), manifest.line[-1].history)
        fresh = ledger.totals(ledger.merge(waited.fresh))
        reasons = Counter(reason for letters in contents[DEAD_LETTERS] for reason in letters["reason"].to_pylist())
        checkpoint = _checkpoint_at(place, tick, taken, _books_of(manifest), fresh, reasons)
        carried = [parcel(growing, ROWS, table=LEDGER, carried=True)] if growing.num_rows else []
        checkpoint = folder.put(checkpoint, [*waited.snapshots, *carried], self._number)
        after = replace(
            manifest,
            identity=folder.identity,
            checkpoints=folder.with_checkpoint(manifest.checkpoints, checkpoint),
            at=place,
            files=files,
            taken_back=False,
            marks=with_mark(manifest.marks, mark, plan.retention, _oldest(manifest)),
            expired={**manifest.expired, **expired},
        )
        self._lease.check()
        manifest = folder.commit(manifest, after)
        self._kept, self._carried, self._expiring = place, carried, expired
        plan.bulletin.account(fresh, reasons)
        plan.bulletin.set(checkpoint=taken)
        self._follow(manifest)
        return place, carried

    def _waited(self, tick: Tick, parcels: Iterable[pa.RecordBatch]) -> "Waited":
        """What waited for a checkpoint, dead letters with when they failed."""
        waited, now = Waited.of(parcels, self._plan.tables), datetime.now(timezone.utc)
        if len(waited.snapshots) != self._plan.snapshots:
            raise AssertionError(
                f"tick {tick.name} has {len(waited.snapshots)} snapshots, must have {self._plan.snapshots}"
            )
        letters = waited.contents[DEAD_LETTERS]
        waited.contents[DEAD_LETTERS] = [stamped(batch, now, self._plan.attempts) for batch in letters]
        return waited

    @property
    def _number(self) -> int:
        assert self._attempt is not None
        return self._attempt

    def _held(self, before: Place) -> Manifest:
        """The manifest of a job that stands at `before`, which this keeper may change."""
        self._lease.check()
        plan, folder = self._plan, self._plan.checkpoints
        manifest = folder.current(plan.launch)
        self._refuse_another(manifest)
        if self._attempt is not None and (manifest.at.is_at(before) or self._has_kept(manifest)):
            return manifest
        self._attempt, self._kept = manifest.attempt + 1, None
        if manifest.at.is_at(before):
            manifest = folder.commit(manifest, replace(manifest, attempt=self._attempt))
            self._show(manifest)
            return manifest
        return plan.roll_back(manifest, before, self._attempt, self._check)

    def _has_kept(self, manifest: Manifest) -> bool:
        return self._kept is not None and manifest.at.is_at(self._kept)

    def _check(self) -> None:
        """Raises TakenOver if another may write by now."""
        self._lease.check()
        self._refuse_another(self._plan.checkpoints.current(self._plan.launch))

    def _refuse_another(self, manifest: Manifest) -> None:
        if self._attempt is not None and manifest.attempt != self._attempt:
            raise TakenOver(f"{self._plan.checkpoints.state}: another attempt of this job has taken it over")

    def _follow(self, manifest: Manifest) -> None:
        """Does what follows the manifest of a checkpoint; it may be repeated. Expired rows are deleted only now."""
        assert self._kept is not None
        self._show(manifest)
        self._plan.expire(self._expiring, self._number)
        self._writing.kept(self._kept)

    def _show(self, manifest: Manifest) -> None:
        self._plan.show(manifest, self._number, self._check)

    def _written(
        self,
        manifest: Manifest,
        tick: Tick,
        contents: Mapping[str, Sequence[pa.RecordBatch]],
        done: pa.RecordBatch,
        growing: pa.RecordBatch,
        expired: Mapping[str, Mark],
    ) -> dict[str, Sequence[str]]:
        """Writes new files next to the live ones; returns the live files of this checkpoint, without expired rows."""
        stored = Stored(
            *(tick.name, self._number),
            contents={**contents, LEDGER: [done]},
            growing=growing if self._plan.has_open_range else None,
            expired={table: mark.name for table, mark in expired.items()},
        )
        files = dict(manifest.files)
        for sink in self._plan.sinks:
            files |= sink.checkpointed(manifest.files, stored)
        return files

    def _mark(self, tick: Tick, taken: float, growing: pa.RecordBatch) -> Mark:
        """The place of a tick as a mark."""
        (moment,) = moments([{"taken": taken, "source": tick.source}])
        rows = zip(growing["source"].to_pylist(), growing["first_position"].to_pylist(), strict=True)
        return Mark(tick.name, moment, tick.watermark, self._plan.reached(tick.source), dict(rows))

    def _expired(self, manifest: Manifest, now: float) -> dict[str, Mark]:
        """For each table with rows that expire now, the mark up to which they do."""
        stays = self._plan.retention
        if _books_of(manifest) is None:  # their sums are known only from their rows
            stays = {table: seconds for table, seconds in stays.items() if table not in POSITIONS}
        return expiring(manifest.marks, stays, manifest.expired, now, _oldest(manifest))


def _checkpoint_at(
    place: Place,
    tick: Tick,
    taken: float,
    books: tuple[Mapping[str, int], Counter[str]] | None,
    fresh: Mapping[str, int],
    reasons: Counter[str],
) -> Checkpoint:
    """The checkpoint of a tick.

    Args:
        books: the totals up to the checkpoint before; None: unknown.
        fresh: what the ledger counts since then.
        reasons: the dead letters since then.
    """
    return Checkpoint(
        *(tick.name, tick.chunk, tick.watermark, tick.source, taken, tick.watermark == END, place.topics),
        history=place.history,
        totals={name: books[0].get(name, 0) + count for name, count in fresh.items()} if books else None,
        reasons=dict(books[1] + reasons) if books else {},
    )


def _oldest(manifest: Manifest) -> int:
    """The name of the oldest checkpoint that is kept."""
    return manifest.checkpoints[0].name if manifest.checkpoints else NOTHING


def _books_of(manifest: Manifest) -> tuple[Mapping[str, int], Counter[str]] | None:
    """The totals at a job's place: of the ledger, and of dead letters by reason; None: unknown."""
    if manifest.at.name == NOTHING:
        return {}, Counter()
    newest = manifest.checkpoints[-1] if manifest.checkpoints else None
    if newest is None or newest.totals is None or not newest.place.is_at(manifest.at):
        return None
    return newest.totals, Counter(newest.reasons)


@dataclass(frozen=True)
class Waited:
    """What waited for a checkpoint: snapshots, rows by table, and the ledger rows that no earlier checkpoint had."""

    snapshots: list[pa.RecordBatch]
    contents: dict[str, list[pa.RecordBatch]]
    fresh: list[pa.RecordBatch]

    @staticmethod
    def of(parcels: Iterable[pa.RecordBatch], tables: Iterable[str]) -> "Waited":
        """Sorts parcels."""
        waited = Waited([], {name: [] for name in tables}, [])
        for batch in parcels:
            label = label_of(batch)
            if label["kind"] == SNAPSHOT:
                waited.snapshots.append(batch)
                continue
            content = content_of(batch)
            waited.contents[label["table"]].append(content)
            if label["table"] == LEDGER and not label.get("carried"):
                waited.fresh.append(content)
        return waited

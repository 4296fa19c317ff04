"""What a live job stores, free of Beam, and how its tables are rolled back to a place.

Some sinks store rows of closing windows the moment they are known: upserts by the table's key, so that doing it again
after a restart changes nothing. Dead letters, the ledger, and everything of other sinks wait for the next checkpoint
(`transforms.storage.live.keeper`). A job that resumes makes again what came after its last checkpoint.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pyarrow as pa

from transforms.errors import StateRefused
from transforms.process.progress import Bulletin
from transforms.specification import Micros, Seconds
from transforms.storage.checkpoint.expiry import Mark
from transforms.storage.checkpoint.folder import BEGIN_ANEW, CheckpointFolder
from transforms.storage.checkpoint.history import Line, Place, holds, left_at, parting
from transforms.storage.checkpoint.manifest import Checkpoint, Manifest
from transforms.storage.live import positions
from transforms.storage.live.positions import Writing
from transforms.storage.sink import Fence, Files, Known, Showing, Sink, Stored
from transforms.storage.tables import LEDGER, POSITIONS, Table

FOREVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long (µs) the windows of a table wait for late records, and how long they are at most (None: no bound)."""

    lateness: Micros
    longest: Micros | None


def nothing_read(source: Mapping[str, Any]) -> Mapping[str, int]:
    """For a plan without a source: nothing was read."""
    return {}


def reached_in(mark: Mark, table: str) -> Mapping[str, int]:
    """For each source, the first position that a table of records did not hold at a mark."""
    return mark.booked if table == LEDGER else mark.reached


@dataclass(frozen=True)
class LivePlan:
    """What a live job stores, and where.

    Args:
        tables: every output table by name.
        checkpoints: the folder of the job's checkpoints.
        snapshots: how many snapshots a complete checkpoint has.
        attempts: how often records were replayed before, by source and position.
        start: the place where the job begins.
        launch: the id of this launch, checked before every write.
        number: the launch's number; a later launch has a greater number.
        owner: the state that owns the tables.
        has_open_range: whether the last ledger row of a source may still grow: its range was not read to its end.
        lateness_is_fixed: whether a second reading judges each record by the same watermark.
        waiting: how long the windows of each table wait and are.
        reached: takes a checkpoint's `source`; returns, for each source in the ledger, the first position not read.
        lease: seconds for which a writer may have been stopped and still write: less than its engine takes to replace
            it.
        retention: how long (s) the rows of a table stay; in other tables they stay for ever.
        bulletin: where the run shows its progress.
    """

    tables: Mapping[str, Table]
    sinks: Sequence[Sink]
    checkpoints: CheckpointFolder
    snapshots: int
    attempts: Mapping[tuple[str, int], int] = field(default_factory=dict)
    start: Place = field(default_factory=Place)
    launch: str = ""
    number: int = 0
    owner: str = ""
    has_open_range: bool = False
    lateness_is_fixed: bool = True
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    reached: Callable[[Mapping[str, Any]], Mapping[str, int]] = nothing_read
    lease: float = FOREVER
    retention: Mapping[str, Seconds] = field(default_factory=dict)
    bulletin: Bulletin = field(default_factory=Bulletin)

    def claimed(self, launch: str, *, anew: bool = False) -> tuple["LivePlan", Manifest]:
        """The plan after it has taken the state over from any other launch, such as one left on a lost machine."""
        manifest = self.checkpoints.claim(launch, anew=anew)
        return replace(self, launch=launch, number=manifest.attempt, owner=manifest.owner), manifest

    def refuse_full(self, manifest: Manifest | None) -> None:
        """Raises StateRefused if tables hold rows that a start from nothing would delete.

        Args:
            manifest: the state's manifest; tables that this state began itself are allowed.
        """
        owner = manifest.owner if manifest is not None else None
        held = [place for sink in self.sinks for place in sink.full(owner)]
        if held:
            raise StateRefused(
                f"{self.checkpoints.state} holds no checkpoint, and tables of this job hold rows ({held[0]}), which a"
                " start from nothing would delete. If they are another job's, give this one another path, database or"
                f" `schema`; if they are its own, restore its `state`, or let `{BEGIN_ANEW}` empty the tables"
            )

    def begin(self, manifest: Manifest) -> Place:
        """Empties every table, since a job that begins from nothing has no rows yet; returns where it begins."""
        began = Manifest.new(self.checkpoints.identity)
        place = replace(began.at, topics=self.positions())
        new = replace(
            began,
            owner=manifest.owner,
            at=place,
            launch=manifest.launch,
            attempt=manifest.attempt,
            files={folder: [] for sink in self.sinks for folder in sink.folders},
            databases=self._identities,
            number=manifest.number,
            newest_number=manifest.newest_number,
        )
        self.show(self.checkpoints.commit(manifest, new), manifest.attempt)
        for sink in self.sinks:
            sink.take(self._taking(begins=True), empty=True)
        return place

    def positions(self) -> positions.Positions:
        """Where the sinks that store in transactions end before the job begins."""
        return positions.begin(self.sinks, self.checkpoints.state)

    def settle(self, manifest: Manifest) -> Manifest:
        """Takes the tables, makes folders show the live files, and begins the tables of new sinks."""
        files = self.adopted(manifest)
        is_known = any(folder in manifest.files for folder in files)
        for sink in self.sinks:
            # Format 2 recorded neither; in later formats, a sink without a record is new.
            is_new = self._is_new(sink, manifest) and (manifest.files or manifest.databases)
            if is_new and (held := sink.full(None if is_known else manifest.owner)):
                raise StateRefused(f"{held[0]}, a table of a new sink, holds rows; give the job another database")
        if files != manifest.files:
            manifest = self.checkpoints.commit(manifest, replace(manifest, files=files))
        self.show(manifest, manifest.attempt)
        for sink in self.sinks:
            sink.take(self._taking(begins=self._is_new(sink, manifest)), empty=False)
        if self._identities != list(manifest.databases):
            manifest = self.checkpoints.commit(manifest, replace(manifest, databases=self._identities))
        return manifest

    @property
    def _identities(self) -> list[str]:
        return sorted(sink.identity for sink in self.sinks if sink.identity is not None)

    def _is_new(self, sink: Sink, manifest: Manifest) -> bool:
        return sink.identity is not None and sink.identity not in manifest.databases

    def adopted(self, manifest: Manifest) -> Files:
        """The live files of the folders that the job has now.

        Raises:
            StateRefused: if a folder that is new holds rows.
        """
        folders = {folder for sink in self.sinks for folder in sink.folders}
        left = {folder: names for folder, names in manifest.files.items() if folder not in folders}
        has_moved = len(left) == len(manifest.files)
        return _together(sink.adopted(manifest, left if has_moved else {}) for sink in self.sinks)

    def roll_back(
        self,
        manifest: Manifest,
        place: Place,
        attempt: int,
        check: Callable[[], None] | None = None,
        *,
        ahead: bool = False,
    ) -> Manifest:
        """Rolls checkpoints and files back to a place on the job's line; a new history begins there.

        Args:
            ahead: whether the place may be one that the job has not reached.

        Raises:
            StateRefused: if the place is not on the line.
        """
        is_ahead = place.history == manifest.line[-1].history and place.name > manifest.at.name
        if not holds(manifest.line, place) or (is_ahead and not ahead):
            raise StateRefused(
                f"{self.checkpoints.state}: the checkpoint {place.name} of history {place.history or 'first'} was"
                " abandoned: the job was rolled back past it, and is in another history now"
            )
        kept = [entry for entry in manifest.checkpoints if entry.name <= place.name]
        files = _together(sink.rolled_back(manifest.files, place.name, attempt) for sink in self.sinks)
        after = replace(
            manifest,
            attempt=attempt,
            line=left_at(manifest.line, place),
            at=place,
            checkpoints=kept,
            taken_back=not kept,
            files={**manifest.files, **files},
            marks=[mark for mark in manifest.marks if mark.name <= place.name],
        )
        after = self.checkpoints.commit(manifest, after)
        self.show(after, attempt, check)
        return after

    def switch(self, manifest: Manifest, line: Line) -> Manifest:
        """Switches to a line that the job has left; files are rolled back to where the lines parted.

        What the line switched to stored in files after that place is gone.
        """
        place = parting(manifest.line, line)
        manifest = self.roll_back(manifest, place, manifest.attempt) if place is not None else manifest
        return self.checkpoints.commit(manifest, replace(manifest, line=line))

    def replaced(
        self,
        manifest: Manifest,
        newest: Checkpoint,
        snapshots: Sequence[pa.RecordBatch] | None,
        files: Files,
        totals: Mapping[str, int] | None,
        reasons: Mapping[str, int],
        *,
        expired: Mapping[str, Mark],
    ) -> None:
        """Records that the tables were made again up to the newest checkpoint, the only place to resume from now.

        Args:
            snapshots: the snapshots of the checkpoint, made again; None: the stored ones stay.
            files: the live files of each folder.
            totals: the sums of the ledger's columns.
            reasons: how many dead letters there are, by reason.
            expired: for each table whose rows expired, the mark up to which they did.
        """
        began = Manifest.new(manifest.identity)
        checkpoint = replace(newest, history=began.at.history, totals=totals, reasons=reasons)
        if snapshots is not None:
            checkpoint = self.checkpoints.put(checkpoint, snapshots, manifest.attempt)
        after = replace(
            manifest,
            checkpoints=[checkpoint],
            line=began.line,
            at=checkpoint.place,
            files=files,
            since={},
            taken_back=False,
            marks=(),
            expired=expired,
        )
        self.show(self.checkpoints.commit(manifest, after), manifest.attempt)

    def roll_back_rows(self, watermark: int, reached: Mapping[str, int]) -> None:
        """Deletes by key the rows that were stored after a place.

        Args:
            watermark: the event time (µs) that had passed at the place.
            reached: for each source, the position of the first record that had not been read there.
        """
        for sink in self.sinks:
            if sink.stores_at_once:
                known = {table: self._known(table, watermark, reached) for table in sink.tables}
                sink.roll_back(known, self.fence())

    def expire(self, expired: Mapping[str, Mark], attempt: int) -> None:
        """Deletes by key the rows that tables had stored up to marks."""
        for sink in self.sinks:
            marks = {table: expired[table] for table in sink.tables if table in expired}
            if sink.stores_at_once and marks:
                known = {
                    table: self._known(table, mark.watermark, reached_in(mark, table)) for table, mark in marks.items()
                }
                sink.expire(known, self.fence(attempt))

    def _known(self, table: str, watermark: int, reached: Mapping[str, int]) -> Known:
        """The rows of a table that were known at a place."""
        if table in POSITIONS:
            return Known(position=POSITIONS[table], reached=reached)
        waits = self.waiting[table]
        return Known(watermark, waits.lateness, waits.longest)

    def last_closed(self) -> int | None:
        """The event time (µs) that the closed windows stored at once prove to have passed; None: none closed."""
        ends = [sink.last_closed([table]) for sink in self.sinks for table in sink.tables if table in self.waiting]
        lateness = max((waits.lateness for waits in self.waiting.values()), default=0)
        return max((end + lateness for end in ends if end is not None), default=None)

    def show(self, manifest: Manifest, attempt: int, check: Callable[[], None] | None = None) -> None:
        """Makes the folders of sinks show the files that the manifest names.

        Args:
            check: raises an error if another writer has taken over; by default, if another launch has.
        """
        for sink in self.sinks:
            sink.show(manifest.files, self.showing(manifest, attempt, check))

    def showing(self, manifest: Manifest, attempt: int, check: Callable[[], None] | None = None) -> Showing:
        """The identity of the writer that changes folders."""
        return Showing(manifest.owner, attempt, check or self.check)

    def check(self) -> None:
        """Raises TakenOver if another launch has taken over."""
        self.checkpoints.current(self.launch)

    def fence(self, attempt: int | None = None) -> Fence:
        """The identity of the writer of tables by key."""
        return Fence(self.owner, self.number, attempt)

    def _taking(self, *, begins: bool) -> Fence:
        return Fence(self.owner, self.number, self.number, takes=True, begins=begins)

    def writing(self) -> Writing:
        """The transactions of this process."""
        return Writing(self.sinks)

    def widen(self) -> None:
        """Adds to tables the columns of figures that joined the running job."""
        for sink in self.sinks:
            if sink.stores_at_once:
                sink.store({table: [] for table in sink.tables}, self.fence())

    def store_rows(self, table: str, rows: pa.RecordBatch) -> None:
        """Upserts rows of a table into the sinks that store them at once."""
        for sink in self.sinks:
            if sink.stores_at_once and table in sink.tables:
                sink.store({table: [rows]}, self.fence())
        self.bulletin.show(table, rows)

    def retract(self, table: str, windows: pa.RecordBatch) -> None:
        """Deletes the provisional rows of a table whose place windows have taken."""
        for sink in self.sinks:
            if sink.stores_at_once and table in sink.tables:
                sink.retract({table: [windows]}, self.fence())
        self.bulletin.retract(table, windows)

    def store_books(self, contents: Mapping[str, Sequence[pa.RecordBatch]], attempt: int) -> None:
        """Upserts dead letters and the ledger into the sinks that store rows at once."""
        for sink in self.sinks:
            books = {table: contents[table] for table in POSITIONS if table in sink.tables and contents[table]}
            if sink.stores_at_once and books:
                sink.store(books, self.fence(attempt))

    def restore_tables(self, sink: Sink, rows: Mapping[str, pa.Table], stored: Stored) -> Files:
        """Makes tables again in a sink that has lost them."""
        return sink.restored(rows, stored, self._taking(begins=True))


def _together(files: Iterable[Files]) -> dict[str, Sequence[str]]:
    return {folder: names for each in files for folder, names in each.items()}

"""What a live job stores, free of Beam, and how its tables go back to a place.

Rows of closing windows go into databases the moment they are known: upserts by the table's key, so that doing it
again after a restart changes nothing. Dead letters, the ledger and Parquet files wait for the next checkpoint
(`transforms.storage.live.keeper`). What came after the last checkpoint is made again by whoever goes on from it.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import pyarrow as pa

from transforms.errors import StateRefused
from transforms.process.progress import BULLETIN
from transforms.storage import sql
from transforms.storage.checkpoint.expiry import Mark
from transforms.storage.checkpoint.folder import BEGIN_ANEW, CheckpointFolder
from transforms.storage.checkpoint.history import Line, Place, holds, left_at, parting
from transforms.storage.checkpoint.manifest import Checkpoint, Manifest
from transforms.storage.kafka import topics
from transforms.storage.kafka.topics import Topics, TopicSink
from transforms.storage.parquet import growing as parquet_log
from transforms.storage.parquet.adoption import files_in, has_rows_of_others, moved_from
from transforms.storage.publish import LEDGER, POSITIONS, Target, by_url, sql_table
from transforms.storage.staging import Table

FOREVER: Final = float("inf")

Files: TypeAlias = Mapping[str, Sequence[str]]
"""The live files of each Parquet folder."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Of a table of windows: how long (µs) they wait for late records, and how long they are at most."""

    lateness: int
    longest: int


def nothing_read(source: Mapping[str, Any]) -> Mapping[str, int]:
    """That no source was read."""
    return {}


def reached_in(mark: Mark, table: str) -> Mapping[str, int]:
    """Of each source, the first position that a table of records did not have at a mark."""
    return mark.booked if table == LEDGER else mark.reached


@dataclass(frozen=True)
class LivePlan:
    """What a live job stores, and where.

    Args:
        job: the name that owns the folders.
        tables: every output table by name.
        checkpoints: where the job keeps what it goes on from.
        snapshots: how many a whole checkpoint has.
        attempts: how often records were replayed before, by source and position.
        start: where it begins.
        topics: those that it fills.
        launch: which launch of the job it is.
        number: the launch's number; a later one has a greater number.
        owner: the state that the tables are of.
        grows: whether the last ledger row of a source may still grow, because its range was not read to its end.
        waiting: of each table of windows.
        reached: of a checkpoint's source, the first position of each source in the ledger that was not read.
        lease: s that a writer may have been stopped and still write: less than its engine takes to replace it.
        retention: of tables, how long (s) their rows stay; those of others stay for ever.
    """

    job: str
    tables: Mapping[str, Table]
    targets: Sequence[Target]
    checkpoints: CheckpointFolder
    snapshots: int
    attempts: Mapping[tuple[str, int], int] = field(default_factory=dict)
    start: Place = field(default_factory=Place)
    topics: Sequence[TopicSink] = ()
    launch: str = ""
    number: int = 0
    owner: str = ""
    grows: bool = False
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    reached: Callable[[Mapping[str, Any]], Mapping[str, int]] = nothing_read
    lease: float = FOREVER
    retention: Mapping[str, float] = field(default_factory=dict)

    @property
    def folders(self) -> list[Target]:
        """The tables that lie in Parquet folders."""
        return [target for target in self.targets if target.folder is not None]

    def claimed(self, launch: str, *, anew: bool = False) -> tuple["LivePlan", Manifest]:
        """The plan as one that takes the state over from any other, which may be left over on a lost machine."""
        manifest = self.checkpoints.claim(launch, anew=anew)
        return replace(self, launch=launch, number=manifest.attempt, owner=manifest.owner), manifest

    def refuse_full(self, manifest: Manifest | None) -> None:
        """Raises StateRefused if tables hold rows that a start from nothing would take away.

        Args:
            manifest: what the state holds; tables that it began itself are not in question.
        """
        owner = manifest.owner if manifest is not None else None
        held = [f"{target.folder}" for target in self.folders if has_rows_of_others(str(target.folder), owner)]
        for url, names in by_url(self.targets).items():
            held += sql.full(url, [sql_table(self.tables[name]) for name in names], owner)
        if held:
            raise StateRefused(
                f"{self.checkpoints.state} holds no checkpoint, and tables of this job hold rows ({held[0]}), which a"
                " start from nothing would take away. Are they another job's? Give this one another path, database or"
                f" `schema`. Are they its own? Restore its `state`, or let `{BEGIN_ANEW}` empty the tables"
            )

    def begin(self, manifest: Manifest) -> Place:
        """Empties every table: a job that goes on from nothing has no rows yet. Gives where it begins."""
        urls = by_url(self.targets)
        files: Files = {str(target.folder): [] for target in self.folders}
        began = Manifest.new(self.checkpoints.identity)
        place = replace(began.at, topics=topics.begin(self.topics, self.tables, self.job, self.checkpoints.state))
        new = replace(
            began,
            owner=manifest.owner,
            at=place,
            launch=manifest.launch,
            attempt=manifest.attempt,
            files=files,
            databases=sorted(map(digest_of, urls)),
            number=manifest.number,
            newest_number=manifest.newest_number,
        )
        self.show(self.checkpoints.commit(manifest, new), manifest.attempt)
        for url, names in urls.items():
            fence = self._taking(begins=True)
            sql.publish(url, {sql_table(self.tables[name]): [] for name in names}, replace=True, fence=fence)
        return place

    def settle(self, manifest: Manifest) -> Manifest:
        """Takes the tables, makes folders show what is live, and begins those of sinks that are new."""
        files, urls = self.adopted(manifest), by_url(self.targets)
        is_known = any(folder in manifest.files for folder in files)
        for url in urls:
            # What wrote format 2 wrote down neither; later, what is not written down is a sink that is new.
            if digest_of(url) not in manifest.databases and (manifest.files or manifest.databases):
                owner = None if is_known else manifest.owner
                if held := sql.full(url, [sql_table(self.tables[name]) for name in urls[url]], owner):
                    raise StateRefused(
                        f"{held[0]}, a table of a sink that is new, holds rows; give the job another database"
                    )
        if files != manifest.files:
            manifest = self.checkpoints.commit(manifest, replace(manifest, files=files))
        self.show(manifest, manifest.attempt)
        for url, names in urls.items():
            fence = self._taking(begins=digest_of(url) not in manifest.databases)
            sql.publish(url, {sql_table(self.tables[name]): [] for name in names}, replace=False, fence=fence)
        databases = sorted(map(digest_of, urls))
        if databases != list(manifest.databases):
            manifest = self.checkpoints.commit(manifest, replace(manifest, databases=databases))
        return manifest

    def adopted(self, manifest: Manifest) -> Files:
        """The live files of the folders that the job has now.

        Raises:
            StateRefused: if a folder that is new holds rows.
        """
        folders = [str(target.folder) for target in self.folders]
        left = {folder: names for folder, names in manifest.files.items() if folder not in folders}
        has_moved = bool(manifest.files) and len(left) == len(manifest.files)
        files: dict[str, Sequence[str]] = {}
        for folder in folders:
            if folder in manifest.files:
                files[folder] = manifest.files[folder]
            elif has_moved and (before := moved_from(folder, left)) is not None:
                files[folder] = left[before]
            else:
                files[folder] = files_in(folder, self.job, manifest)
        return files

    def take_back(
        self,
        manifest: Manifest,
        place: Place,
        attempt: int,
        check: Callable[[], None] | None = None,
        *,
        ahead: bool = False,
    ) -> Manifest:
        """Takes checkpoints and files back to a place on the job's line; a new history begins there.

        Args:
            ahead: whether the place may be one that the job has not come to.

        Raises:
            StateRefused: if the place is not on the line.
        """
        is_ahead = place.history == manifest.line[-1].history and place.name > manifest.at.name
        if not holds(manifest.line, place) or (is_ahead and not ahead):
            raise StateRefused(
                f"{self.checkpoints.state}: the checkpoint {place.name} of history {place.history or 'first'} was"
                " abandoned: the job was taken back to before it, and is in another history now"
            )
        kept = [entry for entry in manifest.checkpoints if entry.name <= place.name]
        files = {
            folder: parquet_log.rewound(folder, names, place.name, attempt) for folder, names in manifest.files.items()
        }
        after = replace(
            manifest,
            attempt=attempt,
            line=left_at(manifest.line, place),
            at=place,
            checkpoints=kept,
            taken_back=not kept,
            files=files,
            marks=[mark for mark in manifest.marks if mark.name <= place.name],
        )
        after = self.checkpoints.commit(manifest, after)
        self.show(after, attempt, check)
        return after

    def switch(self, manifest: Manifest, line: Line) -> Manifest:
        """Goes over to a line that the job has left, as far as files still can: back to where the lines parted.

        What the other line stored in files after that place is gone.
        """
        place = parting(manifest.line, line)
        manifest = self.take_back(manifest, place, manifest.attempt) if place is not None else manifest
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
        """The tables were made again up to the newest checkpoint; nothing can go on from any other place any more.

        Args:
            snapshots: the checkpoint's, made again; None: nothing goes on from it, and they stay.
            files: the live files of each folder.
            totals: the sums of the ledger's columns.
            reasons: how many dead letters there are, by reason.
            expired: of each table whose rows are gone, up to where.
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

    def take_out(self, watermark: int, reached: Mapping[str, int]) -> None:
        """Takes out of databases what was stored after a place.

        Args:
            watermark: up to where event time had passed there (µs).
            reached: of each source, the position of the first record that was not read there.
        """
        for url, names in by_url(self.targets).items():
            known = {sql_table(self.tables[name]): self._known(name, watermark, reached) for name in names}
            sql.take_back(url, known, self.fence())

    def expire(self, expired: Mapping[str, Mark], attempt: int) -> None:
        """Takes out of databases what tables had stored up to marks."""
        targets = (target for target in self.targets if target.table in expired)
        for url, names in by_url(targets).items():
            known = {}
            for name in names:
                mark = expired[name]
                known[sql_table(self.tables[name])] = self._known(name, mark.watermark, reached_in(mark, name))
            sql.expire(url, known, self.fence(attempt))

    def _known(self, table: str, watermark: int, reached: Mapping[str, int]) -> sql.Known:
        """The rows of a table that a place knows."""
        if table in POSITIONS:
            return sql.Known(position=POSITIONS[table], reached=reached)
        waits = self.waiting[table]
        return sql.Known(watermark, waits.lateness, waits.longest)

    def last_closed(self) -> int | None:
        """Up to where event time had passed (µs) by what databases hold of closed windows; None: none closed."""
        ends = [
            sql.last_closed(url, [sql_table(self.tables[name])])
            for url, names in by_url(self.targets).items()
            for name in names
            if name in self.waiting
        ]
        lateness = max((waits.lateness for waits in self.waiting.values()), default=0)
        return max((end + lateness for end in ends if end is not None), default=None)

    def show(self, manifest: Manifest, attempt: int, check: Callable[[], None] | None = None) -> None:
        """Makes the Parquet folders show what the manifest names.

        Args:
            check: raises an error if another may write by now; by default, if another launch may.
        """
        for target in self.folders:
            if str(target.folder) in manifest.files:  # else it is that of a new sink, which begins with a launch
                self.show_folder(manifest, str(target.folder), attempt, check)

    def show_folder(
        self, manifest: Manifest, folder: str, attempt: int, check: Callable[[], None] | None = None
    ) -> None:
        """Makes one Parquet folder show what the manifest names."""
        parquet_log.Showing(self.job, manifest.owner, attempt, check or self.check).show(folder, manifest.files[folder])

    def check(self) -> None:
        """Raises TakenOver if another launch may write by now."""
        self.checkpoints.current(self.launch)

    def fence(self, attempt: int | None = None) -> sql.Fence:
        """Who writes databases."""
        return sql.Fence(self.owner, self.number, attempt)

    def _taking(self, *, begins: bool) -> sql.Fence:
        return sql.Fence(self.owner, self.number, self.number, takes=True, begins=begins)

    def writing(self) -> Topics:
        """The topics as this process writes them."""
        return Topics(self.topics, self.tables, self.job)

    def widen(self) -> None:
        """Adds the columns to tables of databases that the job was given while it ran."""
        for url, names in by_url(self.targets).items():
            sql.publish(url, {sql_table(self.tables[name]): [] for name in names}, replace=False, fence=self.fence())

    def store_rows(self, table: str, rows: pa.RecordBatch) -> None:
        """Upserts rows of a table into the databases that hold it."""
        for url in by_url(target for target in self.targets if target.table == table):
            sql.publish(url, {sql_table(self.tables[table]): [rows]}, replace=False, fence=self.fence())
        BULLETIN.show(table, rows)


def digest_of(url: str) -> str:
    """What names a database without its secrets."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]

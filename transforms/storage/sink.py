"""A sink: one place where a job stores tables, and everything that a job asks of it.

```
job file        of, resolved, paths, mistakes, misfits, uses, writes_over, places
any run         check
bounded run     prepare -> publish -> finish, or discard
live job        full -> take -> store, retract and checkpointed, again and again -> show
                rolled_back, roll_back and transactions: back to an older checkpoint
                expire: rows that have been there for long
                adopted, restored, continued: folders that moved, tables that were lost or made again
reading back    read, whole
```

A sink implements what concerns it; every other method has a default that does nothing. A sink chooses one of three
ways to make a checkpoint and its rows count together:

- it writes files next to the live ones, and the manifest names them (`checkpointed`, `show`);
- it stores rows by their key at once, and deletes what came after a checkpoint (`store`, `roll_back`);
- it stores the rows of a checkpoint in one transaction, whose position the checkpoint holds (`transactions`).

The kinds of sinks are registered in `transforms.storage.sinks`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeAlias

import pyarrow as pa

from transforms.location import NamedPath
from transforms.specification import Micros, Spec
from transforms.storage.checkpoint.manifest import Manifest
from transforms.storage.staging import Receipt
from transforms.storage.tables import Table

Files: TypeAlias = Mapping[str, Sequence[str]]
"""The live files of each folder, as the manifest holds them."""

Staged: TypeAlias = Mapping[str, Sequence[Receipt]]
"""The staged files of each table of a bounded run."""

Position: TypeAlias = Mapping[str, Any]
"""How far a sink is; a checkpoint keeps it."""


@dataclass(frozen=True, slots=True)
class Use:
    """A place that a sink writes to, so that nothing else is put there.

    Args:
        place: its name in messages, without secrets.
        where: values that are equal for two names of the same place; the sink writes to all of them.
        table: the table at the place; empty: the sink as a whole.
        field: the field within the sink that names it.
    """

    place: str
    where: frozenset[Hashable]
    table: str = ""
    field: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fence:
    """The identity of a writer of a live job's tables.

    Args:
        owner: the state that owns the tables.
        launch: the number of the launch; a later launch has a greater number.
        attempt: the number of this process among those of the launch that keep checkpoints; None: it keeps none.
        takes: whether the launch takes the tables over now.
        begins: whether to begin tables that are missing or belong to another job.
    """

    owner: str
    launch: int
    attempt: int | None = None
    takes: bool = False
    begins: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """The rows of a table that were known at a place: windows that had closed there, and records read before it.

    Args:
        watermark: for windows, the event time (µs) that had passed at the place.
        lateness: how long (µs) windows wait for late records.
        longest: how long (µs) windows are at most; None: there is no bound.
        position: for records, the column with their positions; empty: the table holds windows.
        reached: for records, the position of the first one of each source that had not been read.
    """

    watermark: int = 0
    lateness: Micros = Micros(0)
    longest: Micros | None = Micros(0)
    position: str = ""
    reached: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a checkpoint stores.

    Args:
        tick: the checkpoint's name.
        attempt: identifies the writer among those of the job.
        contents: the rows of each table.
        growing: ledger rows that may still grow, and replace the growing rows before; None: ledger rows never grow.
        expired: for each table with rows that expire, the tick up to which they do.
    """

    tick: int
    attempt: int
    contents: Mapping[str, Sequence[pa.RecordBatch]]
    growing: pa.RecordBatch | None = None
    expired: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Showing:
    """The identity of a writer that changes what folders show.

    Args:
        owner: the state that owns the tables.
        attempt: identifies the writer among those of the job.
        check: raises an error if another writer has taken over.
    """

    owner: str
    attempt: int
    check: Callable[[], None] = lambda: None


class Transactions(Protocol):
    """The transactions of one sink, in one process."""

    def open(self, position: Position | None) -> Position:
        """Takes the sink over from any other process, and looks up what was stored after `position`.

        Args:
            position: the position in the checkpoint to resume from; None: what the sink holds is not this job's.
        """

    def publish(self, contents: Mapping[str, Iterable[pa.RecordBatch]]) -> Position:
        """Stores the final rows of a checkpoint in one transaction; in a repetition, each row still counts once."""

    def close(self) -> None:
        """Closes what is open."""


@dataclass(frozen=True, kw_only=True)
class Sink(ABC):
    """One sink of a job, with the tables that it holds.

    All failures are SinkErrors; a method that fails has changed nothing, or may be called again.

    Args:
        job: the name that owns the tables.
        tables: the tables that it holds, by name.
    """

    job: str
    tables: Mapping[str, Table]

    kind: ClassVar[str]
    """Its name in the job file."""
    spec: ClassVar[type[Spec]]
    """Its entry in the job file: a mapping of `kind` to its options."""
    journal: ClassVar[str] = ""
    """The field of a publication's record that keeps the result of `prepare`; empty: it prepares nothing."""
    reads_back: ClassVar[bool] = True
    """Whether its tables can be read: reports, `verify` and `replay` need a sink that can."""
    repeats: ClassVar[bool] = True
    """Whether publishing a run again changes nothing; other sinks publish last."""
    stores_at_once: ClassVar[bool] = False
    """Whether it stores the rows of windows before their checkpoint, by `store`."""
    stores_checkpoints: ClassVar[bool] = True
    """Whether rows of windows wait for their checkpoint, by `checkpointed` or `transactions`."""
    has_position: ClassVar[bool] = False
    """Whether it stores in transactions, whose position a checkpoint holds."""

    # What the job file says.

    @classmethod
    @abstractmethod
    def of(cls, spec: Any, job: str, tables: Mapping[str, Table]) -> "Sink":
        """The sink that a job file describes."""

    @classmethod
    def resolved(cls, spec: Any, folder: str) -> Any:
        """The specification with paths relative to `folder` made absolute."""
        return spec

    @classmethod
    def paths(cls, spec: Any) -> Iterator[NamedPath]:
        """Every path and URL of files in the specification."""
        return iter(())

    @classmethod
    def mistakes(cls, spec: Any) -> Iterator[tuple[tuple[str, ...], str]]:
        """What is wrong with the specification, as far as its text shows: the field within the sink, and a sentence."""
        return iter(())

    def misfits(self) -> Iterator[tuple[str, str]]:
        """The tables that it cannot hold, and why."""
        return iter(())

    @abstractmethod
    def uses(self) -> Iterator[Use]:
        """The places that it writes to."""

    def writes_over(self, path: str) -> str | None:
        """Why the sink would write over a local file that the job reads, as `lies in …`; None: it would not."""
        return None

    @abstractmethod
    def places(self) -> list[str]:
        """Where its tables are, in words without secrets."""

    # Any run.

    @abstractmethod
    def check(self) -> None:
        """Returns if it can be reached and written to; changes nothing.

        Raises:
            SinkError: if it cannot, or if it holds tables that are not this job's.
        """

    # A bounded run: whole or not at all.

    def prepare(self, staged: Staged, run: str) -> list[Mapping[str, Any]]:
        """Does everything that may fail and changes no table; returns what `finish` needs, for the journal."""
        return []

    def publish(self, staged: Staged) -> None:
        """Replaces the tables in one transaction, once every sink has prepared."""

    @classmethod
    def finish(cls, prepared: Sequence[Mapping[str, Any]]) -> None:
        """Makes what was prepared the live tables; may be repeated after a crash at any point."""

    @classmethod
    def discard(cls, prepared: Sequence[Mapping[str, Any]]) -> None:
        """Removes what was prepared and will not be published."""

    # A live job: its launch.

    def full(self, owner: str | None) -> list[str]:
        """The places of tables with rows that do not belong to the state `owner`."""
        return []

    @property
    def identity(self) -> str | None:
        """How the manifest identifies it once a launch has taken it; None: a launch need not take it."""
        return None

    def take(self, fence: Fence, *, empty: bool) -> None:
        """Takes the tables for a launch, and makes missing ones.

        Args:
            empty: whether to delete their rows.
        """

    @property
    def folders(self) -> Sequence[str]:
        """The folders of which the manifest names the live files."""
        return ()

    def adopted(self, manifest: Manifest, left: Files) -> Files:
        """The live files of its folders at a launch.

        Args:
            left: the manifest's folders, if the job no longer has any of them; otherwise empty.

        Raises:
            StateRefused: if a folder that is new holds rows.
        """
        return {}

    # A live job: its checkpoints.

    def store(self, contents: Mapping[str, Sequence[pa.RecordBatch]], fence: Fence) -> None:
        """Upserts rows by their key, and adds columns that the tables lack; a final row is never replaced."""

    def retract(self, windows: Mapping[str, Sequence[pa.RecordBatch]], fence: Fence) -> None:
        """Deletes the provisional rows that lie within these windows, but not their own rows; final rows stay.

        A sink that stores rows at once needs it if windows grow. It may be repeated.

        Args:
            windows: for each table, windows by the columns of its key.
        """
        raise NotImplementedError(f"{self.kind} cannot retract rows")

    def checkpointed(self, files: Files, stored: Stored) -> Files:
        """Writes the rows of a checkpoint next to the live files; returns the files that are live once it counts."""
        return {}

    def transactions(self) -> Transactions | None:
        """Stores the rows of checkpoints in transactions, in this process; None: the sink has no transactions."""
        return None

    def show(self, files: Files, showing: Showing) -> None:
        """Makes its folders show the live files; may be repeated."""

    def expire(self, known: Mapping[str, Known], fence: Fence) -> None:
        """Deletes the rows that were known at a place."""

    # A live job: back to an older checkpoint, and repairs.

    def rolled_back(self, files: Files, tick: int, attempt: int) -> Files:
        """The live files with the rows of checkpoints up to `tick` only."""
        return {}

    def roll_back(self, known: Mapping[str, Known], fence: Fence) -> None:
        """Deletes the rows that were not known at a place."""

    def last_closed(self, tables: Iterable[str]) -> int | None:
        """The end (µs) of the last final window that was stored before its checkpoint; None: there is none."""
        return None

    def restored(self, rows: Mapping[str, pa.Table], stored: Stored, fence: Fence) -> Files:
        """Replaces tables by their rows up to a checkpoint; returns the live files of its folders."""
        return {}

    def continued(self, stored: Stored | None) -> Files:
        """The live files that a bounded run has published, from which a live job resumes.

        Args:
            stored: the ledger, divided by whether its rows may still grow; None: they never grow.
        """
        return {}

    def sweep(self) -> None:
        """Removes what a killed process has left next to the tables."""

    # Reading back.

    def read(self, table: str) -> pa.Table:
        """The rows of a table; none if nothing was published yet."""
        raise NotImplementedError(f"{self.kind} cannot be read back")

    def whole(self, table: str, files: Files) -> pa.Table | None:
        """The rows that a table has according to the manifest; None: it has lost some, or all."""
        return None

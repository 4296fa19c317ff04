"""A sink: one place where a job stores tables, and everything that a job asks of it.

```
job file        of, resolved, paths, mistakes, misfits, uses, writes_over, places
any run         check
bounded run     prepare -> publish -> finish, or discard
live job        full -> take -> store and checkpointed, again and again -> show
                rolled_back, roll_back and transactions: back to an older checkpoint
                expire: rows that have been there for long
                adopted, restored, continued: folders that moved, tables that were lost or made again
reading back    read, whole
```

A sink answers what concerns it; everything else has a default that does nothing. There are three ways to make a
checkpoint and its rows count together, and a sink chooses:

- it stores files beside the live ones, and the manifest names them (`checkpointed`, `show`);
- it stores rows by their key at once, and takes out what came after a checkpoint (`store`, `roll_back`);
- it stores the rows of a checkpoint in one transaction, whose position the next checkpoint holds (`transactions`).

The kinds of sinks are registered in `transforms.storage.sinks`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeAlias

import pyarrow as pa

from transforms.location import NamedPath
from transforms.specification import Spec
from transforms.storage.checkpoint.manifest import Manifest
from transforms.storage.staging import Receipt
from transforms.storage.tables import Table

Files: TypeAlias = Mapping[str, Sequence[str]]
"""The live files of each folder, as the manifest holds them."""

Staged: TypeAlias = Mapping[str, Sequence[Receipt]]
"""The staged files of each table of a bounded run."""

Position: TypeAlias = Mapping[str, Any]
"""How far a sink is, as a checkpoint keeps it."""


@dataclass(frozen=True, slots=True)
class Use:
    """A place that a sink writes to, for what else might lie there.

    Args:
        place: what it is called, without secrets.
        where: what is equal for two places that are one; all of them are written to.
        table: the table that lies there; empty: the sink as a whole.
        field: where the job file names it, within the sink.
    """

    place: str
    where: frozenset[Hashable]
    table: str = ""
    field: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fence:
    """Who writes the tables of a live job.

    Args:
        owner: the state that the tables are of.
        launch: the number of the launch; a later one has a greater number.
        attempt: among those of a launch that keep checkpoints, the number of this one; None: it keeps none.
        takes: whether the launch takes the tables now.
        begins: whether tables that are not there, or are another's, are begun.
    """

    owner: str
    launch: int
    attempt: int | None = None
    takes: bool = False
    begins: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """The rows of a table that a place knows: those of windows that had closed there, and of records read before.

    Args:
        watermark: of windows: up to where event time had passed there (µs).
        lateness: how long (µs) they wait for late records.
        longest: how long (µs) they are at most.
        position: of records: the column that holds their positions; empty: the table is of windows.
        reached: of records: the position of the first of each source that had not been read.
    """

    watermark: int = 0
    lateness: int = 0
    longest: int = 0
    position: str = ""
    reached: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a checkpoint stores.

    Args:
        tick: the checkpoint's name.
        attempt: names the writer among those of the job.
        contents: the rows of each table.
        growing: rows of the ledger that may still grow, and replace those before; None: rows of it never grow.
        expired: of each table whose oldest rows go, the tick up to which they do.
    """

    tick: int
    attempt: int
    contents: Mapping[str, Sequence[pa.RecordBatch]]
    growing: pa.RecordBatch | None = None
    expired: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Showing:
    """Who changes what folders show.

    Args:
        owner: the state that the tables are of.
        attempt: names the writer among those of the job.
        check: raises an error if another may write by now.
    """

    owner: str
    attempt: int
    check: Callable[[], None] = lambda: None


class Transactions(Protocol):
    """The transactions of one sink, in one process."""

    def open(self, position: Position | None) -> Position:
        """Takes the sink over from any other process, and finds out what was stored after `position`.

        Args:
            position: that of the checkpoint to resume from; None: what is there is not this job's.
        """

    def publish(self, contents: Mapping[str, Iterable[pa.RecordBatch]]) -> Position:
        """Stores the final rows of a checkpoint in one transaction; again with the same rows, each counts once."""

    def close(self) -> None:
        """Ends what is open."""


@dataclass(frozen=True, kw_only=True)
class Sink(ABC):
    """One sink of a job, with the tables that it holds.

    All failures are SinkErrors; a refused method has changed nothing, or may be called again.

    Args:
        job: the name that owns the tables.
        tables: those that it holds, by name.
    """

    job: str
    tables: Mapping[str, Table]

    kind: ClassVar[str]
    """What the job file calls it."""
    spec: ClassVar[type[Spec]]
    """What the job file says of it: a mapping of `kind` to its options."""
    journal: ClassVar[str] = ""
    """Where the record of a publication keeps what `prepare` gives; empty: it prepares nothing."""
    reads_back: ClassVar[bool] = True
    """Whether its tables can be read: reports, `verify` and `replay` need a sink that can."""
    repeats: ClassVar[bool] = True
    """Whether publishing a run again changes nothing; other sinks come last."""
    stores_at_once: ClassVar[bool] = False
    """Whether rows of windows go there before their checkpoint, by `store`."""
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
        """What is wrong with the specification, as far as it shows in the text: field within the sink, and sentence."""
        return iter(())

    def misfits(self) -> Iterator[tuple[str, str]]:
        """The tables that it cannot hold, and why."""
        return iter(())

    @abstractmethod
    def uses(self) -> Iterator[Use]:
        """The places that it writes to."""

    def writes_over(self, path: str) -> str | None:
        """Why a local file that the job reads is one that the sink writes, as `lies in …`; None: it is not."""
        return None

    @abstractmethod
    def places(self) -> list[str]:
        """Where its tables lie, for people: without secrets."""

    # Any run.

    @abstractmethod
    def check(self) -> None:
        """Returns if it can be reached and written to, without changing anything.

        Raises:
            SinkError: if not, or if it holds tables of somebody else.
        """

    # A bounded run: whole or not at all.

    def prepare(self, staged: Staged, run: str) -> list[Mapping[str, Any]]:
        """Does everything that may fail and changes no table; gives what `finish` needs, for the journal."""
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
        """The places of tables with rows that are not of the state `owner`."""
        return []

    @property
    def identity(self) -> str | None:
        """What the manifest knows it by once it was taken; None: it need not be taken."""
        return None

    def take(self, fence: Fence, *, empty: bool) -> None:
        """Takes the tables for a launch, and makes those that are not there.

        Args:
            empty: whether rows that they hold go.
        """

    @property
    def folders(self) -> Sequence[str]:
        """What the manifest keeps the live files of."""
        return ()

    def adopted(self, manifest: Manifest, left: Files) -> Files:
        """The live files of its folders at a launch.

        Args:
            left: of the manifest's folders, those that the job has no more, if it has none of them any more.

        Raises:
            StateRefused: if a folder that is new holds rows.
        """
        return {}

    # A live job: its checkpoints.

    def store(self, contents: Mapping[str, Sequence[pa.RecordBatch]], fence: Fence) -> None:
        """Upserts rows by their key, and adds columns that the tables lack; a final row is never replaced."""

    def checkpointed(self, files: Files, stored: Stored) -> Files:
        """Writes the rows of a checkpoint beside the live files; gives the files that are live once it counts."""
        return {}

    def transactions(self) -> Transactions | None:
        """Who stores the rows of checkpoints in transactions, in this process."""
        return None

    def show(self, files: Files, showing: Showing) -> None:
        """Makes its folders show the files that count; may be repeated."""

    def expire(self, known: Mapping[str, Known], fence: Fence) -> None:
        """Takes out of tables the rows that a place knows."""

    # A live job: back to an older checkpoint, and repairs.

    def rolled_back(self, files: Files, tick: int, attempt: int) -> Files:
        """The live files with the rows of checkpoints up to `tick` only."""
        return {}

    def roll_back(self, known: Mapping[str, Known], fence: Fence) -> None:
        """Takes out of tables the rows that a place does not know."""

    def last_closed(self, tables: Iterable[str]) -> int | None:
        """The end (µs) of the last final window that was stored before its checkpoint; None: there is none."""
        return None

    def restored(self, rows: Mapping[str, pa.Table], stored: Stored, fence: Fence) -> Files:
        """Replaces tables by their rows up to a checkpoint; gives the live files of its folders."""
        return {}

    def continued(self, stored: Stored | None) -> Files:
        """The live files of what a bounded run has published, from which a live job resumes.

        Args:
            stored: the ledger, divided by whether its rows may still grow; None: they never do.
        """
        return {}

    def sweep(self) -> None:
        """Removes what a killed process has left beside the tables."""

    # Reading back.

    def read(self, table: str) -> pa.Table:
        """The rows of a table; none where nothing was published yet."""
        raise NotImplementedError(f"{self.kind} is not read back")

    def whole(self, table: str, files: Files) -> pa.Table | None:
        """The rows of a table that the manifest says it has; None: it has lost some, or all."""
        return None

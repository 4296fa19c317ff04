"""A source: where the records of a job come from, and everything that a job asks of it.

```
job file          of, resolved, paths, occupied, form, brings_types, types
plan, check       title, describe, inputs, holds, on_cluster
bounded run       inputs, whole -> reading
live job          missing -> hold -> begin or resume -> feed and after_checkpoint, until it ends; span, end, unread
                  reached, retain: which records a checkpoint has, and how long checkpoints stay
verify, replay    until or between -> is_empty, words_of, reading; to_hold_more
```

Every source is read to its present end. Class attributes say what else it can do, and a job that needs more is refused:

- `follows`: it has no end, so that a job can run live and resume after a checkpoint;
- `replays`: a stretch that was read can be read again. `verify`, `replay` and clusters need it;
- `lateness_is_fixed` and `has_open_range` say what a job that resumes must mend.

What it reads are batches of the schema's columns with POSITION, EVENT_TIME and an Origin (`transforms.record.batch`);
those of a source that follows also carry PAYLOAD, RANGE and WATERMARK, since records can be late. For the records that
cannot be read there are dead letters, and for all of them a ledger.

A live job asks for the progress of its source (`transforms.collection.cursor.SourceProgress`) in the source's own
terms; nothing but the source looks into it.

A source is loaded with every job file, so it imports Beam, and clients of other systems, only where it reads. The kinds
of sources are registered in `transforms.collection.sources`.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Final, Protocol

import pyarrow as pa

from transforms.collection.cursor import SourceCursor, SourceProgress
from transforms.collection.feed import Feed
from transforms.collection.parsing.parsed import Schema
from transforms.collection.repair import Overlay
from transforms.collection.spec import RecordSpec
from transforms.errors import StateRefused
from transforms.location import NamedPath
from transforms.process.progress import Bulletin
from transforms.specification import Spec
from transforms.time.tick import READ, name_of
from transforms.time.watermark import WatermarkSpec

RETAIN: Final = timedelta(hours=1)
"""The least age of the oldest checkpoint, unless the source sets it."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a source needs of its job.

    Args:
        job: the job's name.
        reader: identifies the job among all that read the source: two jobs of one name have states of their own.
        folder: the folder of the job file, to which a source's paths are relative.
        state: the folder for what outlives a run.
        manifest: where the job's checkpoints are listed (`transforms.process.versions`).
        record: what a record is, by the job file.
        schema: the columns to read.
        watermark: how event time passes.
        range_bytes: bytes of text to read at a time.
        batch_rows: the most rows of a batch; None: what is read at a time.
        threads: how many blocks a worker parses at once.
        keeps_payload: whether a later step may still refuse a record, whose original bytes it needs then.
    """

    job: str
    reader: str
    folder: str
    state: str
    manifest: str
    record: RecordSpec
    schema: Schema
    watermark: WatermarkSpec
    range_bytes: int
    batch_rows: int | None
    threads: int
    keeps_payload: bool


@dataclass(frozen=True, slots=True)
class SourceSpan:
    """A stretch of a source: from `start` to before `end`, which is in the source's own terms."""

    start: SourceCursor
    end: Any


@dataclass(frozen=True, slots=True)
class Input:
    """A file that a job reads, and so must not write over.

    Args:
        field: the field within the source that names it.
        path: its path or URL.
        name: its name in messages.
    """

    field: tuple[str, ...]
    path: str
    name: str


@dataclass(frozen=True, slots=True)
class Occupied:
    """A place that a job reads, where nothing may be written.

    Args:
        what: what lies there.
        place: its name in messages, without secrets.
        where: values that are equal for two names of the same place.
    """

    what: str
    place: str
    where: frozenset[Hashable]


class SourceCheckpoint(Protocol):
    """A checkpoint, as far as its source needs it."""

    @property
    def name(self) -> int:
        """The name of its tick."""

    @property
    def chunk(self) -> int:
        """How many portions had been read, or what numbers them; see `SourceCursor`."""

    @property
    def source(self) -> Mapping[str, Any]:
        """What `SourceCursor.tick` wrote: `progress`, `position` and `began`."""


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """The source of one job. A method that cannot read the source raises SourceError.

    Args:
        options: what the job file says of it.
        work: what it needs of the job.
    """

    options: Any
    work: Work

    kind: ClassVar[str]
    """Its name in the job file."""
    spec: ClassVar[type[Spec]]
    """Its entry in the job file: a mapping of `kind` to its options."""
    follows: ClassVar[bool] = False
    """Whether it has no end, so that a job can follow it."""
    replays: ClassVar[bool] = False
    """Whether what was read of it can be read again."""
    lateness_is_fixed: ClassVar[bool] = False
    """Whether a second reading judges each record by the same watermark, so that the same records are late. Otherwise
    a job that resumes deletes what it stored after its checkpoint."""
    has_open_range: ClassVar[bool] = False
    """Whether its last ledger row may still grow, because the range of that row was not read to its end."""
    progress: ClassVar[type[SourceProgress]]
    """The class of its progress, if it follows. Savepoints hold the class's name and its JSON, so both stay."""

    # What the job file says.

    @classmethod
    def of(cls, spec: Any, work: Work) -> "Source":
        """The source that a job file describes."""
        return cls(options=getattr(spec, cls.kind), work=work)

    @classmethod
    def resolved(cls, spec: Any, folder: str) -> Any:
        """The specification with paths relative to `folder` made absolute, where it does not keep them as written."""
        return spec

    @classmethod
    def paths(cls, spec: Any) -> Iterator[NamedPath]:
        """Every path and URL of files in the specification, each with its field within the source."""
        return iter(())

    @classmethod
    def occupied(cls, spec: Any) -> Iterator[Occupied]:
        """The places that it reads, of which the specification says where they are."""
        return iter(())

    @classmethod
    def form(cls, spec: Any) -> str:
        """The form of its records, in a word."""
        return cls.kind

    @classmethod
    def brings_types(cls, spec: Any) -> bool:
        """Whether the source says which columns its records have, so that a job file need not."""
        return False

    @classmethod
    def types(cls, spec: Any, folder: str) -> tuple[str, pa.Schema]:
        """The columns of its records, and what they were read from; only if it `brings_types`."""
        raise NotImplementedError(f"{cls.kind} brings no types")

    @property
    def retain(self) -> timedelta:
        """The least age of the oldest checkpoint: how far back the job can be verified."""
        return RETAIN

    # What users are shown.

    @abstractmethod
    def describe(self) -> str:
        """What it is, in words without an article and without secrets, such as `topic orders on broker:9092`."""

    def title(self) -> str:
        """What it is, for `plan`."""
        return self.describe()

    def holds(self) -> str:
        """What it holds now, in words, once it was found to be readable."""
        if not self.follows:
            self.whole()
            return self.describe()
        first, end = self.span()
        return f"{self.describe()}, records {first:,} to {end:,}"

    def on_cluster(self) -> str:
        """What the machines of a cluster need to read it, in a sentence; empty: its paths say so."""
        return ""

    # Reading to the present end.

    def inputs(self) -> Iterator[Input]:
        """The files that it reads now."""
        return iter(())

    @abstractmethod
    def whole(self) -> SourceSpan:
        """All that it holds now."""

    @abstractmethod
    def reading(self, span: SourceSpan, overlay: Overlay, bulletin: Bulletin) -> Any:
        """A transform of a pipeline that reads a stretch: `batches`, `dead_letters` and `ledger`."""

    # Following.

    def missing(self) -> str:
        """Why there is nothing to follow yet, if a job may wait for it; empty: it is there."""
        return ""

    def hold(self, oldest: SourceCheckpoint | None) -> None:  # noqa: B027  # most sources keep what they have
        """Makes the source keep what the job needs from its oldest checkpoint on; None: the job has none."""

    def begin(self, say: Callable[[str], None]) -> SourceCursor:
        """Where a job without a checkpoint begins; `say` takes a sentence that users must know."""
        raise NotImplementedError(f"{self.kind} cannot be followed")

    def resume(self, checkpoint: SourceCheckpoint) -> SourceCursor:
        """Where a job resumes: `resumed`, if the source still holds the records after the checkpoint."""
        raise NotImplementedError(f"{self.kind} cannot be followed")

    def feed(self, overlay: Overlay, bulletin: Bulletin) -> Feed:
        """The source as a worker reads it."""
        raise NotImplementedError(f"{self.kind} cannot be followed")

    def after_checkpoint(self) -> Any:
        """A DoFn of ticks that informs the source after each checkpoint, and passes the tick on."""
        from transforms.record.branches import PassOnFn

        return PassOnFn()

    def span(self) -> tuple[int, int]:
        """How many records came before the first one that it holds, and before its end; counted as `position`s."""
        raise NotImplementedError(f"{self.kind} cannot be followed")

    def end(self) -> int | None:
        """How many records came before its end, for whatever watches the job; None: the feed reports it."""
        return None

    def unread(self, checkpoint: SourceCheckpoint) -> int:
        """How many records came after a checkpoint."""
        return max(self.span()[1] - int(checkpoint.source["position"]), 0)

    def reached(self, source: Mapping[str, Any]) -> Mapping[str, int]:
        """For each `source` in the ledger, the first position that had not been read at a checkpoint."""
        raise NotImplementedError(f"{self.kind} cannot be followed")

    def resumed(self, checkpoint: SourceCheckpoint) -> SourceCursor:
        """The cursor after a checkpoint. The names of its ticks follow the checkpoint's name.

        Raises:
            StateRefused: if the checkpoint is not one of such a source.
        """
        source = checkpoint.source
        try:
            progress = self.progress.from_json(source["progress"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateRefused(
                f"{self.work.state}: its checkpoints cannot be read as those of the {self.describe()}"
                f" ({type(error).__name__}: {error}); are they of another source? Give this job another `state` and"
                " other sinks"
            ) from error
        shift = checkpoint.name - name_of(checkpoint.chunk, READ)
        position, began = source["position"], source.get("began")
        return SourceCursor(checkpoint.chunk, progress, position, time.time(), shift=shift, began=began)

    # Reading a stretch again.

    def until(self, checkpoint: SourceCheckpoint) -> SourceSpan | None:
        """All records from the job's beginning to a checkpoint; None: the source no longer holds all of them."""
        raise NotImplementedError(f"{self.kind} cannot be read again")

    def to_hold_more(self) -> str:
        """How users let the source hold more, in a sentence, for a job whose first records are gone."""
        return f"Let the {self.kind} hold more"

    def between(self, before: SourceCheckpoint, after: SourceCheckpoint) -> SourceSpan | None:
        """The records between two checkpoints; None: the source no longer holds all of them."""
        raise NotImplementedError(f"{self.kind} cannot be read again")

    def is_empty(self, span: SourceSpan) -> bool:
        """Whether there is nothing to read in a stretch."""
        raise NotImplementedError(f"{self.kind} cannot be read again")

    def words_of(self, span: SourceSpan) -> str:
        """A stretch in words, such as `chunks 3 to 9`; messages add `of the` and what the source is."""
        raise NotImplementedError(f"{self.kind} cannot be read again")

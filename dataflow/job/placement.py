"""The places of tables: no two things share a place, and every table can be held by its sink."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dataflow.job.problem import Place, Problem
from dataflow.job.spec import JobSpec
from transforms.collection.sources import kind_of
from transforms.location import LONGEST_NAME, folder_name, identity, is_local
from transforms.refusal import dotted
from transforms.storage.sink import Sink
from transforms.storage.tables import Table


def misplaced(spec: JobSpec, tables: Mapping[str, Table], sinks: Sequence[Sink], path: str) -> Iterator[Problem]:
    """What is wrong with the places of a job's tables, found before anything is written.

    Args:
        path: the path of the job file.
    """
    for name in tables:
        if (size := len(folder_name(name).encode())) > LONGEST_NAME:
            sentence = f"the table {name} would need a folder whose name has {size} bytes; at most {LONGEST_NAME}"
            yield Problem(_place_of(name, spec), sentence)
    taken: dict[Hashable, PlaceOfJob] = {}
    clashes: set[Place] = set()
    for use in _uses(spec, sinks, path):
        others = [taken.setdefault(where, use) for where in use.where]
        other = next((other for other in others if other is not use), None)
        # If two sinks share a place, their tables need not be named as well.
        if other is not None and (use.sink is None or use.sink not in clashes):
            yield Problem(use.field, use.against(other))
            clashes.add(use.sink or ())
    for index, sink in enumerate(sinks):
        for name, sentence in sink.misfits():
            yield Problem(_place_of(name, spec) or ("sinks", index), sentence)


@dataclass(frozen=True, slots=True)
class PlaceOfJob:
    """A place that a job uses: what is there, and its name in messages.

    Args:
        sink: the field of the sink that uses it; None: no sink does.
    """

    field: Place
    what: str
    place: str
    where: Iterable[Hashable]
    sink: Place | None = None

    def against(self, other: "PlaceOfJob") -> str:
        """Why this place cannot be the other's."""
        if self.what in ("state", "report"):
            kind = "folder" if self.what == "state" else "file"
            return f"must be a {kind} of its own, and is that of {other.what}"
        return f"{self.what} and {other.what} would both lie in {self.place}"


def _uses(spec: JobSpec, sinks: Sequence[Sink], path: str) -> Iterator[PlaceOfJob]:
    """Every place of a job, each once, for its first user. Files that are read are checked one by one."""
    yield PlaceOfJob((), "the job file", path, (identity(path),))
    source = kind_of(spec.source)
    for there in source.occupied(spec.source):
        yield PlaceOfJob(("source", source.kind), there.what, there.place, there.where)
    for index, sink in enumerate(sinks):
        is_own = index >= len(spec.sinks)  # the folder for dead letters alone
        place: Place = ("dead_letters", "path") if is_own else ("sinks", index)
        for use in sink.uses():
            what = use.table or dotted(place)
            yield PlaceOfJob((*place, *use.field), what, use.place, use.where, sink=place)
    if spec.state is not None:
        yield _at(("state",), "state", spec.state)
    if spec.report is not None:
        yield _at(("report",), "report", spec.report)


def _at(field: Place, what: str, path: str) -> PlaceOfJob:
    return PlaceOfJob(field, what, path, (identity(path),))


def written_over(spec: JobSpec, sinks: Sequence[Sink], path: str) -> str | None:
    """Why the job would write over a file that it reads; None: it would not."""
    if not is_local(path):
        return None
    if spec.report is not None and identity(spec.report) == identity(path):
        return "is the file of `report`, which this job writes"
    return next((why for sink in sinks if (why := sink.writes_over(path)) is not None), None)


def _place_of(table: str, spec: JobSpec) -> Place:
    for index, aggregation in enumerate(spec.aggregations):
        if table in (aggregation.name, f"{aggregation.name}_models"):
            return ("aggregations", index, "name")
    return ()

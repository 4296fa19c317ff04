"""Where tables come to lie: no two things in one place, and no table where its sink cannot hold it."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dataflow.job.document import dotted
from dataflow.job.problem import Place, Problem
from dataflow.job.spec import JobSpec
from transforms.location import LONGEST_NAME, identity, is_local
from transforms.storage.parquet.folder import folder_name
from transforms.storage.publish import DEAD_LETTERS, Target, sql_table
from transforms.storage.spec import ParquetSinkSpec, SqlSinkSpec
from transforms.storage.sql import SqlTable
from transforms.storage.sql.database import parsed
from transforms.storage.sql.error import shown
from transforms.storage.sql.fit import file_of, misfits, place_of
from transforms.storage.staging import Table


def misplaced(spec: JobSpec, tables: Mapping[str, Table], targets: Sequence[Target], path: str) -> Iterator[Problem]:
    """What is wrong with the places of a job's tables, found before anything is written.

    Args:
        path: the job file's.
    """
    for name in tables:
        if (size := len(folder_name(name).encode())) > LONGEST_NAME:
            sentence = f"the table {name} would need a folder whose name has {size} bytes; at most {LONGEST_NAME}"
            yield Problem(_place_of(name, spec), sentence)
    taken: dict[Hashable, Use] = {}
    for use in _uses(spec, targets, path):
        other = taken.setdefault(use.where, use)
        if other is not use:
            yield Problem(use.field, use.against(other))
    for index, sink in enumerate(spec.sinks):
        if isinstance(sink, SqlSinkSpec):
            held = [
                table for name, table in tables.items() if name != DEAD_LETTERS or not (index or spec.dead_letters.path)
            ]
            yield from (Problem(_place_of(name, spec), sentence) for name, sentence in _unfit(sink.sql.url, held))


@dataclass(frozen=True, slots=True)
class Use:
    """A place that a job uses: what lies there, and what the place is called."""

    field: Place
    what: str
    place: str
    where: Hashable

    def against(self, other: "Use") -> str:
        """Why this cannot lie where the other does."""
        if self.what in ("state", "report"):
            kind = "folder" if self.what == "state" else "file"
            return f"must be a {kind} of its own, and is that of {other.what}"
        return f"{self.what} and {other.what} would both lie in {self.place}"


def _uses(spec: JobSpec, targets: Sequence[Target], path: str) -> Iterator[Use]:
    """Every place of a job but its input, each once; what is named first has it."""
    yield Use((), "the job file", path, identity(path))
    if spec.source.log is not None:
        yield _use(("source", "log", "path"), "the log", spec.source.log.path)
    seen: set[Hashable] = set()
    for index, sink in enumerate(spec.sinks):
        what = dotted(("sinks", index))
        if isinstance(sink, ParquetSinkSpec):
            folder = sink.parquet.path
            yield _use(("sinks", index), what, folder)
            if identity(folder) not in seen:  # of two sinks in one folder, the tables need not be told too
                tables = {t.table: t.folder for t in targets if t.folder == f"{folder}/{folder_name(t.table)}"}
                if spec.dead_letters.path is not None:
                    tables.pop(DEAD_LETTERS, None)
                yield from (_use(("sinks", index), table, str(inside)) for table, inside in tables.items())
            seen.add(identity(folder))
        elif isinstance(sink, SqlSinkSpec) and (where := place_of(sink.sql.url)) is not None:
            yield Use(("sinks", index), what, shown(parsed(sink.sql.url)), where)
    if spec.dead_letters.path is not None:
        yield _use(("dead_letters", "path"), DEAD_LETTERS, spec.dead_letters.path)
    if spec.state is not None:
        yield _use(("state",), "state", spec.state)
    if spec.report is not None:
        yield _use(("report",), "report", spec.report)


def _use(field: Place, what: str, path: str) -> Use:
    return Use(field, what, path, identity(path))


def written_over(spec: JobSpec, targets: Sequence[Target], path: str) -> str | None:
    """What the job itself writes where it would read a file; None: it does not."""
    if not is_local(path):
        return None
    folders = {identity(str(target.folder)): target.table for target in targets if target.folder is not None}
    place = identity(path.rpartition("/")[0] or "/")
    if place in folders:
        return f"lies in the folder of {folders[place]}, which this job writes"
    files = {"report": spec.report} | {
        f"sinks[{index}]": file_of(sink.sql.url)
        for index, sink in enumerate(spec.sinks)
        if isinstance(sink, SqlSinkSpec)
    }
    for what, file in files.items():
        if file is not None and identity(file) == identity(path):
            return f"is the file of `{what}`, which this job writes"
    return None


def _unfit(url: str, tables: Sequence[Table]) -> Iterator[tuple[str, str]]:
    fit: list[SqlTable] = []
    for table in tables:
        try:
            fit.append(sql_table(table))
        except ValueError as error:
            yield table.name, f"the table {table.name} cannot be in a database: {error}"
    yield from misfits(url, fit)


def _place_of(table: str, spec: JobSpec) -> Place:
    for index, aggregation in enumerate(spec.aggregations):
        if table in (aggregation.name, f"{aggregation.name}_models"):
            return ("aggregations", index, "name")
    return ()

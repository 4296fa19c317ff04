"""Every path and URL of a job file: its field, and whether its text clearly names a location."""

from collections.abc import Iterator
from dataclasses import replace

from dataflow.job.problem import Problem
from dataflow.job.spec import JobSpec
from transforms.collection import sources
from transforms.location import NamedPath, is_local, mistake, scheme, unwritable
from transforms.refusal import shown
from transforms.storage.sinks import kind_of


def paths(spec: JobSpec) -> Iterator[NamedPath]:
    """Every path and URL of files and folders, in the order of the job file."""
    for path in sources.kind_of(spec.source).paths(spec.source):
        yield replace(path, field=("source", *path.field))
    for index, sink in enumerate(spec.sinks):
        for path in kind_of(sink).paths(sink):
            yield replace(path, field=("sinks", index, *path.field))
    if spec.dead_letters.path is not None:
        yield NamedPath(("dead_letters", "path"), spec.dead_letters.path, written=True)
    if spec.report is not None:
        yield NamedPath(("report",), spec.report, stays=True, shared=False)
    if spec.state is not None:
        yield NamedPath(("state",), spec.state, stays=True)


def mistaken(spec: JobSpec) -> Iterator[Problem]:
    """Paths and URLs that do not clearly name a location, or that this version cannot use in their field."""
    for named in paths(spec):
        if (why := mistake(named.text)) is not None:
            yield Problem(named.field, f"{why}, is {shown(named.text)}")
        elif named.stays and not is_local(named.text):
            rule = f"must be a path of this machine: this version does not support {scheme(named.text)}:// here"
            yield Problem(named.field, f"{rule}, is {shown(named.text)}")
        elif named.written and (why := unwritable(named.text)) is not None:
            yield Problem(named.field, why)
    for index, sink in enumerate(spec.sinks):
        for field, sentence in kind_of(sink).mistakes(sink):
            yield Problem(("sinks", index, *field), sentence)
